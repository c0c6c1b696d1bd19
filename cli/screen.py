"""How the demo shows itself: headings, lines with the time since its start, a progress bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class Bar(Protocol):
    """Shows how far something is."""

    def __call__(self, fraction: float, text: str) -> None:
        """`fraction` from 0 to 1."""


class Screen:
    """Writes to a terminal with colours, and to anything else as plain lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def heading(self, text: str) -> None:
        """A chapter begins."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def line(self, text: str, *, title: str = "", style: str = "") -> None:
        """A line with the time since the start; `title` is its first column."""
        column = f"[cyan]{title:<11}[/cyan] " if title else ""
        body = f"[{style}]{escape(text)}[/{style}]" if style else escape(text)
        self._console.print(f"[dim]{self.elapsed:6.1f} s[/dim]  {column}{body}", soft_wrap=True)

    def detail(self, text: str) -> None:
        """A line that belongs to the one above."""
        self._console.print(f"{'':10}{escape(text)}", soft_wrap=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        """A bar while the block runs; without a terminal a line for every quarter."""
        if self._console.is_terminal:
            columns = (TextColumn(f"{'':10}{title:<11}"), BarColumn(30), TextColumn("{task.percentage:>3.0f} %"))
            with Progress(
                *columns, TextColumn("{task.description}"), TimeElapsedColumn(), console=self._console
            ) as live:
                task = live.add_task("", total=1.0)
                yield lambda fraction, text: live.update(task, completed=fraction, description=text)
            return
        told = 0

        def tell(fraction: float, text: str) -> None:
            nonlocal told
            if int(fraction * 4) > told:
                told = int(fraction * 4)
                self.line(f"{fraction:4.0%}  {text}", title=title)

        yield tell

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns."""
        self.heading(title)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column()
        for left, right in rows:
            grid.add_row(f"  {escape(left)}", escape(right))
        self._console.print(grid)

    def check(self, claim: str, *, holds: bool, found: str) -> None:
        """A claim of the demo and whether it holds."""
        mark = "[green]ok  [/green]" if holds else "[bold red]FAIL[/bold red]"
        self._console.print(f"  {mark} {escape(claim)}: {escape(found)}", soft_wrap=True)
