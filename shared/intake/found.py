"""Uploads that no event told of: the container's listing, held against the last one that was kept.

What has come since has a new name or a new ETag, whatever its date. Without a listing from before, the first time or
where that is lost, only the date can tell: what is older than the last sweep starts nothing by itself (adopted.py).
What is gone starts nothing either. Called by the sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.errors import Conflict, NotFound, Transient
from shared.intake.arrivals import look_into
from shared.intake.events import folder_of
from shared.intake.listing import Listing, compared, decoded, encoded, joined
from shared.intake.without_run import Upload, by_folder, may_start, without_run
from shared.records.layout import DATASETS, LISTING, STATE

log = logging.getLogger("droptune.intake.found")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of the last listing, None where there is none that can be read; `damaged`: what is there instead."""

    listing: Listing | None = None
    etag: str | None = None
    damaged: bytes | None = None


@dataclass(kw_only=True)
class Seen:
    """What a listing shows: itself, and the folders with news. `came`: when what looks older is taken to have come.

    `uploads` yield no run; `aged`: paths of what is new and looks older. `startable`: folders that a person may start;
    only where there was no listing before.
    """

    listing: Listing = field(default_factory=dict)
    changed: dict[str, datetime | None] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)
    aged: set[str] = field(default_factory=set)
    startable: list[str] = field(default_factory=list)


def last_listing(app: App) -> Kept:
    """What is kept of it. Raises Transient, Permanent."""
    try:
        data, etag = app.cloud.blobs.read(STATE, LISTING)
    except NotFound:
        return Kept()
    try:
        return Kept(listing=decoded(data), etag=etag)
    except ValueError:
        log.exception("%s/%s can't be read", STATE, LISTING)
        return Kept(etag=etag, damaged=data)


def held_against(
    kept: Listing | None, folders: Iterable[tuple[str, list[BlobInfo]]], *, since: datetime, now: datetime
) -> Seen:
    """The `folders` as they are `now` against what was kept. `since`: what has a later date has come by being written.

    What has an older one and is new came some other way, which nobody can date any closer: now.
    """
    seen = Seen()
    for folder, blobs in folders:
        seen.uploads += without_run(folder, blobs)
        here = compared(blobs, kept.get(folder, b"") if kept else b"")
        news = here.news if kept is not None else [blob for blob in blobs if blob.last_modified >= since]
        aged = {blob.name for blob in news if blob.last_modified < since}
        if not folder:
            # What lies in none comes in parts. A listing that knows nothing of it can't tell what is new.
            seen.listing[folder] = joined(seen.listing.get(folder, b""), here.kept)
            seen.aged |= aged if kept and folder in kept else set()
            continue
        seen.listing[folder] = here.kept
        seen.aged |= aged
        if news:
            seen.changed[folder] = now if aged else None
        if kept is None and may_start(folder, blobs):
            seen.startable.append(folder)
    return seen


def find_uploads(app: App, kept: Kept, *, since: datetime, now: datetime) -> tuple[Seen, bool]:
    """Looks into the folders with news. What the listing has shown, for `keep`; whether all could be looked into.

    Of a folder that could not be looked into what was known before is kept, so that its news are news the next time: as
    they are after a crash before `keep`. Raises Transient, Permanent where the container can't be listed.
    """
    seen = held_against(kept.listing, by_folder(app.cloud.blobs.list(DATASETS)), since=since, now=now)
    done = True
    for folder, came in sorted(seen.changed.items()):
        try:
            look_into(app, folder, came=came)
            continue
        except (Transient, Conflict) as error:
            log.warning("%s/%s can't be looked into now: %s", DATASETS, folder, error)
            done = False
        except Exception:
            log.exception("%s/%s can't be looked into; the other folders are", DATASETS, folder)
        _as_before(seen, kept, folder)
    return seen, done


def stay_news(seen: Seen, kept: Kept) -> None:
    """Has what looks old be news the next time too: people could not be told that it yields no run."""
    for path in seen.aged:
        _as_before(seen, kept, folder_of(path))


def _as_before(seen: Seen, kept: Kept, folder: str) -> None:
    if kept.listing and folder in kept.listing:
        seen.listing[folder] = kept.listing[folder]
    else:
        seen.listing.pop(folder, None)


def keep(app: App, listing: Listing, before: Kept) -> None:
    """Keeps it in the place of the one before. Raises Transient, Permanent."""
    if listing == before.listing:
        return
    etag = before.etag
    try:
        app.cloud.blobs.write(STATE, LISTING, encoded(listing), if_match=etag, if_none_match=etag is None)
    except Conflict:
        log.info("another sweep has kept a listing: what is news to that one is looked at once more")
