"""Judges the files of a part, each and together, and a dataset's parts beside each other, once all of them were read.

Called by `scan` and `parallel`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.dataset.judging.rules import Fault
from shared.dataset.preparing import noted
from shared.dataset.preparing.kept import Kept
from shared.dataset.preparing.leaks import begun_in_train
from shared.dataset.preparing.tally import Tally
from shared.dataset.split import Part

if TYPE_CHECKING:
    from shared.dataset.preparing.scan import Input, Scan

MANY_DUPLICATES = 0.1
LONG = 100
FILE = 40
"""A row's number among all of its part: its number in the file, and above so many bits which file that is."""


@dataclass(frozen=True)
class Read:
    """A part of a dataset, when all its `files` were read. `scan`: of the first of them."""

    scan: Scan
    files: Sequence[Input]
    tally: Tally
    kept: Kept

    def fault(self, rule: str, reason: str, number: int) -> Fault:
        """A fault of the row with this number (see FILE)."""
        where = _place(sorted(self.tally.groups.items()), number)
        return Fault(file=self.files[number >> FILE].name, part=self.scan.part, rule=rule, reason=reason, **where)


def judge_file(tally: Tally, scan: Scan) -> None:
    """Judges one file, once all of it was read."""
    if not tally.rows and not tally.counts:
        tally.fault(scan.fault("empty_file", "the file has no rows", {"line": 1, "offset": 0}))


def finish(read: Read) -> None:
    """Judges the files of a part together, once all of them were read."""
    tally, scan, files = read.tally, read.scan, read.files
    if scan.part != "train" and not tally.good and not tally.counts["empty_file"]:
        what = f"{scan.part} file is" if len(files) == 1 else f"{len(files)} {scan.part} files is"
        reason = f"not one row of the {what} good"
        tally.fault(scan.fault("no_test_rows", reason, {"line": 1, "offset": 0}))
    for fault, count in noted.faults(tally.notes, scan.part):
        tally.fault(fault)
        tally.counts[fault.rule] += count - 1
    found: list[tuple[int, int]] = []
    for numbers, firsts in read.kept.duplicates.find():
        tally.duplicates += len(numbers)
        first = np.argsort(numbers)[: scan.told]
        found = sorted([*found, *zip(numbers[first].tolist(), firsts[first].tolist(), strict=True)])[: scan.told]
    if tally.duplicates:
        tally.counts["duplicate_row"] += tally.duplicates
        for number, before in found[: max(0, scan.told - len(tally.warned))]:
            reason = f"the same row as {read.fault('duplicate_row', '', before).place}"
            tally.warned.append(read.fault("duplicate_row", reason, number))
    for each in tally.crowd.repeated:
        reason = (
            f"{each.rows:,} of {tally.good:,} rows have its prompts, where {each.part} may hold {each.most:,} of a "
            "conversation: all of them are trained on"
        )
        tally.fault(read.fault("repeated_prompts", reason, each.number))
    if tally.duplicates > MANY_DUPLICATES * tally.good:
        reason = f"{tally.duplicates:,} of {tally.good:,} good rows are copies of others"
        tally.fault(scan.fault("too_many_duplicates", reason, {"line": 1}))
    size, longest = tally.longest
    half = int(np.searchsorted(np.cumsum(tally.tokens), tally.good / 2))  # half of the rows have below 2^half tokens
    if longest and size > LONG << half:
        tally.fault(
            replace(longest, reason=f"about {size:,} tokens, where half of the rows have less than {1 << half:,}")
        )


def tell_beginnings(read: Mapping[Part, Read], told: int) -> None:
    """Tells of each row that is held out and is the beginning of one that is trained on."""
    train, rule = read["train"], "prefix_in_train"
    for part in ("validation", "test"):
        held = read.get(part, train)
        count = 0
        found: list[tuple[int, int]] = []
        for numbers, firsts in begun_in_train(held.kept, train.kept, train.tally.cut, part):
            count += len(numbers)
            first = np.argsort(numbers)[:told]
            found = sorted([*found, *zip(numbers[first].tolist(), firsts[first].tolist(), strict=True)])[:told]
        if not count:
            continue
        held.tally.counts[rule] += count
        for number, longer in found[: max(0, told - len(held.tally.warned))]:
            goes = f"it goes to {part}, and is" if held is train else "it is"
            reason = f"{goes} the beginning of {train.fault(rule, '', longer).place}, which is trained on"
            held.tally.warned.append(held.fault(rule, reason, number))


def _place(groups: Sequence[tuple[int, int]], number: int) -> dict[str, Any]:
    """Where the row with this number is. `groups`: number of each row group's first row, and the group's index."""
    at = bisect_right(groups, number, key=itemgetter(0))
    line = number & (1 << FILE) - 1
    if not at or groups[at - 1][0] >> FILE != number >> FILE:
        return {"line": line}
    first, group = groups[at - 1]
    return {"line": line, "row_group": group, "row": number - first + 1}
