"""Lifecycle events, for whoever wants to hear of runs: CloudEvents to a custom Event Grid topic.

They are told, not relied upon: a topic that is down, or does not answer, costs a line in the log and a short wait a
minute, and no run. Called by the turn of a run and by the cleanup, which keep what is not sent and try again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.cloud.blobs import Blobs
from shared.cloud.clients import Clients
from shared.cloud.failures import translated
from shared.errors import Transient

PAUSE = timedelta(minutes=1)
"""How long this process sends nothing after the topic was out of order: each turn of a run would wait for it else."""
_ROLE = "EventGrid Data Sender on the lifecycle topic"
log = logging.getLogger(__name__)


class Topic:
    """The topic that EVENTS_TOPIC_ENDPOINT names, or none."""

    def __init__(self, clients: Clients, blobs: Blobs) -> None:
        self._clients = clients
        self._blobs = blobs
        self._paused_until: datetime | None = None

    def publish(self, type: str, subject: str, data: Mapping[str, Any], *, id: str, time: datetime) -> bool:  # noqa: A002
        """Sends one CloudEvent; its source is the workspace. False when the topic did not take it; without one, True.

        `id` says with the source which event it is: one that is sent again, after a crash, has the same one. Raises
        Transient when storage, which tells the time, is out of reach.
        """
        workspace = self._clients.settings.workspace
        if not self._clients.settings.events.topic_endpoint:
            return True
        now = self._blobs.now()
        if self._paused_until and now < self._paused_until:
            return False
        source = (
            f"/subscriptions/{workspace.subscription}/resourceGroups/{workspace.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace.name}"
        )
        try:
            from azure.core.messaging import CloudEvent

            event = CloudEvent(source, type, data=dict(data), subject=subject, time=time, id=id)
            with translated(f"lifecycle event {type} of {subject}", role=_ROLE):
                client = self._clients.topic
                if client is not None:
                    client.send(event)
        except Transient as error:
            self._paused_until = now + PAUSE
            log.warning("Lifecycle event not sent, nor is any other for %s: %s", PAUSE, error)
            return False
        except Exception as error:  # whatever it is, the run goes on; the topic answers, and may take the next one
            log.warning("Lifecycle event not sent: %s", error)
            return False
        return True
