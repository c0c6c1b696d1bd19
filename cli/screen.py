"""How commands show themselves: headings, columns, lines with the time since the start, progress bars on a terminal.

Texts are taken as they are, others' too: each is escaped here (cli/say.py), and none is read as rich's markup.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cli.say import NARROW, broken, escaped

_TITLE = 20  # characters beside a bar
_FURTHER = 8  # columns between the beginning of a line and of what is broken off it: more than those of a list


class Bar(Protocol):
    """Shows how far something is."""

    def __call__(self, fraction: float, text: str) -> None:
        """`fraction` from 0 to 1."""


def console_of(*, stderr: bool = False) -> Console:
    """The terminal, or what is there instead of one. With NO_COLOR it gets no escape sequence: none for bold either."""
    plain: dict[str, Any] = {"color_system": None} if os.environ.get("NO_COLOR") else {}
    return _Console(stderr=stderr, highlight=False, **plain)


class _Console(Console):
    """Leaves an output that nobody reads any more to `__main__`: rich's own ends with exit code 1 then."""

    def on_broken_pipe(self) -> None:
        """Called while a BrokenPipeError is handled."""
        raise


def redraws(console: Console) -> bool:
    """Whether bars and the like, which are drawn over what was there, may be: on a terminal, unless with NO_COLOR."""
    return console.is_terminal and not console.is_dumb_terminal and not console.no_color


class Screen:
    """Writes to a terminal with colours, and to anything else as plain lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or console_of()
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def title(self, text: str) -> None:
        """A chapter begins."""
        self._console.print()
        self._console.print(Text(escaped(text), "bold"))

    def line(self, text: str, *, title: str = "", style: str = "") -> None:
        """A line with the time since the start; `title` is its first column."""
        shown = Text.assemble((f"{self.elapsed:6.1f} s", "dim"), "  ")
        if title:
            shown.append(f"{escaped(title):<11}", "cyan").append(" ")
        self._console.print(shown.append(escaped(text), style), soft_wrap=True)

    def prompt(self, *lines: str) -> None:
        """A command as it is typed."""
        for number, line in enumerate(lines):
            mark = "" if number else ("$ ", "dim")
            self._console.print(Text.assemble(mark, (escaped(line), "bold cyan")), soft_wrap=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        """A bar while the block runs; without a terminal a line for every quarter."""
        if redraws(self._console):
            named = TextColumn("{task.fields[title]}", markup=False)  # a field: a title may have braces of its own
            told = TextColumn("{task.description}", markup=False)
            columns = (named, BarColumn(30), TextColumn("{task.percentage:>3.0f} %"), told, TimeElapsedColumn())
            with Progress(*columns, console=self._console) as live:
                task = live.add_task("", total=1.0, title=f"{'':10}{escaped(title, _TITLE):<11}")
                yield lambda fraction, text: live.update(task, completed=fraction, description=escaped(text))
            return
        quarters = 0

        def tell(fraction: float, text: str) -> None:
            nonlocal quarters
            if int(fraction * 4) > quarters:
                quarters = int(fraction * 4)
                self.line(f"{fraction:4.0%}  {text}", title=title)

        yield tell

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns."""
        self.title(title)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column()
        for left, right in rows:
            grid.add_row(Text(f"  {escaped(left)}"), Text(escaped(right)))
        self._console.print(grid)

    def check(self, claim: str, *, holds: bool, found: str) -> None:
        """A claim of the demo and whether it holds."""
        mark = ("ok  ", "green") if holds else ("FAIL", "bold red")
        if self._console.is_terminal:
            self._grid([[Text(*mark), Text(escaped(f"{claim}: {found}"))]], indent=2)
        else:
            self.text(f"{mark[0]} {claim}: {found}", indent=2)

    def verdict(self, *, good: bool, text: str) -> None:
        """What the outcome is, in a sentence."""
        self.gap()
        if self._console.is_terminal:
            word = Text("good", "bold green") if good else Text("bad", "bold red")
            self._grid([[word, Text(escaped(text))]], indent=0)
        else:
            self.text(f"{'good' if good else 'bad'}  {text}")

    def text(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """Plain text; on a terminal it is broken, and goes on further to the right, where it passes for no other line.

        A command to paste stays whole.
        """
        if self._console.is_terminal and not text.startswith("next: "):
            room = max(self._console.width - indent, NARROW)
            for number, piece in enumerate(broken(escaped(text), room, max(room - _FURTHER, NARROW))):
                before = " " * (indent + (_FURTHER if number else 0))
                self._console.print(Text(before).append(piece, style), soft_wrap=True)
        else:
            self._console.print(" " * indent + escaped(text), soft_wrap=True, markup=False, emoji=False)

    def columns(self, rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Rows of as many cells; the columns named in `right` are flush right. Long cells are broken on a terminal."""
        cells = [[Text(escaped(cell)) for cell in row] for row in rows]
        if self._console.is_terminal:
            self._grid(cells, indent=2, right=right)
            return
        widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
        for row in cells:
            for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
                cell.align("right" if at in right else "left", width)
            self.text("  ".join(cell.plain for cell in row).rstrip(), indent=2)

    def gap(self) -> None:
        """An empty line."""
        self._console.print()

    def rule(self, title: str) -> None:
        """A line across, with a title."""
        self._console.print()
        self._console.print(Rule(Text(escaped(title), "bold"), align="left", characters="─" if self._unicode else "-"))

    @property
    def block(self) -> str:
        """What bars are made of."""
        return "█" if self._unicode else "#"

    @property
    def _unicode(self) -> bool:
        return self._console.encoding.lower().startswith("utf")

    def _grid(self, rows: Sequence[Sequence[Text]], *, indent: int, right: Sequence[int] = ()) -> None:
        grid = Table.grid(padding=(0, 2, 0, 0))
        for at in range(len(rows[0]) if rows else 0):
            grid.add_column(justify="right" if at in right else "left", overflow="fold")
        for row in rows:
            grid.add_row(*row)
        self._console.print(Padding(grid, (0, 0, 0, indent), expand=False))


@contextmanager
def bytes_bar(size: int) -> Iterator[Callable[[str], Callable[[int], None]]]:
    """A bar for `size` bytes on standard error while the block runs, if that is a terminal; then it is gone.

    What it gives takes a title, and returns what is called with the bytes that were read since.
    """
    console = console_of(stderr=True)
    if not redraws(console):
        yield lambda _: lambda _: None
        return
    columns = (
        BarColumn(20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=console, transient=True) as live:
        task = live.add_task("", total=size)

        def titled(title: str) -> Callable[[int], None]:
            live.update(task, description=escaped(title, _TITLE))
            return lambda read: live.advance(task, read)

        yield titled
