"""Records of no run and no line that can't be read: watermark and listing of the sweep, deletions, slots, seats.

What was in them is kept when they are made anew, and people are told. Called by the sweep, by whoever takes a deletion
or a slot, and by health.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from shared.app import App
from shared.errors import NotFound
from shared.lifecycle.moment import Moment
from shared.lifecycle.seats import Seats
from shared.lifecycle.slots import Slots
from shared.records import layout
from shared.records.base import VERSION, from_json
from shared.records.layout import DELETIONS, LISTING, SEATS, SLOTS, STATE, WATERMARK
from shared.records.store import Unreadable, decoded

log = logging.getLogger("droptune.line.unreadable")
UNREADABLE = "Record.Unreadable"
TOLD_FOR = timedelta(days=7)
"""How long health tells of a record that was made anew."""
_LOST = {
    WATERMARK: f"uploads are found all the same, by the last listing of the datasets ({STATE}/{LISTING})",
    LISTING: "what had come before that without an event starts nothing by itself; droptune start FOLDER starts it",
    SEATS: "it was made of the lines and runs that there are; who waits for a seat asks again",
    DELETIONS: "CLEANUP_MAX_DELETIONS counts anew from then",
    SLOTS: "who trains and who waits is known by the runs, but MAX_JOBS_PER_DAY counts anew from then",
}


def keep_and_tell(app: App, name: str, data: bytes) -> None:
    """Keeps what the record holds, which is about to be made anew, and tells of it. Raises Transient, Permanent."""
    blobs, now = app.cloud.blobs, app.cloud.blobs.now()
    blobs.write(STATE, layout.damaged(name), data)
    why = _made_anew(name, now)
    log.error("%s", why)
    event, subject = f"unreadable-{name}-{now:%Y%m%dT%H%M%S}", f"records/{name}"
    app.cloud.topic.publish(f"Droptune.{UNREADABLE}", subject, {"reason": why, "dataset": ""}, id=event, time=now)


def unreadable(app: App) -> Iterator[str]:
    """A sentence for each of them that can't be read, or was made anew within TOLD_FOR. Raises Transient, Permanent."""
    blobs = app.cloud.blobs
    now = blobs.now()
    for name in _LOST:
        kept = blobs.head(STATE, layout.damaged(name))
        if kept and now - kept.last_modified < TOLD_FOR:
            yield _made_anew(name, kept.last_modified)
    try:
        from_json(blobs.read(STATE, DELETIONS)[0], dict[str, Moment])
    except NotFound:
        pass
    except ValueError:
        yield f"{STATE}/{DELETIONS} can't be read: the next teardown makes it anew; {_LOST[DELETIONS]}"


def stops_training(held: bytes | None, name: str = SLOTS) -> str:
    """Why nobody gets a slot, or a seat: a newer app wrote the record of that name, which `held` this.

    "" where it can be read, or made anew.
    """
    try:
        decoded(held or b"", Seats if name == SEATS else Slots, f"{STATE}/{name}")
    except Unreadable as error:
        return f"nothing is trained: {error}" if error.version > VERSION else ""
    return ""


def _made_anew(name: str, at: datetime) -> str:
    kept = f"{STATE}/{layout.damaged(name)}"
    return (
        f"{STATE}/{name} could not be read, and was made anew at {at:%Y-%m-%d %H:%M} (UTC): {_LOST[name]}; "
        f"{kept} keeps what it held"
    )
