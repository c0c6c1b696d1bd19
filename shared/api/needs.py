"""What goes on only when a person does something, each with the command for that. Pure; `droptune status` shows it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice

from shared.api.schema import LineView, NeedView
from shared.intake.without_run import Upload
from shared.lifecycle.phase import Phase
from shared.line.seats import Overview
from shared.line.waits import Need
from shared.records.mark import Mark
from shared.run.waits import is_up_to_people, long

type Broken = tuple[str, object]
"""The id of a record that can't be read, and what is known of it."""

SHOWN = 20
"""Uploads."""
_ENDED_BADLY: dict[str, str] = {
    Phase.REJECTED: "was rejected",
    Phase.FAILED: "failed",
    Phase.ROLLED_BACK: "was rolled back",
}


def needs_of_runs(marks: Iterable[Mark], late: Callable[[Mark], bool] = lambda _: False) -> Iterator[NeedView]:
    """Of each run that waits for somebody, or is `late`, and of each folder whose latest run ended badly."""
    latest: dict[str, Mark] = {}
    for mark in marks:
        known = latest.get(mark.folder)
        latest[mark.folder] = mark if known is None or mark.since > known.since else known
        if is_up_to_people(mark):
            yield _need(mark, mark.status, _command(mark))
        elif late(mark):
            yield _need(mark, long(mark), "")
    for mark in latest.values():
        if ended := _ENDED_BADLY.get(mark.phase):
            again = "" if mark.phase == Phase.REJECTED else f"droptune retry {mark.id}"
            yield _need(mark, f"{ended}: {mark.status}", again)


def needs_of_seats(seats: Overview, *, deletes: bool) -> Iterator[NeedView]:
    """Of all runs that wait for a seat, once, where no endpoint goes by itself."""
    if seats.waiting and seats.why and not deletes:
        runs = f"{seats.waiting} runs wait" if seats.waiting > 1 else "1 run waits"
        yield NeedView(what=f"{runs} for {seats.why}", folder="")


def needs_of_lines(lines: Iterable[LineView]) -> Iterator[NeedView]:
    """Of what Azure refuses, and of what it shows other than was recorded."""
    found = list(lines)
    folders = Counter(line.folder for line in found)
    for line in found:
        for refusal in line.refused:
            yield NeedView(what=refusal.why, folder=line.folder, since=refusal.since)
        if line.seen:
            name = shlex.quote(line.folder) if folders[line.folder] == 1 else line.id
            yield NeedView(what=line.seen, folder=line.folder, command=f"droptune revive {name}")


def needs_of_uploads(uploads: Iterable[Upload]) -> Iterator[NeedView]:
    """Of uploads that yield no run; the first SHOWN of them one by one."""
    found = iter(uploads)
    for upload in islice(found, SHOWN):
        yield NeedView(what=f"{upload.path} yields no run: {upload.why}", folder=upload.folder, since=upload.at)
    if more := sum(1 for _ in found):
        yield NeedView(what=f"{more} more uploads yield no run", folder="")


def needs_of_records(broken: Iterable[Broken]) -> Iterator[NeedView]:
    """Of records that can't be read."""
    for key, _ in broken:
        yield NeedView(
            what=f"the record of {key} can't be read: update the app, or mend or delete the blob and recover",
            folder="",
        )


def needs_of_kept(kept: Iterable[tuple[Need, datetime]], broken: Iterable[Broken]) -> Iterator[NeedView]:
    """Of what the last sweep, or cleanup, found, and no listing shows: what is lost, or stands still.

    A record that can't be read is among the `broken` of a listing only once its marker says so.
    """
    listed = {key for key, _ in broken}
    return (
        NeedView(what=need.why, folder=need.dataset, run=need.run, since=since)
        for need, since in kept
        if not need.shown and need.key.rpartition("/")[2] not in listed
    )


def needs_of_warnings(warnings: Iterable[str]) -> Iterator[NeedView]:
    """Of settings that nothing reads, and of records that belong to no run and no line."""
    return (NeedView(what=warning, folder="") for warning in warnings)


def _need(mark: Mark, what: str, command: str) -> NeedView:
    return NeedView(what=what, folder=mark.folder, run=mark.id, since=mark.since, command=command)


def _command(mark: Mark) -> str:
    if mark.parked:
        return f"droptune retry {mark.id}"
    return {"pin": f"droptune unpin {mark.line}", "approval": f"droptune approve {mark.id}"}.get(mark.hold, "")
