"""Compares answers: held-out rows are asked of a new version and of the one that serves, and the answers scored.

Both are asked greedily, a row at a time, so that the one that serves has its instances for its callers. The answers are
kept beside the run's data: people read there why a version passed or not, and a redo asks only what was not answered
before. `serving/gate.py` has the rules. Called by the loop, for a run in CHECKING that passed the smoke test.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import msgspec

from shared.app import App
from shared.errors import ModelFailed, NotFound, Permanent, Refused, Transient
from shared.records import layout
from shared.records.base import from_json
from shared.records.layout import PREPARED
from shared.records.run import Run
from shared.serving.gate import Compared, Gate, Scores, score, verdict
from shared.serving.payload import answer_of, conversation_of, expected_of, scoring_payload
from shared.serving.smoke import MOST_ERRORS, SILENCE, Silence, shuffled, unanswered

log = logging.getLogger("droptune.run.actions.gate")

ASKING = 10 * 60.0
"""Seconds of one turn: 200 rows may take longer than a function lives. The rest is asked in the next turns."""
SAVED = 15.0
"""Seconds between two saves of the answers: a crash loses no more."""
MOST_BAD_ROWS = 3
"""Rows for which what serves is asked again after an error. With so many it is taken for what it is."""
EXCERPT = 2000
"""Characters of a text that the file of answers shows."""

type Side = Literal["new", "live"]
_WHO: Mapping[Side, str] = {"new": "the new version", "live": "the version that serves"}


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A held-out row as it is asked, by its line in the test file, from 1."""

    line: int
    question: list[dict[str, str]]
    expected: str


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a version answered (an excerpt), and its score; or the error that came instead."""

    answer: str = ""
    score: float = 0.0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class _Noted:
    """A row with its answers so far, to be read by people: texts are excerpts, `question` is the last turn."""

    line: int
    question: str
    expected: str
    new: _Answer | None = None
    live: _Answer | None = None


@dataclass(frozen=True, kw_only=True)
class _File:
    """What the blob `layout.answers` holds. `new` and `live`: deployments of the endpoint, "" for none."""

    score: str
    new: str
    live: str
    silence: Silence | None = None
    rows: list[_Noted]


class _Unanswered(Exception):
    """What was asked can't answer, or has not for SILENCE."""


def compare_answers(app: App, run: Run) -> Run:
    """The run with its `scores`. Raises Transient when there is more to ask, or nobody answers for now."""
    gate, notes = run.source.promotion.gate, list[str]()
    if not gate.rows and not gate.metrics:
        return run.in_deployed(scores=verdict(gate, new=0, rows=0, compared=None, metrics={}))
    sheet = _Sheet(app, run, _rows(app, run) if gate.rows else [])
    try:
        metrics = _metrics(app, run, sheet) if gate.metrics else {}
        sheet.fill("new")
    except _Unanswered as error:
        scores = _refused(gate, run, str(error))
    else:
        try:
            sheet.fill("live")
        except _Unanswered as error:
            notes.append(f"not all rows could be compared: {error}")
        scores, more = _judged(gate, sheet, metrics)
        notes += more
    sheet.save()
    if sheet.noted:
        notes.append(f"answers: {PREPARED}/{layout.answers(run.prepared)}")
    elif gate.rows:
        notes.append("no held-out row is of text alone, so that none can be asked")
    if gate.rows and run.source.promotion.strategy == "replace":
        notes.append("strategy replace leaves nothing to compare with")
    scores = replace(scores, why="; ".join((scores.why, *notes)))
    log.info("run %s %s the gate: %s", run.id, "passed" if scores.passed else "failed", scores.why)
    return run.in_deployed(scores=scores)


def held_out(app: App, run: Run) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows that the run was not trained on, with their lines in its test file, in an order that is the run's own.

    They are those of the file's beginning: its first 4 MiB, and at least one row. Raises NotFound without the file.
    """
    read = b""
    for chunk in app.cloud.blobs.stream(PREPARED, layout.part_of(run.prepared, "test")):
        read += chunk
        if b"\n" in read:
            break
    whole, newline, _ = read.rpartition(b"\n")
    lines = (whole if newline else read).splitlines()
    for number in shuffled(len(lines), seed=run.id):
        yield number + 1, msgspec.json.decode(lines[number], type=dict[str, Any])


def _rows(app: App, run: Run) -> list[_Row]:
    """The rows to ask. Those with tool turns, which an endpoint does not take, are left out."""
    found: list[_Row] = []
    for line, row in held_out(app, run):
        try:
            found.append(_Row(line=line, question=conversation_of(row), expected=expected_of(row)))
        except ValueError:
            continue
        if len(found) == run.source.promotion.gate.rows:
            break
    return found


def _metrics(app: App, run: Run, sheet: _Sheet) -> dict[str, float]:
    """The last values of the job's metrics. Raises Transient, and _Unanswered once that lasts."""
    try:
        found = app.cloud.metrics.job_metrics(run.attempt.job)
    except NotFound:
        return {}
    except Transient as error:
        raise sheet.patience(error, "the job's metrics can't be read") from error
    return {name: points[-1][1] for name, points in found.items() if points}


def _refused(gate: Gate, run: Run, error: str) -> Scores:
    """A gate that failed before there was anything to score."""
    why = f"{error}. See the deployment's logs, then droptune retry {run.id}"
    return Scores(rows=0, score=gate.score, new=0, compared=None, metrics={}, passed=False, why=why)


def _judged(gate: Gate, sheet: _Sheet, metrics: Mapping[str, float]) -> tuple[Scores, list[str]]:
    """What the gate says of the answers, and what is to be added. Only rows that both answered are compared."""
    noted = list(sheet.noted.values())
    both = [(row.new.score, row.live.score) for row in noted if row.new and row.live and not row.live.error]
    errors = [row.live.error for row in noted if row.live and row.live.error]
    new = [row.new.score for row in noted if row.new]
    compared = None
    if both:
        ours, theirs = zip(*both, strict=True)
        compared = Compared(rows=len(both), new=_mean(ours), live=_mean(theirs))
    scores = verdict(gate, new=_mean(new), rows=len(new), compared=compared, metrics=metrics)
    return scores, [f"what serves failed on {len(errors)} of {len(noted)} rows: {errors[0]}"] if errors else []


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores) if scores else 0.0


class _Sheet:
    """The answers as they come. `noted`: the rows by line, each with its answers so far."""

    def __init__(self, app: App, run: Run, rows: list[_Row]) -> None:
        """Takes what an earlier turn has left, as far as it is of the same rows and versions."""
        self._app, self._run, self._rows = app, run, rows
        self._name = layout.answers(run.prepared)
        self._ends = time.monotonic() + ASKING
        self._saved = time.monotonic()
        self._changed = False
        self._file = _File(score=run.source.promotion.gate.score, new=run.deployed.name, live=self._live(), rows=[])
        before = self._read()
        known = {row.line: row for row in before.rows} if before else {}
        self.noted: dict[int, _Noted] = {}
        for row in rows:
            question = _cut(row.question[-1]["content"])
            noted = known.get(row.line) or _Noted(line=row.line, question=question, expected=_cut(row.expected))
            same = before is not None and before.live == self._file.live
            self.noted[row.line] = noted if same else replace(noted, live=None)
        if before:
            self._file = replace(self._file, silence=before.silence)

    def _live(self) -> str:
        """The deployment to compare with."""
        loaded = self._app.lines.load(self._run.line) if self._rows else None
        serving = loaded.record.serving if loaded and self._run.source.promotion.strategy != "replace" else None
        return serving.deployment if serving and serving.deployment != self._run.deployed.name else ""

    def _read(self) -> _File | None:
        try:
            file = from_json(self._app.cloud.blobs.read(PREPARED, self._name)[0], _File)
        except (NotFound, ValueError):  # there is none, or somebody broke it
            return None
        return file if (file.score, file.new) == (self._file.score, self._file.new) else None

    def fill(self, side: Side) -> None:
        """Asks the version what it has not answered yet. Raises _Unanswered, and Transient when there is more to ask.

        A row that the new version fails on is its end; one that the version that serves fails on is noted as that.
        """
        deployment, who = getattr(self._file, side), _WHO[side]
        left = [row for row in self._rows if getattr(self.noted[row.line], side) is None] if deployment else []
        answers = self._ask(deployment, left)
        for missing in reversed(range(len(left))):
            try:
                row, answer = next(answers)
            except NotFound as error:
                if self._app.cloud.endpoints.deployment(self._run.deployed.endpoint, deployment) is None:
                    raise _Unanswered(f"{who} is gone: {error}") from error
                raise self.patience(error, f"{who} did not answer") from error
            except Refused:
                self.save()
                raise  # nobody asked it: that is no silence of its
            except (Transient, ModelFailed) as error:
                raise self.patience(error, f"{who} did not answer") from error
            if answer.error and side == "new":
                raise _Unanswered(f"{who} failed on the held-out row in line {row.line}: {answer.error}")
            self._note(row, side, answer)
            if missing and time.monotonic() > self._ends:
                self.save()
                raise Transient(f"{missing} more answers of {who}", after=timedelta(seconds=1))

    def patience(self, error: Transient | NotFound | ModelFailed, what: str) -> Transient | _Unanswered:
        """What to raise for `error`: it is to be tried again, until nothing has been answered for SILENCE."""
        if isinstance(error, Transient) and error.shut_out:  # who is not let in hears nothing of how it answers
            self.save()
            return error
        now = self._app.cloud.blobs.now()
        silence = unanswered(self._file.silence, now, error=isinstance(error, ModelFailed))
        self._file, self._changed = replace(self._file, silence=silence), True
        self.save()
        if silence.failed(now):
            return _Unanswered(f"{what} for {SILENCE}, asked {silence.times} times: {_cut(str(error))}")
        return Transient(f"{what}: {error}", *([error.after] if isinstance(error, Transient) else []))

    def save(self) -> None:
        """Writes the file, if it would be another one."""
        if self._changed:
            file = replace(self._file, rows=list(self.noted.values()))
            self._app.cloud.blobs.write(PREPARED, self._name, msgspec.json.format(msgspec.json.encode(file), indent=1))
            self._changed, self._saved = False, time.monotonic()

    def _note(self, row: _Row, side: Side, answer: _Answer) -> None:
        noted = self.noted[row.line]
        self.noted[row.line] = replace(noted, new=answer) if side == "new" else replace(noted, live=answer)
        self._file, self._changed = replace(self._file, silence=None), True
        if time.monotonic() - self._saved > SAVED:
            self.save()

    def _ask(self, deployment: str, rows: Sequence[_Row]) -> Iterator[tuple[_Row, _Answer]]:
        """Each row with its answer, asked for as it is wanted. The endpoint's key is fetched again after an error."""
        left = deque(rows)
        while left:
            payloads = [scoring_payload(row.question, greedy=True) for row in left]
            try:
                for response in self._app.cloud.endpoints.score_each(self._run.deployed.endpoint, payloads, deployment):
                    yield left[0], self._scored(left[0], answer_of(response))
                    left.popleft()
            except ModelFailed as error:
                asked = 1 + (self._file.silence.errors if self._file.silence else 0)
                if asked < MOST_ERRORS and self._bad_rows() < MOST_BAD_ROWS:
                    raise  # it is the moment's, perhaps: the row is asked again in another turn
                times = f", asked {asked} times" if asked > 1 else ""
                yield left.popleft(), _Answer(error=_cut(f"{error}{times}"))
            except (Permanent, ValueError) as error:
                yield left.popleft(), _Answer(error=_cut(str(error)))

    def _bad_rows(self) -> int:
        return sum(bool(row.live and row.live.error) for row in self.noted.values())

    def _scored(self, row: _Row, answer: str) -> _Answer:
        kind = self._run.source.promotion.gate.score
        return _Answer(answer=_cut(answer), score=score(kind, answer, row.expected))


def _cut(text: str) -> str:
    """An excerpt that can be written: half a surrogate pair is no Unicode; secrets and persons' data are masked."""
    from shared.dataset.safety.search import beginning

    return beginning(text.encode(errors="replace"), EXCERPT)
