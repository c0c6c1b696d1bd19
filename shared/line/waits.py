"""What goes on only when a person does something, whatever it is: people are told at once and daily, and can count it.

Whoever looks at many of a kind (the sweep at runs, lines and what has no record, the cleanup at endpoints) hands over
all that it found; what it does not find any more is over. `state/needs.json` keeps that between two looks, so that
health and status need not look again. What is told by its own record, a refusal as it happens, is counted all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from shared.app import App
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.lifecycle.moment import Moment
from shared.records.base import TOLD_AGAIN, VERSION, from_json
from shared.records.layout import NEEDS, STATE
from shared.records.store import compare_and_swap

log = logging.getLogger("droptune.line.waits")
type Source = Literal["runs", "lines", "lost", "messages", "folders", "cleanup"]
"""Who looks: each source says all that it found, and nothing of the others."""
KEPT = 500
"""Needs of one source that are kept one by one; all are counted."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that waits for a person, and `why`, with what ends that.

    `key`: what it is, and which wait of it, equal from look to look. `event`: its type, behind `Droptune.`; "" for what
    its own record tells. `shown`: status shows it anyway. `after`: it is one only once it has been so for that long.
    """

    key: str
    event: str
    subject: str
    why: str
    dataset: str = ""
    run: str = ""
    shown: bool = False
    after: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What NEEDS holds. `since`: when each was found first; `told`: when people heard of it last, for a day."""

    needs: dict[str, list[Need]] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    since: dict[str, dict[str, Moment]] = field(default_factory=dict)
    told: dict[str, Moment] = field(default_factory=dict)


def tell(app: App, found: Mapping[Source, Sequence[Need]], now: datetime) -> None:
    """Tells of each that people were not told of within a day, and keeps what was found; what fails is in the log.

    A source that is not in `found` could not look: what it found before stays.
    """

    def attempt() -> None:
        before, etag = _read(app)
        after = _with(app, before, found, now)
        if after != before:
            body = msgspec.json.encode(after)
            app.cloud.blobs.write(STATE, NEEDS, body, if_match=etag, if_none_match=etag is None)

    try:
        compare_and_swap(attempt, f"{STATE}/{NEEDS}")
    except (Conflict, Transient, Permanent) as error:
        log.warning("what waits for a person can't be told now: %s", error)
    except Exception:  # whoever looks has more to do
        log.exception("what waits for a person can't be told")


def _with(app: App, before: Kept, found: Mapping[Source, Sequence[Need]], now: datetime) -> Kept:
    needs, count, since = dict(before.needs), dict(before.count), dict(before.since)
    told = {key: at for key, at in before.told.items() if now - at < TOLD_AGAIN}
    for source, looked_at in found.items():
        known = before.since.get(source, {})
        since[source] = {each.key: known.get(each.key, now) for each in looked_at}
        due = [each for each in looked_at if now - since[source][each.key] >= each.after]
        for each in due:
            if each.event and each.key not in told and _publish(app, each, now):
                told[each.key] = now
        needs[source], count[source] = due[:KEPT], len(due)
    return Kept(needs=needs, count=count, since=since, told=told)


def _publish(app: App, need: Need, now: datetime) -> bool:
    log.warning("%s", need.why)
    data = {"reason": need.why, "dataset": need.dataset} | ({"run": need.run} if need.run else {})
    event = f"{need.key.replace(' ', '-')}-{now:%Y%m%dT%H%M%S}"
    return app.cloud.topic.publish(f"Droptune.{need.event}", need.subject, data, id=event, time=now)


def kept_needs(app: App) -> Iterator[tuple[Need, datetime]]:
    """What waits for a person as it was found last, each since when: now, where somebody took that out of NEEDS.

    Raises Transient, Permanent.
    """
    kept, _ = _read(app)
    for source, needs in kept.needs.items():
        since = kept.since.get(source, {})
        for each in needs:
            yield each, since.get(each.key) or app.cloud.blobs.now()


def counted(app: App) -> int:
    """How much of that there is. Raises Transient, Permanent."""
    return sum(_read(app)[0].count.values())


def _read(app: App) -> tuple[Kept, str | None]:
    try:
        data, etag = app.cloud.blobs.read(STATE, NEEDS)
    except NotFound:
        return Kept(), None
    try:
        return from_json(data, Kept), etag
    except ValueError:
        log.exception("%s/%s can't be read, and is made anew: what it told of is told once more", STATE, NEEDS)
        return Kept(), etag


def unreadable_record(name: str, version: int) -> Need:
    """A record that can't be read, `runs/ID`, `lines/ID` or a blob of its own in `state`."""
    ends = "update the app" if version > VERSION else "mend that blob, or delete it and recover"
    return Need(
        key=f"record {name}",
        event="Record.Unreadable",
        subject=name if "/" in name else f"records/{name}",
        why=f"state/{name}{'.json' if '/' in name else ''} can't be read, and what it is of stands still: {ends}",
        shown="/" not in name,
    )


def unjudged(line: str, why: str, *, after: timedelta = timedelta(0)) -> Need:
    """A line whose endpoint the cleanup can't look after, so that it may serve for nobody."""
    return Need(
        key=f"line {line} unjudged",
        event="Endpoint.Waiting",
        subject=f"lines/{line}",
        why=f"nobody knows whether line {line} is used, nor is it torn down when it is not: {why}",
        after=after,
    )
