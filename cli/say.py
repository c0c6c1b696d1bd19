"""The one door to the terminal for lines of text and JSON; pictures go through cli/screen.py, which uses it too.

What the app, a file, the hub or Azure says is other people's text, and so may be part of any line. So each line is
escaped here, whole: whoever has something to say need not think of what is in it. No other module prints.
"""

from __future__ import annotations

import sys

NAME = 40
"""Characters that a name has in a table."""
SENTENCE = 200
"""The same of a sentence."""
TITLE = 10
"""Columns that a title takes beside a sentence."""
NARROW = 40
"""Columns that a line has at least, however narrow the terminal is."""


def say(text: str = "") -> None:
    """A line on standard output, without anything that a terminal would obey."""
    print(escaped(text))


def tell(text: str, *, fold: bool = True) -> None:
    """A sentence on standard output: on a terminal in lines that fit it, broken between words. `fold`: as `fitting`."""
    for line in fitting(escaped(text), fold=fold):
        print(line)


def fitting(text: str, indent: int = 0, *, fold: bool = True) -> list[str]:
    """An escaped line in pieces that fit the terminal beside `indent` columns; whole where the output is none.

    `fold`: breaks words that are longer than that, too, such as paths.
    """
    if not (sys.stdout and sys.stdout.isatty()):
        return [text]
    import shutil

    width = max(shutil.get_terminal_size().columns - indent, NARROW)
    return broken(text, width, width, fold=fold)


def broken(text: str, first: int, rest: int, *, fold: bool = True) -> list[str]:
    """A line in pieces, between words where that goes: one of `first` columns, and others of `rest`."""
    import re

    from rich.cells import cell_len, chop_cells  # a letter may be two columns wide, or none

    pieces, width = [""], first
    for word in re.findall(" *[^ ]+", text):
        if pieces[-1].strip() and cell_len(pieces[-1] + word) > width:
            pieces.append(word.lstrip(" "))
            width = rest
        else:
            pieces[-1] += word
        while fold and cell_len(pieces[-1]) > width:
            whole = pieces.pop()
            head = chop_cells(whole, width)[0]
            pieces += [head, whole[len(head) :]]
            width = rest
    return pieces


def titled(title: str, text: str, *, indent: int = 0) -> None:
    """A title and a sentence beside it. What is broken goes on to the right of the titles, and so passes for none."""
    for number, piece in enumerate(fitting(escaped(text), indent + TITLE)):
        print(f"{'':{indent}}{'' if number else title:<{TITLE}}{piece}".rstrip())


def listed(text: str) -> None:
    """One of several sentences under a title; what is broken goes on further to the right."""
    for number, piece in enumerate(fitting(escaped(text), 4)):
        print(f"{'    ' if number else '  '}{piece}")


def complain(text: str) -> None:
    """A line on standard error that says whose it is."""
    print(f"droptune: {escaped(text)}", file=sys.stderr)


def say_json(text: str) -> None:
    """JSON on standard output: the same values, with escapes of its own for what a terminal would obey."""
    print("\n".join(map(_in_json, text.split("\n"))))


def escaped(text: str, length: int = 0) -> str:
    """The text as `say` shows it; with a `length` no longer than that, for a column of a table."""
    from shared.logs import visible  # here, so that --help loads nothing of the app

    shown = visible(text, length)
    if length and len(shown) == length and shown != visible(text):
        _Cut.any = True
    return shown


class _Cut:
    """Whether `escaped` has left something out since that was told."""

    any = False


def nothing_is_cut() -> None:
    """A command begins."""
    _Cut.any = False


def tell_cuts(where: str) -> None:
    """Says where all of it is, if something was cut."""
    if _Cut.any:
        _Cut.any = False
        tell(f"… stands for text that is cut; {where}")


def _in_json(line: str) -> str:
    if escaped(line) == line:
        return line
    # Between JSON's texts there is nothing but ASCII that is printable, so this is in one of them.
    return "".join(each if escaped(each) == each else _escape(each) for each in line)


def _escape(each: str) -> str:
    import json

    return json.dumps(each)[1:-1] if not each.isascii() else f"\\u{ord(each):04x}"
