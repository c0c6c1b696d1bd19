"""What was there when a listing of the datasets had none before it to be compared with: told, and left to people.

So it is at the first sweep, over an account that may hold years of uploads, and where the listing that was kept is
lost. Nothing tells then what is new, and to train all that has no run would cost a job a folder. Called by the sweep,
and by whoever shows what needs a person.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from shared.app import App
from shared.errors import NotFound
from shared.lifecycle.moment import Moment
from shared.records.base import from_json
from shared.records.layout import ADOPTED, DATASETS, STATE

log = logging.getLogger("droptune.intake.adopted")
EVENT = "Upload.Adopted"
TOLD_FOR = timedelta(days=7)
"""How long health and `droptune status` tell of it."""
_NAMED, _KEPT = 20, 1000
"""Folders that are named, and that are remembered so that those are named which are left."""
_RUNS = 5000
"""Runs of which it is known that their folder has one: a page of what is over, and all that is open."""


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """When it was, and the first _KEPT of the folders with data and no run; `more`: how many others there were.

    `first`: nothing was swept before. `told`: whether the topic took the event.
    """

    at: Moment
    folders: tuple[str, ...] = ()
    more: int = 0
    first: bool = False
    told: bool = False

    @property
    def matters(self) -> bool:
        """Whether people have to know: at first there is nothing to know where each folder has its run."""
        return bool(self.folders) or not self.first

    def __str__(self) -> str:
        """What people are told."""
        told = (
            f"the container {DATASETS} was listed at {self.at:%Y-%m-%d %H:%M} (UTC) without an earlier listing to "
            "compare it with: what had come before that without an event starts nothing by itself; "
            "droptune start FOLDER starts it"
        )
        if not self.folders:
            return told
        left = len(self.folders) + self.more - _NAMED
        more = f" and {left} more" if left > 0 else ""
        return f"{told}; of these folders there are data and no run: {', '.join(self.folders[:_NAMED])}{more}"


def adopt(app: App, folders: Sequence[str], now: datetime, *, first: bool) -> None:
    """Remembers and tells of `folders`, whose data may have no run. `first`: nothing was swept before.

    Raises Transient, Permanent.
    """
    left = _without_run(app, folders)
    adopted = Adopted(at=now, folders=tuple(left[:_KEPT]), more=len(left[_KEPT:]), first=first)
    if not adopted.matters:
        return
    log.warning("%s", adopted)
    _write(app, replace(adopted, told=_publish(app, adopted)))


def review(app: App, now: datetime) -> None:
    """Forgets the folders that have a run by now, and sends what the topic did not take; for as long as it is told of.

    Raises Transient, Permanent.
    """
    adopted = _adopted(app)
    if adopted is None or not adopted.matters or now - adopted.at >= TOLD_FOR:
        return
    after = replace(adopted, folders=tuple(_without_run(app, adopted.folders)))
    after = replace(after, told=adopted.told or _publish(app, after))
    if after != adopted:
        _write(app, after)


def adopted(app: App) -> Iterator[str]:
    """The sentence of it, within TOLD_FOR. Raises Transient, Permanent."""
    if (found := _adopted(app)) and found.matters and app.cloud.blobs.now() - found.at < TOLD_FOR:
        yield str(found)


def _publish(app: App, adopted: Adopted) -> bool:
    event, data = f"adopted-{adopted.at:%Y%m%dT%H%M%S}", {"reason": str(adopted), "dataset": ""}
    return app.cloud.topic.publish(f"Droptune.{EVENT}", "datasets", data, id=event, time=adopted.at)


def _write(app: App, adopted: Adopted) -> None:
    app.cloud.blobs.write(STATE, ADOPTED, msgspec.json.encode(adopted))


def _without_run(app: App, folders: Sequence[str]) -> list[str]:
    if not folders:
        return []
    marks, _ = app.runs.summaries(_RUNS)
    started = {mark.folder for mark in marks}
    return sorted(folder for folder in folders if folder not in started)


def _adopted(app: App) -> Adopted | None:
    try:
        return from_json(app.cloud.blobs.read(STATE, ADOPTED)[0], Adopted)
    except NotFound:
        return None
    except ValueError:
        log.exception("%s/%s can't be read: what it told of, droptune start FOLDER starts", STATE, ADOPTED)
        return None
