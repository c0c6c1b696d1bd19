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
from shared.records.run import Run
from shared.records.store import readable

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
        if self.endpoints is None or line.serving is None:
            return line.serving
        if line.is_going:
            return line.serving if self._has_traffic(line, line.serving.deployment) else None
        return None if self.differs(line) else line.serving

    def differs(self, line: Line) -> str:
        """What is other than was recorded of what serves, in a sentence; "" if nothing is.

        What the app itself takes the traffic from, for a teardown or a rollout, is noted once Azure has done it.
        """
        if self.endpoints is None or line.serving is None or line.is_going:
            return ""
        if self.of(line) is None:
            return f"endpoint {line.endpoint} is gone: somebody deleted it"
        if self._has_traffic(line, line.serving.deployment) or self._is_moved_by_rollout(line):
            return ""
        return f"deployment {line.serving.deployment} has no traffic any more: somebody took it away"

    def _has_traffic(self, line: Line, deployment: str) -> bool:
        endpoint = self.of(line)
        return endpoint is not None and endpoint.traffic.get(deployment, 0) > 0

    def _is_moved_by_rollout(self, line: Line) -> bool:
        """Whether the traffic is where the rollout under way puts it: its own deployment, or one that it takes up."""
        endpoint = self.of(line)
        taken_up = {each.deployment for each in line.retiring}
        names = [name for name, share in (endpoint.traffic if endpoint else {}).items() if share]
        return bool(line.rollout) and any(name.startswith(f"{line.rollout}-") or name in taken_up for name in names)


def after_live(line: Line, run: Run, shown: Seen) -> str:
    """Whether a run of the line that went live serves now, and the command that brings it back where it does not."""
    serving, model = shown.serving(line), run.attempt.model
    if serving and serving.model == model:
        return f"run {run.id} went live, and serves"
    gone = f"run {run.id} went live, and serves no more"
    if serving and line.previous and line.previous.model == model:
        return f"{gone}: droptune rollback {line.id} brings it back"
    if not serving and line.latest and line.latest.model == model:
        return f"{gone}: droptune revive {line.id} brings it back"
    return f"{gone}, as others came after it: change its files, or push them to another folder, to train it again"


def after_live_now(app: App, run: Run) -> str:
    """The same of what Azure shows now, as far as its line's record can be read."""
    loaded = readable(app.lines, run.line)
    if loaded is None:
        return f"run {run.id} went live; droptune lines shows what serves"
    return after_live(loaded.record, run, seen(app))


def seen(app: App) -> Seen:
    """What Azure shows now."""
    try:
        return Seen(endpoints={each.name: each for each in app.cloud.endpoints.list()})
    except (NotFound, Transient, Permanent) as error:
        log.warning("what serves is told as it was recorded: %s", error)
        return Seen(endpoints=None, why=f"what serves now can't be told, since Azure can't be asked: {error}")
