"""Whether a newer run ends an older one's job: the rule, and what it costs a line at whatever pace people upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.giving_way import Older, Pace, behind

HOUR = 3600.0
SECONDS = st.floats(0, 100 * HOUR)
PACES = st.builds(Pace, took=st.none() | SECONDS, gave_way=st.booleans())
OLDERS = st.builds(
    Older,
    run=st.just("r1"),
    same=st.booleans(),
    trains=st.booleans(),
    ran=SECONDS,
    parked=st.booleans(),
    unknown=st.sampled_from(("", "state/runs/r1.json can't be read")),
)
type Rule = Callable[[Older, Pace], str]


# The rule -------------------------------------------------------------------------------------------------------------


@given(OLDERS, PACES, st.booleans())
def test_a_job_is_ended_only_for_other_content_early_with_its_slot_and_once(
    older: Older, pace: Pace, gets_slot: bool
) -> None:
    goes_on = not behind(older, pace, gets_slot=gets_slot)
    if goes_on and older.trains:
        assert not older.same
        assert older.ran < (30 * 60 if pace.took is None else pace.took / 5)
        assert not pace.gave_way
        assert gets_slot
    assert not (goes_on and older.unknown), "it may have a job"
    if not (older.trains or older.same or older.unknown):
        assert goes_on, "there is no job to end"
    if not goes_on:
        told = behind(older, pace, gets_slot=gets_slot)
        assert told.startswith("run r1")
        assert older.unknown in told
        assert ("droptune cancel r1 ends it" in told) == older.parked


def test_the_bounds() -> None:
    trains = Older(run="r1", trains=True, ran=1799)
    assert not behind(trains, Pace(), gets_slot=True)
    assert behind(replace(trains, ran=1800), Pace(), gets_slot=True)
    assert not behind(replace(trains, ran=HOUR - 1), Pace(took=5 * HOUR), gets_slot=True)
    assert behind(replace(trains, ran=HOUR), Pace(took=5 * HOUR), gets_slot=True)
    assert not behind(None, Pace(gave_way=True), gets_slot=False)


@given(PACES, SECONDS)
def test_only_a_model_allows_another_job_to_be_ended(pace: Pace, took: float) -> None:
    assert pace.after_giving_way() == replace(pace, gave_way=True)
    assert pace.after_model(took) == Pace(took=took)


# What it costs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Upload:
    """`fails`: its job ends by itself after that share of a training, None where it makes a model."""

    at: float
    content: int
    fails: float | None = None


@dataclass(kw_only=True)
class Line:
    """A line whose jobs take `takes` seconds. `paid`: seconds of all its jobs; `useful`: of those that nobody ended.

    `lost`: of those that were ended since the last model; `live`: when it went live.
    """

    takes: float
    rule: Rule
    pace: Pace = field(default_factory=Pace)
    job: Upload | None = None
    began: float = 0
    waits: Upload | None = None
    trained: set[int] = field(default_factory=set)
    serves: int | None = None
    paid: float = 0
    useful: float = 0
    lost: float = 0
    live: list[float] = field(default_factory=list)

    def upload(self, upload: Upload) -> None:
        self.until(upload.at)
        if upload.content in self.trained and upload.content != self.serves:
            return  # a person brings that back, or nobody
        if self.job is None:
            self._begin(upload, upload.at)
            return
        ran = upload.at - self.began
        if self.rule(Older(run="r", same=upload.content == self.job.content, trains=True, ran=ran), self.pace):
            self.waits = upload
            return
        self.paid += ran
        self.lost += ran
        self.pace, self.waits = self.pace.after_giving_way(), None
        self._begin(upload, upload.at)

    def until(self, now: float = float("inf")) -> None:
        """Lets jobs end until then; what waits begins when they do."""
        while self.job:
            took = self.takes if self.job.fails is None else self.takes * self.job.fails
            end = self.began + took
            if end > now:
                return
            self.paid += took
            self.useful += took
            if self.job.fails is None:
                self.pace, self.lost = self.pace.after_model(took), 0
                self.trained.add(self.job.content)
                self.serves = self.job.content
                self.live.append(end)
            self.job, following, self.waits = None, self.waits, None
            if following:
                self._begin(following, end)

    def _begin(self, upload: Upload, now: float) -> None:
        if upload.content not in self.trained:
            self.job, self.began = upload, now


def as_decided(older: Older, pace: Pace) -> str:
    return behind(older, pace, gets_slot=True)


def as_before(older: Older, pace: Pace) -> str:
    """The newest always wins."""
    return ""


def a_day(hours: float, contents: Sequence[int]) -> list[Upload]:
    """An upload every so many hours."""
    return [Upload(at=hours * HOUR * number, content=content) for number, content in enumerate(contents)]


def uploads(fails: st.SearchStrategy[float | None], back: int) -> st.SearchStrategy[list[Upload]]:
    """At any pace; some of them are the same as the one before, or as one of the last `back`."""

    def made(steps: list[tuple[float, int, float | None]]) -> list[Upload]:
        found = [Upload(at=0, content=0)]
        for gap, again, how in steps:
            new = Upload(at=0, content=max(each.content for each in found) + 1, fails=how)
            found.append(replace(found[-again] if 0 < again <= len(found) else new, at=found[-1].at + gap))
        return found

    return st.lists(st.tuples(st.floats(1, 12 * HOUR), st.integers(0, back), fails), max_size=60).map(made)


def gone_through(takes: float, rule: Rule, all_of_it: Sequence[Upload]) -> Line:
    line = Line(takes=takes, rule=rule)
    for each in all_of_it:
        line.upload(each)
    line.until()
    return line


@given(st.floats(2 * HOUR, 24 * HOUR), uploads(st.none() | st.floats(0.01, 1), back=3))
def test_a_line_pays_at_most_a_third_more_than_what_comes_of_it(takes: float, all_of_it: list[Upload]) -> None:
    """And for one job that was ended, as long as what it was ended for has made no model yet."""
    line = gone_through(takes, as_decided, all_of_it)
    assert line.paid <= 1.3 * line.useful + line.lost
    assert line.lost <= line.pace.early


@given(st.floats(2 * HOUR, 24 * HOUR), uploads(st.none(), back=1))
def test_a_line_goes_live_in_any_four_training_times_in_which_there_is_something_new(
    takes: float, all_of_it: list[Upload]
) -> None:
    line = gone_through(takes, as_decided, all_of_it)
    for before, each in zip([None, *all_of_it], all_of_it, strict=False):
        if before is None or before.content != each.content:
            assert min(at for at in line.live if at >= each.at) <= each.at + 4 * takes


@pytest.mark.parametrize(
    ("contents", "useful"), [([1] * 5, 9 * HOUR), ([1, 2, 3, 4, 5], 9 * HOUR * 4)], ids=["same", "different"]
)
def test_a_nine_hour_job_and_an_upload_every_six_hours(contents: list[int], useful: float) -> None:
    line = gone_through(9 * HOUR, as_decided, a_day(6, contents))
    assert (line.paid, line.useful) == (useful, useful)
    before = gone_through(9 * HOUR, as_before, a_day(6, contents))
    assert (before.paid, before.useful) == (33 * HOUR, 9 * HOUR), "24 GPU-hours for nothing"
    assert before.live == [33 * HOUR]
