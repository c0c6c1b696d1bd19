"""Rows of chats: one, the lines of a file, or a whole file of as many as a test wants."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def messages(prompt: str = "Hi", answer: str = "Hello") -> list[dict[str, Any]]:
    """A question and its answer."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def row(prompt: str = "Hi", answer: str = "Hello", **more: Any) -> bytes:
    """The same as a row, with other keys beside `messages`."""
    return json.dumps({"messages": messages(prompt, answer)} | more, ensure_ascii=False).encode()


def of(*turns: Any) -> bytes:
    """A row of these messages, whatever they are."""
    return json.dumps({"messages": list(turns)}).encode()


ROW = row() + b"\n"
"""A file with one good row."""


def rows(
    count: int, start: int = 0, *, salt: object = None, prompt: str = "Question {n}?", answer: str = "Answer {n}."
) -> list[bytes]:
    """Lines of a file, each with another prompt, from number `start` on.

    `{n}` stands for the row's number, in an answer `{question}` for its prompt. No other `salt` makes the same rows.
    """
    made = []
    for number in map(str, range(start, start + count)):
        asked = prompt.replace("{n}", number) + (f" Of {salt}." if salt is not None else "")
        made.append(row(asked, answer.replace("{n}", number).replace("{question}", asked)) + b"\n")
    return made


def chats(count: int = 20, start: int = 0, **texts: Any) -> bytes:
    """The same as a file."""
    return b"".join(rows(count, start, **texts))


def jsonl(objects: Iterable[Any]) -> bytes:
    """A file of what a test has made itself."""
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in objects)
