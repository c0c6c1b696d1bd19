"""Why a row is no JSON, in words that say what to do. Called by `checker` for the rows that are told in full."""

from __future__ import annotations

import json
import re

_AT = re.compile(r"not JSON at character (\d+): (.*)", re.DOTALL)
_PYTHON = re.compile(rb"\[?\s*\{\s*'")
_WORDS = re.compile(rb"(None|True|False|nan|undefined)\b")
_ENDS = ("Unterminated string", "Invalid \\escape", "Invalid \\uXXXX")


def told(row: bytes, reason: str, *, last: bool = False) -> str:
    """`reason`, which the parser gave, or better: what the row looks like, and what to do about it.

    `last`: the file ends with this row, without a line's end.
    """
    found = _AT.match(reason)
    if not found:
        return reason
    at, said = int(found[1]), found[2]
    text = row.strip()
    why = _look(text, row.decode(errors="replace"), at, said, last=last)
    return f"not JSON at character {at}: {why}" if why else reason


def _look(text: bytes, row: str, at: int, said: str, *, last: bool) -> str:
    if text.endswith(b",") and _is_json(text[:-1]):
        return "a comma follows the object: remove it, or make the file one array in brackets, [{...}, {...}]"
    if text.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
        return "it is a mark of a merge conflict"
    if _PYTHON.match(text):
        return "it is written as Python shows its objects, with single quotes: write it with json.dumps(row)"
    if text.startswith((b"//", b"#")):
        return "it is a comment, which JSON has not"
    ended = at > len(row.rstrip()) or said.startswith(_ENDS[0]) or (said.startswith(_ENDS[1:]) and at > len(row) - 6)
    if ended and text.startswith((b"{", b"[")):
        if last:
            return "the file ends in the middle of this row: it was cut off"
        if said.startswith(_ENDS[0]):
            return r"the line ends inside a text, or a quote is missing: a line break in a text is written \n"
        return "the line ends before the object does: write each object on a line of its own"
    rest = row[at - 1 :]
    if said.startswith("Expecting property name"):
        if rest[:1] == "'":
            return "a key stands in single quotes: write each row with json.dumps(row)"
        if rest[:1].isalpha():
            return "a key stands without quotes: write each row with json.dumps(row)"
    if text == b"\x1a":
        return "it is an old mark of a file's end (Ctrl-Z): remove it"
    if said.startswith("Extra data") and rest[:1] in "{[":
        return "two objects stand on one line: write each on a line of its own"
    if rest[:1] in "\u201c\u201d\u201e\u2018\u2019":
        return "it has typographic quotes in place of plain ones"
    if at == 1 and text[:1] not in (b"{", b"[", b'"'):
        return "it is no JSON: a row is an object, {...}"
    if word := _WORDS.match(rest.encode(errors="replace")):
        return f"{word[0].decode()} is not JSON: write it with json.dumps(row), which has null, true and false"
    return ""


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
