"""What a newer run sees of an older one of its line, and what its actions make of that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.app import App
from shared.lifecycle.action import Action
from shared.lifecycle.giving_way import Older, Pace
from shared.lifecycle.phase import Phase
from shared.records.base import Order
from shared.records.layout import SLOTS, STATE
from shared.records.line import Line, Newest
from shared.records.run import Data, Ending, Parked, Run, Source
from shared.run import older, slots
from shared.run.actions import ACTIONS
from shared.serving.gate import Promotion
from tests.kit.records import changed, line_of, woken
from tests.kit.settings import with_settings

HOUR = timedelta(hours=1)


class Two:
    """A line with an older run, its newest, in TRAINING for an hour, and a newer one in PREPARED."""

    def __init__(self, app: App, key: str) -> None:
        self.app, self.key, self.now = app, key, app.cloud.blobs.now()
        self.older = self.made("old", Phase.TRAINING, self.now - HOUR)
        self.newer = self.made("new", Phase.PREPARED, self.now)
        newest = Newest(run=self.older.id, order=self.older.order)
        self.line = Line(id=f"l{key}", folder="faq", base_model="Phi-4", endpoint="faq", newest=newest)
        assert app.lines.create(self.line)

    def made(self, name: str, phase: Phase, at: Any) -> Run:
        run = Run(
            id=f"r{self.key}{name}",
            line=f"l{self.key}",
            order=Order(uploaded=at),
            source=Source(folder="faq", base_model="Phi-4"),
            phase=phase,
            since=at,
        )
        run = run.in_attempt(data=Data(fingerprint="f"))
        assert self.app.runs.create(run)
        return run

    def with_older(self, **changes: Any) -> Older | None:
        loaded = self.app.runs.load(self.older.id)
        assert loaded
        self.app.runs.save(changed(self.older, **changes), loaded.etag)
        return older.met(self.app, self.newer, line_of(self.app, self.line))

    def with_line(self, **changes: Any) -> Line:
        loaded = self.app.lines.load(self.line.id)
        assert loaded
        line = replace(loaded.record, **changes)
        self.app.lines.save(line, loaded.etag)
        return line

    def do(self, action: Action, run: Run) -> Line:
        ACTIONS[action](self.app, run)
        return line_of(self.app, self.line)


@pytest.fixture
def two(app: App, key: str) -> Iterator[Two]:
    made = Two(app, key)
    yield made
    for name in ("old", "new", "third"):
        slots.free(app, f"r{key}{name}")
        app.cloud.blobs.delete(STATE, f"active/r{key}{name}")


def test_what_is_seen_of_the_older_run(two: Two) -> None:
    seen = two.with_older()
    assert seen
    assert (seen.run, seen.same, seen.trains, seen.parked) == (two.older.id, True, True, False)
    assert 3590 < seen.ran < 3700
    other = two.with_older(data=Data(fingerprint="other"))
    assert other
    assert not other.same
    unknown = two.with_older(data=None)
    assert unknown
    assert not unknown.same
    manual = two.with_older(promotion=Promotion(approve="manual"))
    assert manual
    assert not manual.same, "one of them asks for an approval"
    lost = two.with_older(ending=Ending(phase=Phase.CANCELLED, why="ada"))
    assert lost
    assert (lost.same, lost.trains) == (False, False)
    assert two.with_older(phase=Phase.FAILED) is None


@pytest.mark.parametrize("phase", [Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING])
def test_of_a_parked_run_without_a_job_nothing_is_awaited(two: Two, phase: Phase) -> None:
    seen = two.with_older(phase=phase, parked=Parked(at=two.now, why="a bug"))
    assert seen
    assert (seen.same, seen.trains, seen.rolls_out) == (False, False, False)


def test_the_model_of_a_parked_run_is_awaited(two: Two) -> None:
    seen = two.with_older(phase=Phase.REGISTERED, parked=Parked(at=two.now, why="a bug"))
    assert seen
    assert (seen.same, seen.trains, seen.rolls_out) == (True, False, True)


def test_of_a_run_that_is_over_nobody_needs_to_read_the_record(two: Two) -> None:
    name, marker = f"runs/{two.older.id}.json", f"active/{two.older.id}"
    two.app.cloud.blobs.write(STATE, name, b"{")
    seen = older.met(two.app, two.newer, line_of(two.app, two.line))
    assert seen
    assert f"{STATE}/{name} can't be read" in seen.unknown
    two.app.cloud.blobs.delete(STATE, marker)
    assert older.met(two.app, two.newer, line_of(two.app, two.line)) is None


def test_no_job_is_ended_that_began_after_the_look(two: Two) -> None:
    before = two.line.newest
    assert two.do(Action.BECOME_NEWEST, changed(two.newer, data=Data(fingerprint="g"))).newest == before
    two.with_line(pace=Pace(took=6 * 3600.0))
    line = two.do(Action.BECOME_NEWEST, changed(two.newer, data=Data(fingerprint="g")))
    assert line.newest == Newest(run=two.newer.id, order=two.newer.order)
    assert line.pace == Pace(took=6 * 3600.0, gave_way=True)
    assert woken(two.app, two.older) == 1


def test_who_waits_for_an_older_run_keeps_no_place_and_replaces_who_waited_before(two: Two) -> None:
    slots.take(two.app, two.newer.id)
    line = two.do(Action.WAIT_FOR_OLDER, two.newer)
    assert line.waits == Newest(run=two.newer.id, order=two.newer.order)
    assert not slots.has_place(two.app, two.newer.id)
    third = two.made("third", Phase.PREPARED, two.now + HOUR)
    line = two.do(Action.WAIT_FOR_OLDER, third)
    assert line.waits == Newest(run=third.id, order=third.order)
    assert woken(two.app, two.newer) == 1
    assert two.do(Action.WAIT_FOR_OLDER, two.newer).waits == line.waits


def test_who_replaces_a_run_that_waits_for_a_slot_has_its_place(two: Two) -> None:
    two.app = with_settings(two.app, MAX_ACTIVE_JOBS=0)
    two.with_older(phase=Phase.PREPARED, data=Data(fingerprint="other"))
    for run in (two.older.id, f"r{two.key}third", two.newer.id):
        slots.take(two.app, run)
    line = two.do(Action.BECOME_NEWEST, two.newer)
    assert line.pace == Pace(), "no job was ended"
    waiting = json.loads(two.app.cloud.blobs.read(STATE, SLOTS)[0])["waiting"]
    assert [run for run in sorted(waiting, key=waiting.__getitem__) if two.key in run] == [
        two.newer.id,
        f"r{two.key}third",
    ]
