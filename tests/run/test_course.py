"""A job that queues, trains, does not respond, is paused or lost its node, through the real SDK and the local cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.api import run_commands
from shared.app import App
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records.base import Order
from shared.records.line import Line, Newest
from shared.records.run import Run, Source
from shared.run import course, older
from shared.run.loop import advance
from shared.sweep import sweep
from tests.kit.jobs import request
from tests.kit.records import line_of, run_of
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually

HOUR = 3600
FINETUNE = "chat_completion_finetune"
TRAINED_TOO_LONG = {"MAX_TRAINING_HOURS": 0}
QUEUED_TOO_LONG = {"MAX_QUEUE_HOURS": 0}


class Training:
    """Runs in TRAINING, whose jobs pretend, on a cluster of one node."""

    def __init__(self, app: App, cloud: Stack) -> None:
        self.app, self.cloud = app, cloud
        self.runs: list[Run] = []
        self.cluster = app.settings.training.gpu_compute
        app.cloud.computes.create(self.cluster, app.settings.training.gpu_size, 1, app.settings.training.identity)
        cloud.control("POST", "/_local/pretend", {"jobs": {"seconds": 9 * HOUR}})

    def run(self, name: str, *, shows: str = "Running") -> Run:
        """A run whose job was submitted just now, and whose fine-tune step is so."""
        line = Line(id=f"l{uuid4().hex[:15]}", folder=name, base_model="Phi-4", endpoint=name)
        wanted = request(self.app.cloud, f"r{uuid4().hex[:15]}")
        inputs, tags = {**wanted.inputs, "compute_finetune": self.cluster}, {**wanted.tags, "droptune.line": line.id}
        wanted = replace(wanted, inputs=inputs, tags=tags)
        self.app.cloud.jobs.submit(wanted)
        now = self.app.cloud.blobs.now()
        run = Run(
            id=wanted.tags["droptune.run"],
            line=line.id,
            installation=self.app.settings.storage.installation,
            order=Order(uploaded=now),
            source=Source(folder=name, base_model="Phi-4"),
            since=now - timedelta(minutes=10),
            phase=Phase.TRAINING,
        ).in_attempt(job=wanted.name)
        assert self.app.lines.create(line)
        assert self.app.runs.create(run)
        self.runs.append(run)
        eventually(lambda: self.step_of(run) == shows, 5)
        return run

    def step_of(self, run: Run) -> str:
        step = self.app.cloud.jobs.fine_tune(run.attempt.job)
        return step.status if step else ""

    def shows(self, run: Run, status: str, **more: Any) -> None:
        """What Azure ML says of the job, or of its step."""
        self.cloud.control("POST", f"/_local/jobs/{run.attempt.job}", {"status": status} | more)

    def look(self, run: Run, **settings: Any) -> Run:
        advance(with_settings(self.app, **settings), run.id, None)
        return run_of(self.app, run)

    def words(self, run: Run, **settings: Any) -> str:
        found = self.look(run, **settings)
        assert found.phase is Phase.TRAINING
        assert found.ending is None
        assert found.waiting
        return found.waiting.why

    def given_up(self, run: Run, **settings: Any) -> Run:
        """The run's end. Its job goes on for nobody then."""

        def over() -> Run | None:
            found = self.look(run, **settings)
            return found if found.phase.ended else None

        ended = eventually(over, 5)
        assert self.status(run) == "Canceled"
        return ended

    def status(self, run: Run) -> str:
        job = self.app.cloud.jobs.get(run.attempt.job)
        assert job
        return job.status

    def close(self) -> None:
        for run in self.runs:
            self.app.cloud.jobs.cancel(run.attempt.job)
            self.app.cloud.blobs.delete("state", f"active/{run.id}")
        self.cloud.control("DELETE", "/_local/pretend")
        self.cloud.control("DELETE", "/_local/faults")


@pytest.fixture
def training(quick: App, cloud: Stack) -> Iterator[Training]:
    made = Training(quick, cloud)
    yield made
    made.close()


def history(run: Run) -> list[str]:
    return [entry.what for entry in run.history]


def unseen(status: int) -> dict[str, Any]:
    """No step of any job can be seen."""
    return {"method": "GET", "path": "/history/.*/children$", "status": status, "count": None}


def test_a_job_queued_behind_another_one_on_one_node_has_not_trained(training: Training) -> None:
    first = training.run("first")
    second = training.run("second", shows="Queued")
    assert training.status(second) == "Running", "as Azure shows a pipeline"
    words = training.words(second, **TRAINED_TOO_LONG)
    assert words.startswith(f"a node of cluster {training.cluster} for the fine-tune step, which is Queued in Azure ML")
    assert "it queues since" in words
    assert "MAX_QUEUE_HOURS" in words

    training.shows(first, "Completed")
    eventually(lambda: training.step_of(second) == "Running")
    words = training.words(second)
    assert words.startswith("the job to end: it trains since ")
    assert "MAX_TRAINING_HOURS" in words
    assert history(run_of(training.app, second)) == [Action.NOTE_TRAINING.done]
    assert "it trains since" in training.words(second, **QUEUED_TOO_LONG), "it has what it queued for"
    ended = training.given_up(second, **TRAINED_TOO_LONG)
    assert ended.why == "the job took longer than MAX_TRAINING_HOURS (0 hours), and was cancelled"


@pytest.mark.thorough
def test_a_job_that_queues_for_too_long_is_cancelled_and_the_reason_says_so(training: Training) -> None:
    training.run("first")
    second = training.run("second", shows="Queued")
    ended = training.given_up(second, **QUEUED_TOO_LONG)
    assert ended.phase is Phase.FAILED
    assert ended.why == "the job's fine-tune step did not run within MAX_QUEUE_HOURS (0 hours), and was cancelled"


@pytest.mark.thorough
def test_a_job_that_does_not_respond_is_waited_for_and_its_model_is_registered(training: Training) -> None:
    run = training.run("faq")
    training.words(run)
    for status, more in (("NotResponding", {}), ("Running", {}), ("NotResponding", {"step": FINETUNE})):
        training.shows(run, status, **more)
        words = training.words(run)
        assert words.startswith("the job to respond again, which is NotResponding") is (status == "NotResponding")
        assert "it trains since" in words
    training.shows(run, "Completed")
    with pytest.raises(ValueError, match="has no plan"):  # the model's turn has come, and the test's run has none
        training.look(run)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("status", "why", "settings"),
    [
        ("NotResponding", "MAX_TRAINING_HOURS", TRAINED_TOO_LONG),
        ("Paused", "MAX_QUEUE_HOURS", QUEUED_TOO_LONG),
    ],
)
def test_what_does_not_come_back_is_given_up_with_its_job(
    training: Training, status: str, why: str, settings: dict[str, Any]
) -> None:
    run = training.run("faq")
    training.words(run)
    training.shows(run, status)
    assert f"is {status} in Azure ML" in training.words(run)
    assert why in training.given_up(run, **settings).why


@pytest.mark.thorough
@pytest.mark.parametrize("status", ["NotResponding", "Paused"])
def test_a_run_that_ends_by_itself_takes_its_job_along_whatever_that_shows(training: Training, status: str) -> None:
    run = training.run("faq")
    training.shows(run, status)
    run_commands.cancel(training.app, run.id)
    assert training.given_up(run).phase is Phase.CANCELLED


@pytest.mark.thorough
def test_a_step_whose_node_is_taken_away_queues_again(training: Training) -> None:
    run = training.run("faq")
    training.words(run)
    training.shows(run, "Queued", step=FINETUNE)
    assert "it queues since" in training.words(run)
    trained = run_of(training.app, run).attempt.course
    assert trained
    assert 0 <= trained.trained < 60
    training.shows(run, "Running", step=FINETUNE)
    assert "it trains since" in training.words(run)
    assert history(run_of(training.app, run)) == [
        Action.NOTE_TRAINING.done,
        Action.NOTE_QUEUEING.done,
        Action.NOTE_TRAINING.done,
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("status", [403, 404])
def test_where_only_the_job_itself_can_be_seen_its_own_time_counts_and_the_words_say_so(
    training: Training, status: int
) -> None:
    run = training.run("faq")
    training.cloud.control("POST", "/_local/faults", unseen(status))
    words = training.words(run)
    assert words.startswith("the job to end: it trains since ")
    assert words.endswith("; none of its steps can be seen, so that time in which they queue counts too")
    ended = training.given_up(run, **TRAINED_TOO_LONG)
    assert "MAX_TRAINING_HOURS" in ended.why
    assert "none of its steps could be seen" in ended.why


@pytest.mark.thorough
def test_what_is_known_more_exactly_later_is_told_once(training: Training) -> None:
    """The run history lets nobody in for a moment, so that the job's own time counts; then its step can be seen."""
    run = training.run("faq")
    training.cloud.control("POST", "/_local/faults", unseen(401))
    assert "none of its steps can be seen" in training.words(run)
    training.cloud.control("DELETE", "/_local/faults")
    training.shows(run, "Running", step=FINETUNE)
    assert "none of its steps" not in training.words(run)
    assert history(run_of(training.app, run)) == [Action.NOTE_TRAINING.done]


@pytest.mark.thorough
def test_no_job_is_ended_on_a_doubt_that_passes(training: Training) -> None:
    """Its run history is down: it may train, for all that anybody knows."""
    run = training.run("faq")
    training.app.cloud.clients.transport.sleep = lambda _: None
    training.cloud.control("POST", "/_local/faults", unseen(503))
    assert "it queues since" in training.words(run, **QUEUED_TOO_LONG)
    ended = training.given_up(run, **QUEUED_TOO_LONG, **TRAINED_TOO_LONG)
    assert "MAX_QUEUE_HOURS and MAX_TRAINING_HOURS together" in ended.why, "but not for ever"


@pytest.mark.thorough
def test_steps_are_asked_for_only_while_the_job_itself_runs(training: Training) -> None:
    run = training.run("faq")
    training.words(run)

    def cost(status: str) -> int:
        training.shows(run, status)
        training.words(run)
        with requests_of(training.app) as counted:
            training.words(run)
        return counted.requests

    assert cost("Running") == cost("NotResponding")
    running = cost("Running")
    assert running - cost("Queued") == 1


@pytest.mark.thorough
def test_a_job_whose_record_is_lost_may_queue_as_long_as_with_it(training: Training, cloud: Stack) -> None:
    training.run("first")
    lost = training.run("lost", shows="Queued")
    training.app.cloud.blobs.delete("state", f"runs/{lost.id}.json")
    training.app.cloud.blobs.delete("state", f"active/{lost.id}")

    def swept(**settings: Any) -> str:
        training.app.cloud.blobs.delete("state", "watermark.json")
        begun = training.app.cloud.blobs.now()
        eventually(lambda: training.app.cloud.blobs.now() - begun > timedelta(seconds=1))
        sweep(with_settings(training.app, **settings))
        return training.status(lost)

    assert swept(**TRAINED_TOO_LONG) == "Running"
    assert swept(**QUEUED_TOO_LONG) in ("CancelRequested", "Canceled")


@pytest.mark.thorough
def test_an_older_job_that_only_queues_has_run_for_no_time(training: Training) -> None:
    first, second = training.run("first"), training.run("second", shows="Queued")

    def ran(run: Run) -> float:
        line = line_of(training.app, run)
        known = Line(**{**line.__dict__, "newest": Newest(run=run.id, order=run.order)})
        newer = Run(
            **{**run.__dict__, "id": "rnewer", "order": Order(uploaded=run.order.uploaded + timedelta(hours=1))}
        )
        met = older.met(training.app, newer, known)
        assert met
        assert met.trains
        return met.ran

    eventually(lambda: ran(first) > 0)  # whole seconds
    assert ran(second) == 0


@pytest.mark.thorough
def test_how_long_a_line_trains_is_counted_from_when_the_step_ran(training: Training) -> None:
    """Whether a look has seen it run, or comes only once it has ended."""
    for looked in (True, False):
        run = replace(training.run(f"faq-{looked}"), since=training.app.cloud.blobs.now() - timedelta(hours=9))
        if looked:
            run = course.noted(training.app, run)
        training.shows(run, "Completed")
        assert course.trained(training.app, run) < timedelta(minutes=1)
