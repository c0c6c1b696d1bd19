"""Whether a new deployment answers at all: the check before it gets traffic.

A deployment that its probes find healthy can still answer with nothing, with its own question, or with an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ERRORS = ("Traceback (most recent call last)", '{"error"', "{'error'", '{"message"', "Internal Server Error")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`why` tells what is wrong, or what was seen."""

    passed: bool
    why: str


def judge(conversation: Sequence[Mapping[str, str]], answer: str) -> Verdict:
    """An answer passes when it has words of its own."""
    text = answer.strip()
    if not text:
        return Verdict(passed=False, why="the answer is empty")
    if not any(character.isalnum() for character in text):
        return Verdict(passed=False, why=f"the answer has no words: {text[:80]!r}")
    if text.startswith(_ERRORS):
        return Verdict(passed=False, why=f"the answer is an error: {text[:200]}")
    whole = " ".join(turn["content"] for turn in conversation)
    if _normal(text) in (_normal(conversation[-1]["content"]), _normal(whole)):
        return Verdict(passed=False, why="the answer only repeats the question")
    return Verdict(passed=True, why="it answered a held-out question")


def pick_row(rows: Sequence[Mapping[str, Any]], *, seed: str) -> dict[str, Any]:
    """One of `rows` at random, the same for the same seed and rows. Raises ValueError when there are none."""
    if not rows:
        raise ValueError("there are no held-out rows to ask with")
    return dict(rows[int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % len(rows)])


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
