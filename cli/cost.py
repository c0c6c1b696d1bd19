"""`droptune cost`: what was spent in a time, by line, run or day, and what teardowns saved. Called by `__main__`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.client_options import add_client_options, client_of
from cli.say import NAME, escaped, say_json, tell_cuts

if TYPE_CHECKING:
    from decimal import Decimal

    from shared.api.cost_schema import CostRow, CostTotal, CostView

BY = ("line", "run", "day")
_HOW = """--for takes 'this month' (the default), 'last month', a month as 2026-11,
a day as 2026-11-29, or 'all'; months and days are those of UTC
--csv has exact amounts, so that all months add up to what `all` says; it is
empty where no price is known"""
_COLUMNS = (
    "period", "by", "key", "folder", "kind", "size", "currency",
    "amount", "saved", "instance_seconds", "saved_instance_seconds",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t")
_LARGE = 16
"""Digits before the point of an amount that nobody has."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds this command to the parser."""
    from cli.frame import Listed

    command = commands.add_parser(
        "cost", help="what was spent, and what teardowns saved", epilog=_HOW, formatter_class=Listed
    )
    command.add_argument("--for", dest="period", default="", metavar="TIME", help="of this time alone")
    command.add_argument("--by", choices=BY, default=BY[0], help="a row for each (default: line)")
    command.add_argument("--csv", action="store_true", help="as CSV, with exact amounts")
    add_client_options(command)
    command.set_defaults(run=_cost)


def _cost(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.errors import CliError
    from cli.say import complain, say

    if options.csv and options.json:
        raise CliError("--csv and --json are two forms of the same: give one of them")
    found = client_of(options).cost(options.period, options.by)
    if options.json:
        say_json(as_json(found))
    elif options.csv:
        for line in _csv(found):
            say(line)
        for why in found.unreadable:
            complain(why)
    else:
        _show(found)
    return 0


# For people ----------------------------------------------------------------------------------------------------------


def _show(found: CostView) -> None:
    from cli.moments import local
    from cli.screen import Screen

    screen = Screen()
    time = "since the bill began" if found.period == "all" else f"in {escaped(found.period, NAME)}"
    screen.text(f"What was spent {time}, up to {local(found.until)}", style="bold")
    if not found.rows:
        screen.text("nothing that the bill knows of", indent=2)
    for row in _aligned([_cells(row, name) for row, name in zip(found.rows, _names(found), strict=True)]):
        screen.text(row, indent=2)
    for total in found.totals:
        for text in _of_total(total, found.assumption):
            screen.text(text, indent=2)
    if found.seen:
        many = "1 interval has a time" if found.seen == 1 else f"{found.seen} intervals have a time"
        screen.text(f"note: {many} that is good to a tick of the cleanup: others began, changed or ended it")
    for why in found.unreadable:
        screen.text(f"note: {why}", style="yellow")
    tell_cuts("--json has all of it")


def _names(found: CostView) -> Iterator[str]:
    """What each row is called: a line by its folder, where that has no other one."""
    folders = Counter(folder for _, folder in {(row.key, row.folder) for row in found.rows})
    for row in found.rows:
        if found.by == "line" and row.folder and folders[row.folder] == 1:
            yield escaped(row.folder, NAME)
        else:
            folder = f" {escaped(row.folder, NAME)}" if row.folder else ""
            yield escaped(row.key, NAME) + folder


def _cells(row: CostRow, name: str) -> tuple[str, ...]:
    kind = escaped(row.kind, NAME)
    hours = _hours(row.instance_seconds)
    if row.amount is None:
        return name, kind, "no price", hours, escaped(f"of {row.size or 'an unknown size'}", NAME)
    saved = f"saved {_money(row.saved, row.currency)}" if row.saved else ""
    return name, kind, _money(row.amount, row.currency), hours, saved


def _of_total(total: CostTotal, assumption: str) -> Iterator[str]:
    if total.amount is None:
        yield f"no price  {_hours(total.instance_seconds)} of instances are in no sum"
        if total.saved_instance_seconds:
            yield f"          nor what {_hours(total.saved_instance_seconds)} more would have cost, had nothing gone"
        return
    yield f"in all    {_money(total.amount, total.currency)}, {_hours(total.instance_seconds)} of instances"
    if total.saved:
        yield f"saved     {_money(total.saved, total.currency)}: {assumption}"


def _money(value: Decimal | None, currency: str) -> str:
    if value is None:
        return "unknown"
    if not value.is_finite() or value.adjusted() > _LARGE:
        shown = f"{value:e}"
    elif 0 < value * 100 < 1:
        shown = "under 0.01"
    else:
        shown = f"{value:,.2f}"
    return f"{shown} {escaped(currency, NAME) or 'in an unnamed currency'}"


def _hours(seconds: Decimal) -> str:
    if not seconds.is_finite() or seconds.adjusted() > _LARGE:
        return f"{seconds:e} s"
    return f"{seconds / 3600:,.1f} h" if seconds >= 360 else f"{seconds:,.0f} s"


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        for at in (2, 3):  # numbers are flush right
            cells[at] = " " * (widths[at] - cell_len(row[at])) + row[at]
        yield "  ".join(cells).rstrip()


# For programs --------------------------------------------------------------------------------------------------------


def _csv(found: CostView) -> Iterator[str]:
    """The rows, amounts exact, and empty where they are unknown."""
    import csv
    import io

    written = io.StringIO()
    writer = csv.writer(written)
    for row in (_COLUMNS, *(_values(found, row) for row in found.rows)):
        written.seek(0)
        written.truncate()
        writer.writerow(row)
        yield written.getvalue().removesuffix("\r\n")


def _values(found: CostView, row: CostRow) -> tuple[str, ...]:
    texts = (found.period, found.by, row.key, row.folder, row.kind, row.size, row.currency)
    numbers = (row.amount, row.saved, row.instance_seconds, row.saved_instance_seconds)
    return (*map(_no_formula, texts), *("" if each is None else _plain(each) for each in numbers))


def _plain(value: Decimal) -> str:
    return f"{value:f}" if value.is_finite() and abs(value.adjusted()) <= _LARGE else f"{value:e}"


def _no_formula(text: str) -> str:
    """A spreadsheet takes a text that begins so for a formula, and would carry it out."""
    return f"'{text}" if text.startswith(_FORMULA) else text
