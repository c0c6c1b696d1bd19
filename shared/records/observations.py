"""What the cleanup saw of each line's endpoint at its last look, and what it made of that: a few blobs for all lines.

Written whole, once a tick, by the cleanup alone, so that a line's own record changes only with what becomes of it. Read
by whoever shows it, who then asks Azure nothing; a blob that is lost or broken is there again after the next tick.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import TYPE_CHECKING, Literal

import msgspec

from shared.errors import NotFound
from shared.lifecycle.moment import Moment
from shared.records.base import VERSION, from_json
from shared.records.layout import STATE, observed

if TYPE_CHECKING:
    from shared.cloud.blobs import Blobs

log = logging.getLogger("droptune.records.observations")
TOGETHER = 200
"""Lines in one blob."""

type Verdict = Literal["keep", "notice", "pending", "go", "going", "unjudged"]
"""`notice`: people hear now that it is idle; `pending`: they have; `go`: it is due; `going`: it is being torn down."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A line's endpoint as it was seen at `at`. `why`: the verdict in words, with what would change it; `until`: when.

    `requests` and `last`, the last of them, are of IDLE_WINDOW or of the time since the notice; None: not known.
    """

    line: str
    folder: str = ""
    endpoint: str = ""
    at: Moment
    verdict: Verdict
    why: str
    until: Moment | None = None
    requests: float | None = None
    last: Moment | None = None
    traffic: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Together:
    """What a blob holds; `blobs`: how many there are."""

    version: int = VERSION
    blobs: int
    lines: list[Observation]


def write(blobs: Blobs, found: Sequence[Observation]) -> None:
    """Keeps what one tick has seen, in the place of what was kept before. Raises Transient, Permanent."""
    parts = [list(each) for each in batched(found, TOGETHER, strict=False)] or [[]]
    for at, part in enumerate(parts):
        blobs.write(STATE, observed(at), msgspec.json.encode(_Together(blobs=len(parts), lines=part)))


def read(blobs: Blobs) -> dict[str, Observation]:
    """What the last tick has seen, by line: one call for 200 lines. Raises Transient, Permanent."""
    found: dict[str, Observation] = {}
    at, many = 0, 1
    while at < many:
        try:
            part = from_json(blobs.read(STATE, observed(at))[0], _Together)
            many = part.blobs
            found |= {each.line: each for each in part.lines}
        except NotFound:
            pass
        except ValueError as error:
            log.warning("%s/%s can't be read, and is written anew by the next tick: %s", STATE, observed(at), error)
        at += 1
    return found
