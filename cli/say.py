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


def say(text: str = "") -> None:
    """A line on standard output, without anything that a terminal would obey."""
    print(escaped(text))


def complain(text: str) -> None:
    """A line on standard error that says whose it is."""
    print(f"droptune: {escaped(text)}", file=sys.stderr)


def say_json(text: str) -> None:
    """JSON on standard output: the same values, with escapes of its own for what a terminal would obey."""
    print("\n".join(map(_in_json, text.split("\n"))))


def escaped(text: str, length: int = 0) -> str:
    """The text as `say` shows it; with a `length` no longer than that, for a column of a table."""
    from shared.logs import visible  # here, so that --help loads nothing of the app

    return visible(text, length)


def _in_json(line: str) -> str:
    if escaped(line) == line:
        return line
    # Between JSON's texts there is nothing but ASCII that is printable, so this is in one of them.
    return "".join(each if escaped(each) == each else _escape(each) for each in line)


def _escape(each: str) -> str:
    import json

    return json.dumps(each)[1:-1] if not each.isascii() else f"\\u{ord(each):04x}"
