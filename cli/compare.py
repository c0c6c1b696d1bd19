"""`droptune compare`: what two versions answered to the same held-out rows, the worst first.

Beside a run's answers are those of the version that served when the gate asked, or those of another run's gate.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cli.client_options import OF_RUN, add_client_options, client_of
from cli.errors import CliError
from cli.say import say_json, tell_cuts, titled

if TYPE_CHECKING:
    from cli.screen import Screen
    from shared.api.schema import AnswersView, AnswerView, ComparedView

LIVE = "live"
SHOWN = 20
"""Rows that are told, if they are not chosen."""
_TEXT = 160


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    compare = commands.add_parser("compare", help="a run's answers beside those of what served, or of another run")
    compare.add_argument("id", metavar="RUN", help=OF_RUN)
    of = "`live`: what served when the gate asked (default); or another run"
    compare.add_argument("--with", dest="other", default=LIVE, metavar="live|RUN", help=of)
    compare.add_argument("--only", choices=("worse",), help="the rows alone that were answered worse")
    compare.set_defaults(run=_compare)
    add_client_options(compare)


def _compare(options: argparse.Namespace) -> int:
    import msgspec

    from cli.client import as_json
    from cli.screen import Screen

    client = client_of(options)
    found, other, theirs = client.answers(options.id), LIVE, ""
    if options.other != LIVE:
        answers = client.answers(options.other)
        found, other, theirs = beside(found, answers), "other", answers.run
    elif not found.live:
        raise CliError(f"nothing served when run {found.run} was checked: name another run, as --with RUN")
    both = msgspec.structs.replace(found, rows=[row for row in found.rows if row.new and row.live])
    told = [row for row in found.rows if change(row) < 0] if options.only else found.rows
    if options.json:
        say_json(as_json(msgspec.structs.replace(found, rows=told)))
        return 0
    screen = Screen()
    screen.text(f"new   {found.new} of run {found.run}")
    screen.text(f"{other:<5} {found.live}{f' of run {theirs}' if theirs else ''}")
    rows(screen, told, other, most=len(told) if options.only else SHOWN)
    screen.gap()
    _sum(screen, both, other, len(found.rows) - len(both.rows))
    tell_cuts("--json has all of it")
    return 0


def beside(new: AnswersView, other: AnswersView) -> AnswersView:
    """The answers of one run with another's as `live`, by line and question, the worst first. Raises CliError."""
    import msgspec

    if new.score != other.score:
        raise CliError(
            f"run {new.run} is scored by {new.score or 'nothing'}, {other.run} by {other.score or 'nothing'}: "
            "their scores say nothing of each other"
        )
    theirs = {(row.line, row.question): row.new for row in other.rows}
    matched = [
        msgspec.structs.replace(row, live=theirs[key])
        for row in new.rows
        if (key := (row.line, row.question)) in theirs
    ]
    if not matched:
        raise CliError(f"runs {new.run} and {other.run} were asked no row in common: their test sets differ")
    return msgspec.structs.replace(new, live=other.new, rows=sorted(matched, key=lambda row: (change(row), mark(row))))


def change(row: ComparedView) -> float:
    """By how much the new answer is better than the other one, in points, -100 to 100; 0 where there are not two."""
    return row.new.score - row.live.score if row.new and row.live else 0.0


def mark(row: ComparedView) -> float:
    """The new answer's score; an error is none."""
    return row.new.score if row.new else 0.0


def rows(
    screen: Screen,
    shown: Sequence[ComparedView],
    other: str = LIVE,
    *,
    most: int = SHOWN,
    all_by: str = "--json has them all",
) -> None:
    """Rows with what was asked, expected and answered; `most` of them. `other`: what the second answer is called.

    `all_by`: what shows all.
    """
    some = shown[:most]
    for row in some:
        screen.gap()
        screen.text(f"row {row.line}: {_score(row, other)}", style="bold")
        for title, text in (
            ("asked", row.question),
            ("expected", row.expected),
            ("new", _said(row.new)),
            (other, _said(row.live)),
        ):
            if text:
                titled(title, _cut(text), indent=2)
    if len(some) < len(shown):
        screen.gap()
        left = len(shown) - len(some)
        screen.text(f"and {left:,} more row{'' if left == 1 else 's'}, with better scores; {all_by}")


class Sum(NamedTuple):
    """How many rows were answered better, the same, worse; scores from 0 to 100."""

    better: int
    same: int
    worse: int
    new: float
    live: float


def sum_of(found: Sequence[ComparedView]) -> Sum | None:
    """Of rows that both have answered; None where there is none."""
    changes = [change(row) for row in found]
    if not changes:
        return None
    return Sum(
        better=sum(each > 0 for each in changes),
        same=sum(each == 0 for each in changes),
        worse=sum(each < 0 for each in changes),
        new=sum(mark(row) for row in found) / len(changes),
        live=sum(row.live.score for row in found if row.live) / len(changes),
    )


def _sum(screen: Screen, both: AnswersView, other: str, alone: int) -> None:
    from shared.dataset.report import counted

    found = sum_of(both.rows)
    if found is None:
        screen.text("no row was answered by both")
        return
    told = f"{found.better} better, {found.same} the same, {found.worse} worse; "
    screen.text(f"{told}{both.score or 'score'} {found.new:.1f} new, {found.live:.1f} {other}", style="bold")
    if alone:
        screen.text(f"not counted: {counted(alone, 'row')} that one of them alone has answered")


def _score(row: ComparedView, other: str) -> str:
    new, live = (f"{each.score:.0f}" if each else "" for each in (row.new, row.live))
    return ", ".join(filter(None, (new and f"{new} new", live and f"{live} {other}"))) or "not answered"


def _said(answer: AnswerView | None) -> str:
    if answer is None:
        return ""
    return f"error: {answer.error}" if answer.error else answer.answer or "(an empty answer)"


def _cut(text: str) -> str:
    from cli.say import escaped

    return escaped(text, _TEXT)
