"""The report on a dataset as a page to read, report.md; and what the terminal shows of it in the same way.

A dataset is somebody else's text: what is quoted of it stands in code, in which neither Markdown nor HTML means
anything, and without characters that a page or a terminal would obey. Called where a report is stored, and by the CLI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from shared.dataset.causes import causes
from shared.dataset.judging.rules import RULES, Fault
from shared.dataset.report import Report, counted
from shared.logs import visible

RULES_PAGE = "docs/rules.md"
KEYS_TOLD = 50
"""How many keys that are not read the page and the terminal show."""
TOLD = 10
"""How many causes of a rule the page shows; report.json has each fault."""

_BAR = 40
_LINES = 12  # of a histogram


def page(report: Report, title: str = "Report on the dataset") -> str:
    """The page, in GitHub's Markdown. `title` is plain text."""
    return "\n\n".join(_chapters(report, title)) + "\n"


def _chapters(report: Report, title: str) -> Iterator[str]:
    yield f"# {title if title.replace(' ', '').isalnum() else code(title)}"
    yield from _verdict(report)
    yield _table(
        ("file", "used for", "format", "rows", "good"),
        [
            (code(name), part, report.formats.get(part, "-"), f"{rows:,}", f"{good:,}")
            for part, name, rows, good in files_of(report)
        ],
    )
    if not report.rejected:
        yield "## Split"
        yield _table(("part", "rows", "percent", "where from"), list(splits_of(report)))
        if report.shows:
            yield f"{report.shows}."
    wrong = "What is wrong" if report.rejected else "Bad rows, which are left out"
    for title, counts in ((wrong, report.by_rule), ("Warnings", report.warnings)):
        if counts:
            yield f"## {title}"
            rows = [(_link(rule), f"{count:,}", RULES[rule].cure) for rule, count in counts.items()]
            yield _table(("rule", "how often", "what to do"), rows)
            faults = report.faults if counts is report.by_rule else report.warned
            for rule, count in counts.items():
                yield from _faults(rule, [fault for fault in faults if fault.rule == rule], count)
    if report.keys:
        yield "## Keys that are not read"
        yield _table(
            ("key", "of", "how many", "what it means", "for example", "what to do"),
            [
                (code(key), place, rows, verdict, code(example), cure)
                for key, place, rows, verdict, example, cure in keys_of(report)
            ],
        )
    if report.found:
        yield "## Secrets and persons' data"
        yield _table(("kind", "how many"), [(kind, f"{count:,}") for kind, count in report.found.items()])
        yield safety_of(report)
    if report.by_rule or report.warnings:
        yield f"Each rule is explained in {RULES_PAGE} of Droptune's repository."
    for title, lines in (("Messages a row", turns_of(report)), ("Tokens a row, by estimate", tokens_of(report))):
        if lines:
            yield f"## {title}"
            yield fenced(bars(lines, _BAR))
    if report.longest:
        yield f"The longest row has about {report.longest:,} tokens."
    if report.duplicates:
        yield "## Duplicates"
        yield f"{copies_of(report)} in the same {'part' if report.shards else 'file'}."
    if report.first_rows:
        yield "## First rows"
        yield "As they are trained on, shortened; secrets and persons' data are never shown."
        yield fenced(report.first_rows)


def _verdict(report: Report) -> Iterator[str]:
    if report.rejected:
        yield "**Rejected**: it is not trained on."
        yield fenced([report.rejected])
    else:
        yield f"**Accepted.** {report.summary}."


def _faults(rule: str, faults: Sequence[Fault], count: int) -> Iterator[str]:
    """What the faults of a rule that the report has say, each cause once."""
    if not faults:
        return
    yield f"### {rule}"
    told = causes(faults, {rule: count})[:TOLD]
    if (shown := sum(cause.count for cause in told)) < count or len(faults) < count:
        first = f"{shown:,} of {count:,}" if shown < count else f"{count:,} in all"
        yield f"{first}; report.json has {len(faults):,}."
    lines = []
    for cause in told:
        fault = cause.fault
        _, place = place_of(fault)
        lines.append(f"{fault.file}{f', {place}' if place else ''}: {fault.reason}")
        if fault.excerpt:
            lines.append(f"    {fault.excerpt}")
        if cause.more:
            lines.append(f"    {cause.more}")
    yield fenced(lines)


def _link(rule: str) -> str:
    return f"[{rule}]({RULES_PAGE}#{rule})"


# What the terminal shows too ------------------------------------------------------------------------------------------


def place_of(fault: Fault) -> tuple[int | None, str]:
    """The line that a fault is on, if its file has lines, and its place in words; empty where it is no single place."""
    if not fault.spot.startswith("line"):
        return None, fault.spot
    return fault.line, fault.spot if fault.offset is None else f"{fault.spot} (byte {fault.offset:,})"


def files_of(report: Report) -> Iterator[tuple[str, str, int, int]]:
    """Of each file its part, name, rows, and how many of them are good."""
    for part, name in report.files.items():
        good = report.splits.get(part, 0)
        if part == "train":
            good += sum(report.splits.get(cut, 0) for cut in report.cut)
        yield part, name, report.rows_of.get(part, 0), good


def keys_of(report: Report) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Of each key that is not read: its name, whose it is, rows that have it, what that means, an example, the cure."""
    places = {"row": "the row", "message": "a message", "part": "a part of a content"}
    verdicts = {"refused": "it refuses the dataset", "told": "it is not trained on", "ignored": "it is ignored"}
    for each in report.keys[:KEYS_TOLD]:
        where = places.get(each.place, each.place)
        if len(report.files) > 1:
            where = f"{where} ({each.part})"
        yield (
            each.key,
            where,
            counted(each.rows, "row"),
            verdicts.get(each.verdict, each.verdict),
            each.example,
            each.cure,
        )


def copies_of(report: Report) -> str:
    """How many rows stand in their file a second time."""
    if report.duplicates == 1:
        return "1 row is a copy of a row before it"
    return f"{report.duplicates:,} rows are copies of rows before them"


def safety_of(report: Report) -> str:
    """What became of the secrets and persons' data that were found, and where it is told which rows have them."""
    became = {
        "mask": "Each was replaced by a word like [email]",
        "reject": "A row with one is a bad row",
    }.get(report.safety, "A row with a secret is a bad row; persons' data are only told")
    return f"{became} (safety: {report.safety}). Where they are is told by row; what they are, nowhere."


def splits_of(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Of each part its name, good rows, their percentage, and where they come from."""
    total = max(1, sum(report.splits.values()))
    moved = ", where the cuts were moved so that no part is empty" if report.adjusted else ""
    for part, rows in report.splits.items():
        why = f"; {report.uneven[part]}" if part in report.uneven else moved
        files = "files" if part in report.shards else "file"
        origin = f"cut from train, by conversation{why}" if part in report.cut else f"its own {files}"
        if part == "train" and report.cut:
            origin = f"what is left of its {files}"
        yield part, f"{rows:,}", f"{100 * rows / total:.1f} %", origin


def turns_of(report: Report) -> list[tuple[str, int]]:
    """How many rows have how many messages: label and rows. Many different counts are put together by powers of 2."""
    counts = {int(turns): rows for turns, rows in sorted(report.turns.items())}
    if len(counts) <= _LINES:
        return [(f"{turns:,}", rows) for turns, rows in counts.items()]
    return _ranged({turns: (turns - 1).bit_length() for turns in counts}, counts)


def _ranged(power: Mapping[int, int], counts: Mapping[int, int]) -> list[tuple[str, int]]:
    """Counts put together by powers of 2, of which each is the upper end of a range."""
    found: dict[int, int] = {}
    for key, rows in counts.items():
        found[power[key]] = found.get(power[key], 0) + rows
    return [(_range((1 << each >> 1) + 1, 1 << each), found.get(each, 0)) for each in _whole(found)]


def tokens_of(report: Report) -> list[tuple[str, int]]:
    """How many rows have how many tokens: label and rows, in ranges by powers of 2 without gaps."""
    counts = {int(upper).bit_length() - 1: rows for upper, rows in report.tokens.items()}
    return [(_range(1 << each >> 1, (1 << each) - 1), counts.get(each, 0)) for each in _whole(counts)]


def _whole(found: Mapping[int, int]) -> range:
    return range(min(found), max(found) + 1) if found else range(0)


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first >= last else f"{first:,}-{last:,}"


def bars(lines: Sequence[tuple[str, int]], width: int, block: str = "█") -> list[str]:
    """A histogram as lines of text; a bar of `width` blocks is the most, and a row is enough for one block."""
    most = max((rows for _, rows in lines), default=0)
    label = max((len(each) for each, _ in lines), default=0)
    count = len(f"{most:,}")
    return [
        f"{each:>{label}}  {rows:>{count},}  {block * (-(-width * rows // most) if most else 0)}".rstrip()
        for each, rows in lines
    ]


def code(text: str) -> str:
    """Foreign text as a span of code."""
    shown = visible(text)
    if not shown.strip():
        return "-"
    runs = {len(run) for run in re.findall("`+", shown)}
    fence = "`" * next(size for size in range(1, len(shown) + 2) if size not in runs)
    return f"{fence} {shown} {fence}" if runs or shown != shown.strip() else f"{fence}{shown}{fence}"


def fenced(lines: Sequence[str]) -> str:
    """Foreign texts as a block of code, a line each."""
    shown = [visible(line) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *shown, fence])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '\\|') for cell in line)} |" for line in lines)
