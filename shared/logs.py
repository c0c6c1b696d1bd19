"""The text of others made harmless, in the log each record of it, and counts of what was ignored.

A name, a note, a tag or an answer is somebody else's text: a line break in it forges a line of the log, an escape
sequence steers a terminal, a mark of direction has people read what does not stand there. `visible` is the one function
against that, for the log, the terminal and the report. `harmless` puts it between every call of a logger in this
process and whoever handles the record: `app()` calls it, so that no call has to think of it.

The counts are this process's own and start at zero with it; the log lines are what Application Insights keeps.
"""

from __future__ import annotations

import logging
import re
import traceback
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

log = logging.getLogger("droptune.ignored")

ignored_so_far: Counter[str] = Counter()


def ignored(kind: str, what: str) -> None:
    """Notes that something of this kind was seen and rightly left alone."""
    ignored_so_far[kind] += 1
    log.info("ignored (%s, %d so far): %s", kind, ignored_so_far[kind], what)


# The text of others --------------------------------------------------------------------------------------------------

_OBEYED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Letters and marks that show nothing. The last two ranges vary the character before them: an emoji, a sign of Han."""
_VARIED = re.compile(
    "[#*0-9\u00a9\u00ae\u1000-\u109f\u2010-\u2bff\u3000-\u303f\u3200-\u9fff\uf900-\ufaff\U0001f000-\U0003ffff]"
)
_JOINERS = "\u200c\u200d"
_JOINED = re.compile(
    "[\u0600-\u109f\u1700-\u18af\u1900-\u1cff\ua800-\uabff\U00010a00-\U00011fff"  # scripts whose letters join
    "\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]"  # emoji
)


def visible(text: str, length: int = 0) -> str:
    """The text on one line, with escapes (\\x1b, \\u202e) for what a terminal or a page would obey and not show.

    What people write and read stays: letters of all scripts, marks on them, emoji, joiners where they belong. With a
    `length` it has no more characters than that, the last of them an ellipsis where there were more.
    """
    if length:
        text = text[: length + 1]
    if not text.isprintable() or _UNSEEN.search(text):
        text = "".join(_shown(before, each) for before, each in zip(f" {text}", text, strict=False))
    return f"{text[: length - 1]}…" if length and len(text) > length else text


def _shown(before: str, each: str) -> str:
    """A character as it is shown behind another one."""
    if each in _JOINERS:
        stays = _JOINED.match(before) is not None
    elif _UNSEEN.match(each):
        stays = unicodedata.category(each) == "Mn" and each >= "\ufe00" and _VARIED.match(before) is not None
    else:
        stays = unicodedata.category(each) not in _OBEYED
    return each if stays else ascii(each)[1:-1]


# The log -------------------------------------------------------------------------------------------------------------

_OURS = ("droptune", "shared", "functions")
"""The first part of our loggers' names. Others' records may have several lines."""


@cache
def harmless() -> None:
    """From now on nothing that others have written can pass for a record of this process's log, or steer who reads it.

    A record of ours is one line, and one of somebody else's has its further lines indented. An error's traceback
    follows in lines of its own, and each error's text is one of them. To call it again changes nothing.
    """
    make = logging.getLogRecordFactory()

    def made(*given: Any, **options: Any) -> logging.LogRecord:
        return _escaped(make(*given, **options))

    logging.setLogRecordFactory(made)


def _escaped(record: logging.LogRecord) -> logging.LogRecord:
    try:
        text = record.getMessage()
    except Exception:  # of a call with the wrong arguments: whoever handles the record says so
        return record
    lines = [text] if record.name.partition(".")[0] in _OURS else text.split("\n")
    record.msg, record.args = "\n    ".join(visible(line) for line in lines), None
    if record.exc_info and record.exc_info[1]:
        record.exc_text = "\n".join(_told(record.exc_info[1], set()))
    return record


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    """An error as `traceback` tells it, its causes first, with what it says on one line."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "\nThe above exception was the cause of this, or was being handled:\n"
    yield "Traceback (most recent call last):"
    yield from (line.rstrip("\n") for line in traceback.format_tb(error.__traceback__))
    try:
        text = str(error)
    except Exception:
        text = "its text can't be made"
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    yield ": ".join([kind, *map(visible, (text, *notes))])
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(each) not in seen:
            yield from _told(each, seen)
