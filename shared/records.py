"""What Droptune remembers: runs and lines, as JSON blobs that change under If-Match only.

A record is never locked. Whoever changes one has read it, and loses (`Conflict`) when somebody else was faster. The
marker `active/<run>` stands beside a run from before its first save until after its last one, so that the sweep pays
for what is active and not for all that ever ran. Called by the loop, the intake, the timers and the web page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shared.dataset.spec import Hub, Policy
from shared.errors import Conflict, NotFound
from shared.lifecycle import Phase
from shared.serving.gate import Promotion, Scores

if TYPE_CHECKING:
    from shared.cloud.blobs import Blobs

CONTAINER = "state"
HISTORY_LIMIT = 200
FRESH = timedelta(minutes=5)
"""What was just made may not be seen by all of Azure yet (azure-dev#4037)."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A blob in `datasets`, as it was when the run took it. `size` in bytes; 0 in records of old, which had none."""

    name: str
    etag: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Somebody (`holder`, a token) does `action` until `until`, and renews that in long work.

    After that the claim counts as a crash, and the action is done again.
    """

    action: str
    until: datetime
    holder: str = ""


@dataclass(frozen=True, kw_only=True)
class Wake:
    """The one live self-wake: the queue message with this token is the run's timer, any other token is stale."""

    token: str
    due: datetime


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a run's history."""

    at: datetime
    phase: Phase
    what: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A lifecycle event that is to be told: kept in the record until it was sent, so that a crash loses none.

    `id` is derived from what happened: an event that is sent again after a crash carries the same one.
    """

    id: str
    type: str
    at: datetime
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What the run's job is made of, resolved once so that a redo submits the very same job."""

    model_id: str
    model_version: str
    component_id: str
    component_version: str
    parameters: dict[str, Any]
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One uploaded dataset on its way to an endpoint. Times are the storage service's, UTC.

    Its data are files, `train` at least, or `hub`; `hub_commit` is what that one's revision was when it was read first.
    `in_job`: they are too big for a function, and the first step of the run's job prepares them. `origin`: the run whose
    model this one serves again, where a person asked for that (rollback, revive); it begins at REGISTERED. `approved`:
    who let it have traffic. `scores`: what the gate was shown and said (see serving/gate.py). `untold`: events to send.
    """

    id: str
    folder: str
    line: str
    base_model: str
    uploaded: datetime
    ordinal: int = 0
    origin: str = ""
    train: File | None = None
    validation: File | None = None
    test: File | None = None
    spec: File | None = None
    hub: Hub | None = None
    hub_commit: str = ""
    policy: Policy = field(default_factory=Policy)
    promotion: Promotion = field(default_factory=Promotion)
    parameters: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    phase: Phase = Phase.RECEIVED
    since: datetime
    ending: Phase | None = None
    reason: str = ""
    waiting: str = ""
    parked: str = ""
    parked_at: datetime | None = None
    crashes: int = 0
    claim: Claim | None = None
    wake: Wake | None = None
    notes: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    faults: int | None = None
    in_job: bool = False
    pinned: Pinned | None = None
    job: str = ""
    model: str = ""
    endpoint: str = ""
    deployment: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    passed: bool | None = None
    scores: Scores | None = None
    approved: str = ""
    untold: tuple[Notice, ...] = ()
    history: tuple[Entry, ...] = ()

    @property
    def order(self) -> tuple[datetime, int]:
        """Newer runs of a line compare greater."""
        return (self.uploaded, self.ordinal)

    @property
    def files(self) -> tuple[File, ...]:
        """The data files that it takes; none where its data are the hub's."""
        return tuple(file for file in (self.train, self.validation, self.test) if file)

    @property
    def data(self) -> str:
        """What it is trained on, to be told: a path in the storage account, or a dataset of the hub at a revision."""
        if self.hub:
            return f"hf://datasets/{self.hub.name}@{self.hub_commit or self.hub.revision}"
        return f"datasets/{self.train.name}" if self.train else ""

    @property
    def prepared(self) -> str:
        """Prefix in the container `prepared` of this attempt's immutable copy."""
        return f"{self.id}/{self.attempt}"

    def is_fresh(self, now: datetime) -> bool:
        """Whether the run came to its phase so recently that Azure may not show yet what was made for it."""
        return now - self.since < FRESH

    def told(self, at: datetime, what: str, *, phase: Phase | None = None, **changes: Any) -> Run:
        """The run with another line in its history and these fields changed; `since` moves with the phase."""
        phase = phase or self.phase
        if phase != self.phase:
            changes |= {"phase": phase, "since": at, "waiting": ""}
        history = (*self.history, Entry(at=at, phase=phase, what=what))[-HISTORY_LIMIT:]
        return replace(self, history=history, **changes)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a line's endpoint serves."""

    run: str
    deployment: str
    model: str
    fingerprint: str
    since: datetime
    uploaded: datetime
    ordinal: int = 0

    @property
    def order(self) -> tuple[datetime, int]:
        """Compares with that of runs."""
        return (self.uploaded, self.ordinal)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The newest run of a line whose data are good: older ones that still train are superseded by it."""

    run: str
    uploaded: datetime
    ordinal: int = 0

    @property
    def order(self) -> tuple[datetime, int]:
        """Compares with that of runs."""
        return (self.uploaded, self.ordinal)


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A deployment that served before and has no traffic any more; it is deleted at `until`."""

    deployment: str
    model: str
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Line:
    """All versions of one dataset folder and base model, behind one stable endpoint.

    `serving`: what answers now; `latest`: what went live last, kept when it is torn down; `before`: what served before
    that, which a rollback goes back to. `heading`: the newest run that trains. `rollout`: the run that it is being
    changed for. `leaving`: what served before and is about to be deleted. `pinned`: who keeps it at what it serves, ""
    if nobody. `emptied`: since when the endpoint has no deployment; `removed`: since when there is no endpoint.
    `missing`: since when Azure does not show the endpoint, or what should serve there. `wake`: the line's timer, of a
    teardown or of what is leaving.
    """

    id: str
    folder: str
    base_model: str
    endpoint: str
    serving: Serving | None = None
    latest: Serving | None = None
    before: Serving | None = None
    heading: Heading | None = None
    rollout: str = ""
    leaving: tuple[Leaving, ...] = ()
    pinned: str = ""
    noticed: datetime | None = None
    missing: datetime | None = None
    tearing_down: bool = False
    wake: Wake | None = None
    remove_endpoint: bool = False
    emptied: datetime | None = None
    removed: datetime | None = None
    instances: int = 0
    kept_until: datetime | None = None


class Records[T: (Run, Line)]:
    """The JSON blobs of one kind, `<prefix>/<id>.json` in the container `state`."""

    _kind: type[T]

    def __init__(self, blobs: Blobs, prefix: str, kind: type[T]) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._kind = kind

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{key}.json"

    def load(self, key: str) -> tuple[T, str] | None:
        """The record and its ETag, or None. Raises msgspec.ValidationError when somebody broke it by hand."""
        try:
            data, etag = self._blobs.read(CONTAINER, self._name(key))
        except NotFound:
            return None
        return msgspec.json.decode(data, type=self._kind), etag

    def save(self, record: T, etag: str) -> str:
        """Replaces the record that was read with `etag`; answers with the new ETag. Raises Conflict."""
        return self._blobs.write(CONTAINER, self._name(record.id), msgspec.json.encode(record), if_match=etag)

    def create(self, record: T) -> bool:
        """Writes a new record; False when there is one of that id already."""
        try:
            self._blobs.write(CONTAINER, self._name(record.id), msgspec.json.encode(record), if_none_match=True)
        except Conflict:
            return False
        return True

    def recent(self, limit: int) -> list[T]:
        """The records that changed last, newest first."""
        found = sorted(
            self._blobs.list(CONTAINER, f"{self._prefix}/"), key=lambda blob: blob.last_modified, reverse=True
        )
        keys = [blob.name.removeprefix(f"{self._prefix}/").removesuffix(".json") for blob in found[:limit]]
        return [loaded[0] for key in keys if (loaded := self.load(key))]


class Runs(Records[Run]):
    """The runs, with the marker of those that are active."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, "runs", Run)

    def create(self, record: Run) -> bool:
        if self.load(record.id):
            return False
        if not record.phase.ended:
            self._blobs.write(CONTAINER, f"active/{record.id}", b"")
        return super().create(record)

    def active(self) -> Iterator[tuple[str, datetime]]:
        """Ids of runs that have not ended, with the time that their marker was made."""
        for blob in self._blobs.list(CONTAINER, "active/"):
            yield blob.name.removeprefix("active/"), blob.last_modified

    def retire(self, key: str) -> None:
        """Takes the marker away: the run has ended (or never began)."""
        self._blobs.delete(CONTAINER, f"active/{key}")


class Lines(Records[Line]):
    """The lines. Rollout, teardown and cleanup change them, each under the ETag of what it has read."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, "lines", Line)

    def ids(self) -> list[str]:
        """Ids of all lines."""
        return [blob.name[len("lines/") : -len(".json")] for blob in self._blobs.list(CONTAINER, "lines/")]


def expired(run: Run, now: datetime, margin: timedelta) -> bool:
    """Whether the run's timer or claim should have come by itself more than `margin` ago, and did not."""
    due = run.claim.until if run.claim else run.wake.due if run.wake else None
    return due is not None and due + margin < now
