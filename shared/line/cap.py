"""How many endpoints may go in a deletion window: were the metrics wrong for all, a person notices before all are gone.

Called by the cleanup, and by a teardown that was refused, which took nothing away.
"""

from __future__ import annotations

import logging
from datetime import datetime

import msgspec

from shared.app import App
from shared.errors import Conflict, NotFound
from shared.lifecycle.moment import Moment, minute
from shared.line.unreadable import keep_and_tell
from shared.records.base import from_json
from shared.records.layout import DELETIONS, STATE
from shared.records.line import Line

log = logging.getLogger("droptune.line.cap")


def take(app: App, line: Line, now: datetime) -> str:
    """Takes one of the deletions that the window allows; why not, and when one is free, or "".

    Raises Conflict when another tick takes one right now.
    """
    taken, etag = _read(app, anew=True)
    settings = app.settings.cleanup
    taken = {key: at for key, at in taken.items() if now - at < settings.deletion_window}
    if line.id not in taken and len(taken) >= settings.max_deletions:
        used = f"{len(taken)} of {settings.max_deletions} teardowns (CLEANUP_MAX_DELETIONS) are used"
        if not taken:
            return f"{used}: none goes before that is raised"
        return f"{used}, the next at {minute(min(taken.values()) + settings.deletion_window)}"
    taken[line.id] = now
    body = msgspec.json.encode(taken)
    app.cloud.blobs.write(STATE, DELETIONS, body, if_match=etag, if_none_match=etag is None)
    return ""


def give_back(app: App, line: Line) -> None:
    """Lets others have the deletion that the line took; at the end of the window where somebody else is faster."""
    taken, etag = _read(app)
    if taken.pop(line.id, None) is None:
        return
    try:
        app.cloud.blobs.write(STATE, DELETIONS, msgspec.json.encode(taken), if_match=etag)
    except Conflict:
        log.info("the deletion that line %s took stays taken: the record changed meanwhile", line.id)


def _read(app: App, *, anew: bool = False) -> tuple[dict[str, datetime], str | None]:
    try:
        data, etag = app.cloud.blobs.read(STATE, DELETIONS)
    except NotFound:
        return {}, None
    try:
        return from_json(data, dict[str, Moment]), etag
    except ValueError:
        log.exception("%s/%s can't be read", STATE, DELETIONS)
        if anew:
            keep_and_tell(app, DELETIONS, data)
        return {}, etag
