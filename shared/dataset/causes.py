"""Faults that say the same, told as one: how many there are, where the first is, and on which lines the others.

A report keeps each fault with its place; who shows it to people shows its causes. Called by `report`, `report_page` and
the CLI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from shared.dataset.judging.rules import Fault

_NUMBER = re.compile(r"\d[\d,.]*")
_SPANS = 8
"""Runs of lines that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The first of the faults that say the same, but for the numbers in it, and how many there are with it.

    `others`: where the others are, in words, as far as they are known; "" where there are none.
    """

    fault: Fault
    count: int
    others: str

    @property
    def more(self) -> str:
        """The others in a sentence; "" where there are none."""
        if self.count == 1:
            return ""
        where = f": {self.others}" if self.others else ""
        return f"and {self.count - 1:,} more like it{where}"


def causes(faults: Sequence[Fault], counts: Mapping[str, int]) -> list[Cause]:
    """The causes of these faults, in the order of the first ones. `counts`: rule -> how often, also of faults that were
    not kept: they are taken for the same as the others of their rule, where those are all the same."""
    found: dict[tuple[str, str, str, str], list[Fault]] = {}
    for fault in faults:
        key = (fault.file, fault.part, fault.rule, _NUMBER.sub("#", fault.reason))
        found.setdefault(key, []).append(fault)
    rules = [rule for _, _, rule, _ in found]
    return [
        Cause(
            fault=same[0],
            count=counts.get(rule, len(same)) if rules.count(rule) == 1 else len(same),
            others=_lines(same, whole=counts.get(rule, len(same)) == len(same) or rules.count(rule) > 1),
        )
        for (_, _, rule, _), same in found.items()
    ]


def _lines(same: Sequence[Fault], *, whole: bool) -> str:
    """Where all but the first are: `lines 2 to 22, 30`. `whole`: these are all that there are."""
    if len(same) == 1 or not same[0].spot:
        return ""
    spans = list(_spans([fault.line for fault in same[1:]]))
    told = [f"{first:,}" if first == last else f"{first:,} to {last:,}" for first, last in spans[:_SPANS]]
    more = " ..." if len(spans) > _SPANS or not whole else ""
    word = "line" if same[0].spot.startswith("line") else "row"
    return f"{word}{'s'[: len(same) > 2]} {', '.join(told)}{more}"


def _spans(lines: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, run in groupby(enumerate(lines), lambda each: each[1] - each[0]):
        numbers = [number for _, number in run]
        yield numbers[0], numbers[-1]
