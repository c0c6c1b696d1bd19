"""What a listing says of a run without its record: enough for the page, and for the sweep to know whom to look at.

It stands in the metadata of the marker beside an open run, and of its entry in the index of those that are over. The
record stays the truth: a mark may be older than it, but never lets the sweep look later than the record would (see
`Runs.save`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from shared.lifecycle.moment import Moment
from shared.lifecycle.phase import Hold
from shared.records.base import VERSION, from_json
from shared.records.run import PARKED, Run

_STATUS = 800
"""Characters of the sentence that a mark keeps: a reason that ends with a line to paste has to have room."""
_DIGITS = 10
"""More than a version has: Python reads no number of thousands of digits."""
_LENGTH = 6000
"""Bytes of one value: a blob's metadata may have 8 KiB in all."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A run as a list shows it. `phase` is text here: a newer app may know more of them.

    `due`: when the sweep has to look at the record, at the earliest; None where somebody wakes the run (`hold`).
    `status`: in a sentence, what it waits for or why it ended. `refused`: a rule of somebody's in Azure forbids that.
    `begun`: see Run; None in older marks.
    """

    version: int = VERSION
    id: str
    line: str
    folder: str
    base_model: str
    attempt: int
    phase: str
    since: Moment
    status: str = ""
    hold: Hold = ""
    parked: bool = False
    refused: bool = False
    begun: Moment | None = None
    due: Moment | None = None

    def is_sooner(self, other: Mark) -> bool:
        """Whether the sweep has to look sooner than by the other mark."""
        return self.due is not None and (other.due is None or self.due < other.due)

    def shows_same(self, other: Mark) -> bool:
        """Whether people see the same in both."""
        return replace(self, due=None) == replace(other, due=None)

    def metadata(self) -> dict[str, str]:
        """As a blob's metadata, of which listings don't give back what is ""; empty where it has no room there.

        `run` has it all; the rest is for people who look at the container.
        """
        rest = base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()
        if len(rest) > _LENGTH:
            return {}
        due = self.due.isoformat() if self.due else ""
        said = {"phase": self.phase, "hold": self.hold, "due": due, "version": str(self.version), "run": rest}
        return {name: value for name, value in said.items() if value}


def mark_of(run: Run) -> Mark:
    """What a listing is to say of the run."""
    return Mark(
        id=run.id,
        line=run.line,
        folder=run.source.folder,
        base_model=run.source.base_model,
        attempt=run.attempt.number,
        phase=run.phase,
        since=run.since,
        status=status_of(run)[:_STATUS],
        hold=run.hold,
        parked=run.parked is not None,
        begun=run.begun,
        refused=bool(run.refused and run.waiting and run.refused.why == run.waiting.why),
        due=_due(run),
    )


def unreadable(key: str, version: int) -> dict[str, str]:
    """The metadata beside a record that can't be read."""
    return {"version": str(version), "unreadable": key}


def mark_in(metadata: Mapping[str, str]) -> Mark | None:
    """The mark in a blob's metadata; None where there is none that this code can read."""
    try:
        return from_json(base64.urlsafe_b64decode(metadata["run"]), Mark)
    except (KeyError, ValueError):
        return None


def version_in(metadata: Mapping[str, str]) -> int:
    """The version of the record beside it; 0 where the metadata don't say."""
    text = metadata.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else 0


def status_of(run: Run) -> str:
    """In a sentence, what it waits for or why it ended; "" while it works."""
    if run.parked:
        return f"parked: {run.parked.why}"
    if run.ending and run.is_ending:
        waits = f"; waits: {run.waiting.why}" if run.waiting else ""
        return f"ends as {run.ending.phase}: {run.ending.why}{waits}"
    if run.hold == "approval":
        return f"waits for you: droptune approve {run.id}"
    return f"waits: {run.waiting.why}" if run.waiting else run.why


def _due(run: Run) -> datetime | None:
    if run.parked:
        return run.parked.at + PARKED
    if run.claim:
        return run.claim.until
    if run.wake:
        return run.wake.due
    deployed = run.attempt.deployed
    approved = run.hold == "approval" and deployed is not None and bool(deployed.approval.by)
    if run.hold and not (run.ending or run.outbox or approved):
        return None
    return run.since
