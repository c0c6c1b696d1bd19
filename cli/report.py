"""How the report on a dataset looks on a terminal: in full for `check`, in short for `show`.

What comes from the dataset is escaped where it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cli.say import escaped
from shared.dataset import report_page
from shared.dataset.causes import Cause, causes

if TYPE_CHECKING:
    from cli.screen import Screen
    from shared.dataset.judging.rules import Fault
    from shared.dataset.report import Report
    from shared.serving.gate import Gate

TOLD = 20
"""How many causes of a rule are told, if not all faults were asked for."""
_WARNED = 3  # causes of warnings, of a rule
_BAR = 36
_EXAMPLE = 80  # characters of what a key holds
_FIRST = 150  # characters of a first row


@dataclass(frozen=True, kw_only=True)
class View:
    """How to show a report. `sizes`: part -> bytes of its file. `everything`: all faults that the report has.

    `gate`: what new versions are to be like, if that is known.
    """

    sizes: Mapping[str, int]
    everything: bool = False
    gate: Gate | None = None


def show(screen: Screen, report: Report, view: View) -> None:
    """The whole report: files, verdict, what is wrong and where, the split, how long the rows are, the first ones."""
    from shared.dataset.reading.files import size_text
    from shared.dataset.report import counted
    from shared.serving import chance

    screen.columns(
        (
            name,
            part,
            report.formats.get(part, "-"),
            counted(rows, "row"),
            size_text(view.sizes[part]),
        )
        for part, name, rows, _ in report_page.files_of(report)
    )
    screen.verdict(good=not report.rejected, text=report.summary)
    if report.by_rule:
        screen.title("What is wrong" if report.rejected else "Bad rows, which are left out")
        _counts(screen, report.by_rule)
        screen.gap()
        _faults(screen, report.faults, report.by_rule, view, TOLD)
    if report.warnings:
        screen.title("Warnings")
        _counts(screen, report.warnings)
        screen.gap()
        _faults(screen, report.warned, report.warnings, view, _WARNED)
    if report.keys:
        screen.title("Keys that are not read")
        screen.columns(
            (
                (escaped(key), where, rows, verdict, escaped(example, _EXAMPLE))
                for key, where, rows, verdict, example, _ in report_page.keys_of(report)
            ),
        )
    _safety(screen, report)
    if not report.rejected:
        screen.title("Split")
        screen.columns(report_page.splits_of(report), right=(1, 2))
        if told := chance.shown(report.splits.get("test", 0), view.gate):
            screen.text(f"{told}.", indent=2)
    for title, lines in (
        ("Messages a row", report_page.turns_of(report)),
        ("Tokens a row, by estimate", report_page.tokens_of(report)),
    ):
        if lines:
            screen.title(title)
            for line in report_page.bars(lines, _BAR, screen.block):
                screen.text(line, indent=2)
    if report.longest:
        screen.text(f"The longest row has about {report.longest:,} tokens.", indent=2)
    if report.duplicates:
        screen.title("Duplicates")
        where = "part" if report.shards else "file"
        screen.text(f"{report_page.copies_of(report)} in the same {where}.", indent=2)
    if report.first_rows:
        screen.title("First rows")
        for row in report.first_rows:
            screen.text(escaped(row, _FIRST), indent=2)


def lines(report: Mapping[str, object], told: int = 10) -> Iterable[str]:
    """A few lines on the report that the app's API gave."""
    import msgspec

    from shared.dataset.report import Report, counted

    try:
        found = Report.of(report)
    except msgspec.ValidationError:
        yield "data      the report is of another version of Droptune; --json shows it"
        return
    for part, name, rows, good in report_page.files_of(found):
        bad = f", {rows - good:,} of them bad" if good < rows else ""
        shape = found.formats.get(part, "no known format")
        yield f"data      {name}: {part}, {shape}, {counted(rows, 'row')}{bad}"
    if not found.rejected:
        yield "split     " + ", ".join(f"{rows:,} {part}" for part, rows in found.splits.items())
    for part, why in found.uneven.items():
        yield f"          {part}: {why}"
    if not found.rejected and found.shows:
        yield f"shows     {found.shows}"
    if found.duplicates:
        yield f"copies    {report_page.copies_of(found)}"
    for title, counts in (("wrong", found.by_rule), ("warnings", found.warnings)):
        if counts:
            yield f"{title:<9} " + ", ".join(f"{count:,} {rule}" for rule, count in counts.items())
    for key, where, many, verdict, _, _ in islice(report_page.keys_of(found), told):
        yield f"not read  {escaped(key)} of {where}: {many}, {verdict}"
    shown = causes(found.faults, found.by_rule)[:told]
    for cause in shown:
        others = f" ({cause.more})" if cause.more else ""
        yield f"  {_place(cause.fault)}  {cause.fault.rule}  {cause.fault.reason}{others}"
    more = sum(found.by_rule.values()) - sum(cause.count for cause in shown)
    if more:
        yield f"  and {more:,} more; --json shows the first {len(found.faults):,}"


def _safety(screen: Screen, report: Report) -> None:
    if report.found:
        screen.title("Secrets and persons' data")
        screen.columns(((kind, f"{count:,}") for kind, count in report.found.items()), right=(1,))
        screen.text(report_page.safety_of(report), indent=2)


def _counts(screen: Screen, counts: Mapping[str, int]) -> None:
    from shared.dataset.judging.rules import RULES

    screen.columns(((rule, f"{count:,}", RULES[rule].cure) for rule, count in counts.items()), right=(1,))


def _faults(screen: Screen, faults: Sequence[Fault], counts: Mapping[str, int], view: View, most: int) -> None:
    """Each fault if all were asked for, else what they have in common: of each rule the first few."""
    if view.everything:
        shown = [Cause(fault=fault, count=1, others="") for fault in faults]
    else:
        shown = list(_some(causes(faults, counts), most))
    for cause in shown:
        fault = cause.fault
        screen.text(f"{_place(fault)}  {fault.rule}  {fault.reason}", indent=2)
        if fault.excerpt:
            screen.text(fault.excerpt, indent=6, style="dim")
        if cause.more:
            screen.text(cause.more, indent=6, style="dim")
    if more := sum(counts.values()) - sum(cause.count for cause in shown):
        offer = f"; --all shows {len(faults):,} of them" if not view.everything else ""
        screen.text(f"and {more:,} more{offer}", indent=2, style="dim")


def _some(found: Iterable[Cause], most: int) -> Iterator[Cause]:
    """The first few of each rule."""
    seen: Counter[str] = Counter()
    for cause in found:
        seen[cause.fault.rule] += 1
        if seen[cause.fault.rule] <= most:
            yield cause


def _place(fault: Fault) -> str:
    """file:line, which editors and terminals open; in words where there are no lines."""
    from shared.dataset.report_page import place_of

    line, words = place_of(fault)
    if line is None:
        return f"{fault.file}, {words}" if words else fault.file
    return f"{fault.file}:{line}" if fault.offset is None else f"{fault.file}:{line} (byte {fault.offset:,})"
