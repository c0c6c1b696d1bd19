"""What Azure shows beside the records: people are told what serves now, not what was noted some time ago.

One listing of the workspace's endpoints for all that is shown. What it shows other than was recorded the cleanup finds
too, and acts on; here it is only said. Called by the views.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from shared.app import App
from shared.cloud.endpoints import Endpoint
from shared.errors import NotFound, Permanent, Transient
from shared.records.line import Line, Serving

log = logging.getLogger("droptune.api.seen")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The endpoints by their names; None: Azure could not be asked, and `why`."""

    endpoints: dict[str, Endpoint] | None
    why: str = ""

    def of(self, line: Line) -> Endpoint | None:
        """The line's endpoint, if there is one."""
        return (self.endpoints or {}).get(line.endpoint)

    def serving(self, line: Line) -> Serving | None:
        """What the line serves now."""
        return None if self.differs(line) else line.serving

    def differs(self, line: Line) -> str:
        """What is other than was recorded of what serves, in a sentence; "" if nothing is."""
        if self.endpoints is None or line.serving is None:
            return ""
        endpoint = self.of(line)
        if endpoint is None:
            return f"endpoint {line.endpoint} is gone: somebody deleted it"
        if not endpoint.traffic.get(line.serving.deployment):
            return f"deployment {line.serving.deployment} has no traffic any more: somebody took it away"
        return ""


def seen(app: App) -> Seen:
    """What Azure shows now."""
    try:
        return Seen(endpoints={each.name: each for each in app.cloud.endpoints.list()})
    except (NotFound, Transient, Permanent) as error:
        log.warning("what serves is told as it was recorded: %s", error)
        return Seen(endpoints=None, why=f"what serves now can't be told, since Azure can't be asked: {error}")
