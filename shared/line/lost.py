"""Endpoints and jobs that are ours and cost money, and that no record knows: people hear of each once a day.

A record is lost when somebody empties `state`, or restores it from an old copy. Nothing is done to what it was of:
`droptune recover` makes the record again. Called by the sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.app import App
from shared.records.owner import line_of_endpoint

log = logging.getLogger("droptune.line.lost")
AGAIN = timedelta(days=1)
LOST = "Record.Lost"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An `endpoint` or a `job` (`kind`) whose record is lost, and the folder of which it was made."""

    kind: str
    name: str
    dataset: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def lost_endpoints(app: App) -> list[Lost]:
    """Endpoints of this installation whose line is not among those that are looked after."""
    found = [each for each in app.cloud.endpoints.list() if each.state != "Deleting"]
    mine = {each.name: line for each in found if (line := line_of_endpoint(app.settings, each.name, each.tags))}
    standing = set(app.lines.standing()) if mine else set[str]()
    return [
        Lost(kind="endpoint", name=name, dataset=line.folder) for name, line in mine.items() if line.id not in standing
    ]


def tell_of_lost(app: App, lost: Iterable[Lost], told: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    """Tells of each that was not told of within a day. When each of them was told of last."""
    after = {}
    for each in lost:
        what = str(each)
        after[what] = told.get(what, now - AGAIN)
        if now - after[what] < AGAIN:
            continue
        why = f"{what} costs money, and the record of what it is for is lost: droptune recover makes it again"
        log.warning("%s", why)
        event, subject = f"lost-{each.name}-{now:%Y%m%dT%H%M%S}", f"{each.kind}s/{each.name}"
        data = {"reason": why, "dataset": each.dataset}
        if app.cloud.topic.publish(f"Droptune.{LOST}", subject, data, id=event, time=now):
            after[what] = now
    return after
