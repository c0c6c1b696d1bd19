"""What counts as training, what as queueing, and when a job is given up: whatever Azure shows of it, and when."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.course import Course, FineTune, Limits, after, overdue, submitted, told

AT = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(training=24 * HOUR, queueing=48 * HOUR)


def hours(number: float) -> datetime:
    """So long after the job was submitted."""
    return AT + number * HOUR


class Job:
    """A job, submitted at hour 0, and the course that looks at it have made."""

    def __init__(self) -> None:
        self.course = submitted(AT)

    def look(self, at: float, status: str, step: str | None, began: float | None = None) -> Course:
        """`step`: its status; None: none can be seen. `began`: the hour at which it ran, as Azure says it."""
        shown = None if step is None else FineTune(status=step, began=None if began is None else hours(began))
        self.course = after(self.course, status, shown, now=hours(at), begun=AT)
        return self.course

    def late(self, at: float) -> str:
        return overdue(self.course, hours(at), LIMITS)


@pytest.mark.parametrize("step", ["", "NotStarted", "Preparing", "Queued"])
def test_a_job_whose_fine_tune_step_does_not_run_queues_whatever_the_job_itself_says(step: str) -> None:
    job = Job()
    for at in (1, 30, 47.9):
        assert not job.look(at, "Running", step).trains
        assert job.late(at) == ""
    assert job.late(48.1) == "the job's fine-tune step did not run within MAX_QUEUE_HOURS (48 hours)"


def test_the_limit_counts_from_when_the_step_runs_however_late_that_is_seen() -> None:
    job = Job()
    assert job.look(40, "Running", "Running", began=30) == Course(trains=True, since=hours(30), queued=30 * 3600)
    assert job.late(53.9) == ""
    assert job.late(54.1) == "the job took longer than MAX_TRAINING_HOURS (24 hours)"
    assert job.look(41, "Finalizing", "Completed", began=30).trains, "what comes after it costs too"


def test_a_step_whose_node_is_taken_away_queues_again_and_all_its_time_counts() -> None:
    job = Job()
    job.look(10, "Running", "Running", began=10)
    job.look(20, "Running", "Queued", began=10)
    assert job.course == Course(trains=False, since=hours(20), queued=10 * 3600, trained=10 * 3600)
    job.look(50, "Running", "Running", began=10)  # when it ran first is all that Azure says
    assert job.course == Course(trains=True, since=hours(50), queued=40 * 3600, trained=10 * 3600)
    assert (job.late(63.9), job.late(64.1)) == ("", "the job took longer than MAX_TRAINING_HOURS (24 hours)")
    job.look(60, "Running", "Queued")
    assert job.late(67.9) == ""  # 40 + 7.9 hours
    assert "MAX_QUEUE_HOURS" in job.late(68.1)


def test_clocks_that_differ_by_seconds_make_no_turns() -> None:
    """The step began a second after it was seen to queue again, says a service whose clock is ahead."""
    job, second = Job(), 1 / 3600
    job.look(2, "Running", "Running", began=2 + second)
    queues = job.look(2 + second, "Running", "Queued", began=2 + 2 * second)
    assert not queues.trains
    assert job.look(3, "Running", "Queued", began=2 + 2 * second) == queues
    assert job.look(4, "Running", "Running", began=2 + 2 * second).since == hours(4)


def test_a_job_that_does_not_respond_goes_on_as_it_did() -> None:
    for job_says, step_says in (("NotResponding", "NotResponding"), ("Running", "NotResponding"), ("Unknown", "New")):
        job = Job()
        assert not job.look(1, job_says, step_says).trains
        before = job.look(2, "Running", "Running", began=2)
        assert job.look(3, job_says, step_says, began=2) == before
        assert job.look(4, "Running", "Running", began=2) == before
    assert Job().look(5, "NotResponding", "NotResponding", began=3).since == hours(3), "it ran before that"


def test_a_job_that_is_paused_does_not_train() -> None:
    for job_says, step_says in (("Paused", "Running"), ("Paused", "Paused"), ("Running", "Paused")):
        job = Job()
        job.look(2, "Running", "Running", began=2)
        job.look(12, job_says, step_says, began=2)
        assert job.look(42, "Running", "Running", began=2).trained == 10 * 3600
        assert job.late(55) == ""
        assert "MAX_TRAINING_HOURS" in job.late(57)


def test_where_no_step_can_be_seen_it_counts_from_when_the_job_runs() -> None:
    job = Job()
    assert not job.look(5, "Queued", None).trains
    assert not job.look(6, "NotResponding", None).trains
    assert job.look(7, "Running", None) == Course(trains=True, since=hours(7), queued=7 * 3600, alone=True)
    assert job.late(30.9) == ""
    assert "none of its steps could be seen" in job.late(31.1)
    assert job.look(20, "Running", "Queued") == submitted(AT), "now it can be seen"
    job.look(25, "Running", "Running", began=24)
    assert job.look(26, "Running", None) == Course(trains=True, since=hours(24), queued=24 * 3600), "and is remembered"


def test_what_is_waited_for_is_said_with_since_when_and_until_when() -> None:
    queues, trains = submitted(AT), Course(trains=True, since=hours(2), queued=7200)
    lasts = "it queues since 2026-11-01 00:00 UTC, and may until 2026-11-03 00:00 UTC (MAX_QUEUE_HOURS)"
    runs = "it trains since 2026-11-01 02:00 UTC, and may until 2026-11-02 02:00 UTC (MAX_TRAINING_HOURS)"

    def words(course: Course, status: str, step: str | None) -> str:
        return told(course, status, None if step is None else FineTune(status=step), "gpu", LIMITS)

    assert words(queues, "Queued", None) == f"the job to run, which is Queued in Azure ML: {lasts}"
    assert words(queues, "Running", "") == f"the fine-tune step to run, after those before it: {lasts}"
    node = "a node of cluster gpu for the fine-tune step, which is Queued in Azure ML"
    assert words(queues, "Running", "Queued") == f"{node}: {lasts}"
    assert words(trains, "Running", "Running") == f"the job to end: {runs}"
    passes = "the job to respond again, which is NotResponding in Azure ML"
    assert words(trains, "Running", "NotResponding") == words(trains, "NotResponding", None) == f"{passes}: {runs}"
    assert words(queues, "Paused", "Queued").startswith("somebody to resume the job, which is Paused in Azure ML: ")
    assert words(trains, "Unknown", None).startswith("the job to end, which is Unknown in Azure ML: ")
    alone = words(Course(trains=True, since=hours(2), alone=True), "Running", None)
    assert alone.endswith("; none of its steps can be seen, so that time in which they queue counts too")


STATES = {
    "trains": (("Running", "Running"), ("Running", "NotResponding"), ("NotResponding", "NotResponding")),
    "queues": (("Running", "Queued"), ("Running", "Preparing"), ("Paused", "Queued")),
}
"""What Azure may show of a job, and of its fine-tune step, that does so."""


MINUTES = st.integers(5, 2400)


@given(st.lists(st.tuples(MINUTES, MINUTES), min_size=1, max_size=4), st.integers(45, 240), st.booleans(), st.randoms())
def test_no_job_is_given_up_before_its_time_nor_kept_after_it(
    turns: list[tuple[int, int]], every: int, first: bool, random: Random
) -> None:
    """It queues and trains by turns, for so many minutes each, and is looked at `every` so many.

    `first`: Azure tells when the step ran first, and not when it ran last. What nobody tells is when it turned later
    on: that was at any time between two looks.
    """
    job, parts = Job(), list[tuple[str, int, int]]()
    for does, length in itertools.chain.from_iterable((("queues", q), ("trains", t)) for q, t in turns):
        begun = parts[-1][2] if parts else 0
        parts.append((does, begun, begun + length))
    turned = 0
    for at in range(every, parts[-1][2], every):
        past = [(does, begun, min(end, at)) for does, begun, end in parts if begun < at]
        spent = {kind: sum(end - begun for does, begun, end in past if does == kind) for kind in STATES}
        ran = [begun for does, begun, _ in past if does == "trains"]
        began = (ran[0] if first else ran[-1]) / 60 if ran else None
        job.look(at / 60, *random.choice(STATES[past[-1][0]]), began=began)
        turned = max(turned, len(past) - 2)
        late, doubt = job.late(at / 60), turned * every
        over = {"MAX_TRAINING_HOURS": spent["trains"] - 24 * 60, "MAX_QUEUE_HOURS": spent["queues"] - 48 * 60}
        assert not late or any(name in late and minutes > -doubt for name, minutes in over.items()), "not too early"
        if past[-1][0] == "trains":
            assert "MAX_QUEUE_HOURS" not in late, "it has what it queued for"
            over.pop("MAX_QUEUE_HOURS")
        assert late or max(over.values()) <= doubt, "nor too late"
