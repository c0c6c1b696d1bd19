"""What Droptune remembers: runs and lines, as JSON blobs that change under If-Match only.

A record is never locked. Whoever changes one has read it, and loses (`Conflict`) when somebody else was faster. Markers
stand beside what is open, an index holds what is over, so that ticks and pages pay for what is active and not for all
that ever ran. Called by the loop, the intake, the timers and the web page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shared.dataset.spec import Hub, Policy
from shared.errors import Conflict, NotFound
from shared.lifecycle import Held, Phase
from shared.serving.gate import Promotion, Scores
from shared.serving.smoke import Silence

if TYPE_CHECKING:
    from shared.cloud.blobs import Blobs

log = logging.getLogger("droptune.records")

CONTAINER = "state"
HISTORY_LIMIT = 200
FRESH = timedelta(minutes=5)
"""What was just made may not be seen by all of Azure yet (azure-dev#4037)."""
STILLBORN = timedelta(minutes=15)
"""A marker so old without its record: whoever made it died before the first save."""
CLOCKS = timedelta(seconds=5)
"""More than the clocks of a service's machines differ by."""
LATE = timedelta(minutes=10)
"""Who comes so much later than somebody was to finds that all hosts stood still: a sweep makes up for a lost timer."""
LIMITED = (Phase.DEPLOYING, Phase.CHECKING)
"""Phases whose limit counts the time in which somebody looked. That of TRAINING is the job's, which goes on anyway."""
_DIGITS = 16


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


_EVENTS = {
    Phase.TRAINING: "Training.Started",
    Phase.REGISTERED: "Model.Registered",
    Phase.LIVE: "Endpoint.Live",
    Phase.REJECTED: "Dataset.Rejected",
    Phase.ROLLED_BACK: "Endpoint.RolledBack",
    Phase.FAILED: "Run.Failed",
    Phase.UNCHANGED: "Run.Unchanged",
    Phase.SUPERSEDED: "Run.Superseded",
    Phase.CANCELLED: "Run.Cancelled",
}
"""What is told of a run that comes to a phase, once an attempt; behind `Droptune.`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One uploaded dataset on its way to an endpoint. Times are the storage service's, UTC.

    Its data are files, `train` at least, or `hub`; `hub_commit` is what that one's revision was when it was read first.
    `in_job`: they are too big for a function, and the first step of the run's job prepares them. `origin`: the run
    whose model this one serves again, where a person asked for that (rollback, revive); it begins at REGISTERED.
    `data_of`: see `prepared`, where that is another run's or attempt's. `held`: see lifecycle.Wait. `approved`: who let
    it have traffic; `asked`: when people were told that it waits for that. `resumed`: see `begun`. `rollback`:
    `origin`'s model serves in the place of a newer one, that of the run `instead_of`. `silence`: while its deployment
    does not answer the smoke test. `scores`: what the gate was shown and said (see serving/gate.py). `untold`: events
    to send.
    """

    id: str
    folder: str
    line: str
    base_model: str
    uploaded: datetime
    ordinal: int = 0
    origin: str = ""
    rollback: bool = False
    instead_of: str = ""
    data_of: str = ""
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
    held: Held = ""
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
    silence: Silence | None = None
    scores: Scores | None = None
    approved: str = ""
    asked: tuple[datetime, ...] = ()
    resumed: datetime | None = None
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
        """Prefix in the container `prepared` of the immutable copy of the data that its model is trained on."""
        return self.data_of or f"{self.id}/{self.attempt}"

    @property
    def begun(self) -> datetime:
        """Since when its phase's time counts: what it waited for a person, or for hosts to come back, does not."""
        return max(self.since, self.resumed or self.since)

    def taken_up(self, now: datetime) -> Run:
        """The run as a turn finds it at `now`, without the time in which somebody was to look, and nobody did.

        Since when that is its timer, its claim or its last change tells. The timer is moved too: the next turn after a
        crash must not find the same time again.
        """
        changed = self.history[-1].at if self.history else None
        times = (self.wake and self.wake.due, self.claim and self.claim.until, changed, self.parked_at)
        due = max([self.begun, *(each for each in times if each)])
        if self.held or self.phase not in LIMITED or now - due < LATE:
            return self
        timer = Wake(token=self.wake.token if self.wake else "", due=now - CLOCKS)
        return replace(self, resumed=self.begun + (now - due), wake=timer)

    def is_fresh(self, now: datetime) -> bool:
        """Whether the run came to its phase so recently that Azure may not show yet what was made for it."""
        return now - self.since < FRESH

    def told(self, at: datetime, what: str, *, phase: Phase | None = None, **changes: Any) -> Run:
        """The run with another line in its history and these fields changed; `since` moves with the phase."""
        phase = phase or self.phase
        if phase != self.phase:
            changes |= {"phase": phase, "since": at, "waiting": "", "held": ""}
            if kind := _EVENTS.get(phase):
                changes["untold"] = (*self.untold, self._notice(kind, at, self.reason))
        history = (*self.history, Entry(at=at, phase=phase, what=what))[-HISTORY_LIMIT:]
        return replace(self, history=history, **changes)

    def park(self, at: datetime, why: str) -> Run:
        """The run left alone until the sweep, or a person, tries it again."""
        notice = self._notice("Run.Parked", at, why)
        return replace(self, parked=why, parked_at=at, claim=None, crashes=0, untold=(*self.untold, notice))

    def ask(self, at: datetime, why: str) -> Run:
        """The run after people were told, `why` in words, that it waits for an approval."""
        notice = self._notice("Run.ApprovalNeeded", at, why)
        return replace(self, asked=(*self.asked, at), untold=(*self.untold, notice))

    def _notice(self, kind: str, at: datetime, why: str) -> Notice:
        if kind == "Endpoint.Live" and self.origin:
            kind = "Endpoint.RolledBack" if self.rollback else "Endpoint.Revived"
        if kind == "Endpoint.RolledBack" and self.scores and not self.scores.passed:
            kind = "Gate.Failed"
        often = kind in ("Run.Parked", "Run.ApprovalNeeded")
        which = f"{at:%Y%m%dT%H%M%S}" if often else str(self.attempt)
        return Notice(id=f"{self.id}-{kind}-{which}", type=f"Droptune.{kind}", at=at, why=why)


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
    """A deployment that has no traffic any more; it is deleted at `until`, and is `going` by then.

    `model`: what a rollback may find in it; "" of a stray, which nobody takes up again.
    """

    deployment: str
    model: str
    until: datetime
    going: bool = False


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A deployment of Droptune's that nothing owns, and since when that is seen. `told`: it stays, which was said."""

    deployment: str
    since: datetime
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """All versions of one dataset folder and base model, behind one stable endpoint.

    `serving`: what answers now; `latest`: what went live last, kept when it is torn down; `before`: what served before
    that, which a rollback goes back to; `displaced`: what went for a rollout without spare instances, until something
    serves. `heading`: the newest run that trains. `rollout`: the run that it is being
    changed for. `leaving`: what is about to be deleted; `strays`: what may be next. `pinned`: who keeps it at what it
    serves, "" if nobody. `emptied`: since when the endpoint has no deployment; `removed`: since when there is none.
    `missing`: since when Azure does not show the endpoint, or what should serve there. `sidelined`: since when that has
    no traffic, which somebody took away. `wake`: the line's timer, of a teardown or of what is leaving. `untold`:
    events to send.
    """

    id: str
    folder: str
    base_model: str
    endpoint: str
    serving: Serving | None = None
    latest: Serving | None = None
    before: Serving | None = None
    displaced: Serving | None = None
    heading: Heading | None = None
    rollout: str = ""
    leaving: tuple[Leaving, ...] = ()
    strays: tuple[Stray, ...] = ()
    pinned: str = ""
    noticed: datetime | None = None
    missing: datetime | None = None
    sidelined: datetime | None = None
    tearing_down: bool = False
    wake: Wake | None = None
    remove_endpoint: bool = False
    emptied: datetime | None = None
    removed: datetime | None = None
    instances: int = 0
    kept_until: datetime | None = None
    untold: tuple[Notice, ...] = ()

    def to_tell(self, at: datetime, kind: str, why: str) -> Line:
        """The line with an event to send, of what becomes true by its next save; of a `kind` at most one a second."""
        notice = Notice(id=f"{self.id}-{kind}-{at:%Y%m%dT%H%M%S}", type=f"Droptune.{kind}", at=at, why=why)
        return replace(self, untold=(*self.untold, notice))


class Records[T: (Run, Line)]:
    """The JSON blobs of one kind, `<prefix>/<id>.json` in the container `state`, and two lists that spare listing them.

    A record that is open (a run that works, a line whose endpoint may stand) has a marker beside it, an empty blob
    `<open>/<id>`, from before its first save until after its last one. When it is over it gets an entry in an index
    whose names sort the newest first, `<over>/<time left>-<id>`. So looking at what is open, and at the page of what
    was over last, costs the same however many there ever were.
    """

    _kind: type[T]

    def __init__(self, blobs: Blobs, prefix: str, kind: type[T], *, open_: str, over: str) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._kind = kind
        self._open = f"{open_}/"
        self._over = f"{over}/"

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{key}.json"

    def _ended(self, record: T) -> datetime | None:
        """Since when the record is over, None while it is open."""
        raise NotImplementedError

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
        if self.load(record.id):
            return False
        self._mark(record.id)
        try:
            self._blobs.write(CONTAINER, self._name(record.id), msgspec.json.encode(record), if_none_match=True)
        except Conflict:
            return False
        if self._ended(record):
            self.retire(record.id)
        return True

    def marked(self) -> Iterator[tuple[str, datetime]]:
        """Ids of the records that are open, with the time that the marker of each was made."""
        for blob in self._blobs.list(CONTAINER, self._open):
            yield blob.name.removeprefix(self._open), blob.last_modified

    def retire(self, key: str) -> None:
        """Puts a record that is over into the index and takes its marker away; one that is open stays as it is.

        May be done again: the entry's name is made of the record's end. A marker whose record never came goes too, once
        it is old. Of a marker that was made anew meanwhile it keeps its hands off: see `reopen`.
        """
        marker = self._blobs.head(CONTAINER, f"{self._open}{key}")
        loaded = self.load(key)
        if loaded:
            at = self._ended(loaded[0])
            if at is None:
                return
            self._blobs.write(CONTAINER, f"{self._over}{_newest_first(at)}-{key}", b"")
        elif marker and self._blobs.now() - marker.last_modified < STILLBORN:
            return
        if marker:
            with suppress(Conflict):
                self._blobs.delete(CONTAINER, marker.name, if_match=marker.etag)

    def reopen(self, record: T, etag: str) -> str:
        """Saves a record that is not over any more, as `save` does.

        The marker comes first, so that no crash hides the record; and once more after the save, for the case that
        somebody who had read the older record was about to take it away. The index keeps its entry, which `recent`
        passes over.
        """
        self._mark(record.id)
        saved = self.save(record, etag)
        self._mark(record.id)
        return saved

    def recent(self, limit: int) -> list[T]:
        """At most `limit` records that are open, then at most `limit` that are over, of both the newest first.

        Costs a listing of what is open, a page of the index, and what it returns. A record that somebody broke by hand
        is left out, and the log names it.
        """
        marked = sorted(self.marked(), key=lambda each: each[1], reverse=True)[:limit]
        keys = [key for key, _ in marked]
        found = [loaded[0] for key in keys if (loaded := readable(self, key))]
        seen = set(keys)
        for blob in self._blobs.list(CONTAINER, self._over, page=limit):
            key = blob.name[len(self._over) + _DIGITS + 1 :]
            if key not in seen and (loaded := readable(self, key)):
                found.append(loaded[0])
            seen.add(key)
            if len(seen) == len(keys) + limit:
                break
        return found

    def _mark(self, key: str) -> None:
        self._blobs.write(CONTAINER, f"{self._open}{key}", b"")


def readable[T: (Run, Line)](records: Records[T], key: str) -> tuple[T, str] | None:
    """As `load`; None as well where somebody broke the record by hand: the others are not to suffer from that."""
    try:
        return records.load(key)
    except msgspec.MsgspecError:
        log.exception("record %s can't be read", key)
        return None


class Runs(Records[Run]):
    """The runs; those that have not ended are open."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, "runs", Run, open_="active", over="ended")

    def _ended(self, record: Run) -> datetime | None:
        return record.since if record.phase.ended else None

    def active(self) -> Iterator[tuple[str, datetime]]:
        """Ids of runs that have not ended, with the time that their marker was made."""
        return self.marked()


class Lines(Records[Line]):
    """The lines; open are those whose endpoint may stand, and those that have something to tell yet.

    Rollout, teardown and cleanup change them, each under the ETag of what it has read.
    """

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, "lines", Line, open_="standing", over="removed")

    def _ended(self, record: Line) -> datetime | None:
        return None if record.untold else record.removed

    def save(self, record: Line, etag: str) -> str:
        """Replaces the line that was read with `etag`; answers with the new ETag. Raises Conflict.

        One that is rolled out to is not removed any more, and marked before the save; one whose endpoint is removed is
        put among those after it.
        """
        if record.rollout:
            self._mark(record.id)
            record = replace(record, removed=None)
        saved = super().save(record, etag)
        if self._ended(record):
            self.retire(record.id)
        return saved

    def standing(self) -> Iterator[str]:
        """Ids of the lines whose endpoint may stand."""
        return (key for key, _ in self.marked())


def _newest_first(at: datetime) -> str:
    """Digits that are smaller the later `at` is: listings go by name. Good until the year 2286."""
    return f"{10**_DIGITS - (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1):0{_DIGITS}d}"


def expired(run: Run, now: datetime, margin: timedelta) -> bool:
    """Whether the run's timer or claim should have come by itself more than `margin` ago, and did not."""
    due = run.claim.until if run.claim else run.wake.due if run.wake else None
    return due is not None and due + margin < now
