"""Whether a new deployment answers at all: the check before it gets traffic.

A deployment that its probes find healthy can still answer with nothing, with its own question, or with an error.
Called by the smoke test and by the gate, which have the same patience with one that does not answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared.lifecycle.moment import Moment
from shared.serving.payload import normal

SILENCE = timedelta(minutes=15)
"""A deployment that is made but answers nothing for so long, from the first question on, has failed."""
PAUSE = timedelta(minutes=5)
"""What counts at most of the time between two questions: hosts that stood still for long have not asked meanwhile."""
MOST_ERRORS = 5
"""A model that answers the same question so often with an error, and with nothing else, has failed on it."""
_ERRORS = ("Traceback (most recent call last)", '{"error"', "{'error'", '{"message"', "Internal Server Error")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`why` tells what is wrong, or what was seen."""

    passed: bool
    why: str


class Silence(msgspec.Struct, frozen=True, kw_only=True, tag="silent"):
    """Since when what was asked has not answered, less what of that does not count; and when it was asked last.

    `times`: how often it was asked; `errors`: how often the model answered with an error of its own.
    """

    since: Moment
    asked: Moment | None = None
    times: int = 1
    errors: int = 0

    def failed(self, now: datetime) -> bool:
        """Whether that is to be taken for good."""
        return now - self.since >= SILENCE or self.errors >= MOST_ERRORS

    def told(self, now: datetime) -> str:
        """What it comes to, in words."""
        if self.errors >= MOST_ERRORS:
            return f"it answered with an error {self.errors} times in {_length(now - self.since)}"
        return f"no answer in {SILENCE}, asked {self.times} times"


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag="answered"):
    """What came of the smoke test: the turns that were asked, what the held-out row answers, and what came instead."""

    question: list[dict[str, str]]
    expected: str
    answer: str
    passed: bool
    why: str


def unanswered(before: Silence | None, now: datetime, *, error: bool = False) -> Silence:
    """The silence after one more question that was not answered, or that the model had an `error` for."""
    if before is None:
        return Silence(since=now, asked=now, errors=int(error))
    paused = now - (before.asked or now)
    return Silence(
        since=before.since + max(paused - PAUSE, timedelta(0)),
        asked=now,
        times=before.times + 1,
        errors=before.errors + error,
    )


def _length(time: timedelta) -> str:
    """In whole minutes, or seconds."""
    seconds = int(time.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} minutes"


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
    if normal(text) in (normal(conversation[-1]["content"]), normal(whole)):
        return Verdict(passed=False, why="the answer only repeats the question")
    return Verdict(passed=True, why="it answered a held-out question")


def shuffled(count: int, *, seed: str) -> list[int]:
    """0 to `count` - 1 in an order that is the seed's own, and always the same."""
    return sorted(range(count), key=lambda number: hashlib.sha256(f"{seed}/{number}".encode()).digest())
