"""Lifecycle events, for whoever wants to hear of runs: CloudEvents to a custom Event Grid topic.

They are told, not relied upon: nothing in the app waits for one, so a topic that is down costs a line in the log and no
run. Called by the turn of a run and by the cleanup, which keep what is not sent and try again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.cloud.clients import Clients
from shared.cloud.failures import translated

_ROLE = "EventGrid Data Sender on the lifecycle topic"
log = logging.getLogger(__name__)


class Topic:
    """The topic that EVENTS_TOPIC_ENDPOINT names, or none."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def publish(self, type: str, subject: str, data: Mapping[str, Any], *, id: str, time: datetime) -> bool:  # noqa: A002
        """Sends one CloudEvent; its source is the workspace. False when the topic did not take it; without one, True.

        `id` says with the source which event it is: one that is sent again, after a crash, has the same one.
        """
        if not self._clients.settings.topic_endpoint:
            return True
        settings = self._clients.settings
        source = (
            f"/subscriptions/{settings.subscription}/resourceGroups/{settings.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{settings.workspace}"
        )
        try:
            from azure.core.messaging import CloudEvent

            event = CloudEvent(source, type, data=dict(data), subject=subject, time=time, id=id)
            with translated(f"lifecycle event {type} of {subject}", role=_ROLE):
                client = self._clients.topic
                if client is not None:
                    client.send(event)
        except Exception as error:  # whatever it is, the run goes on
            log.warning("Lifecycle event not sent: %s", error)
            return False
        return True
