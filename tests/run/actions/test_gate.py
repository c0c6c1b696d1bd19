"""The gate over the local cloud: what is asked of which version, what is kept of it, and what becomes of a bad one.

The deployments only pretend: `knowing` gives the expected answer to every held-out question, `vague` the beginning of
it, `wrong` nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.app import App
from shared.errors import Transient
from shared.intake.arrivals import look_into
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import DATASETS, PREPARED
from shared.records.line import Line, Serving, Standing
from shared.records.run import Attempt, Deployed, Run, Source
from shared.run.actions import gate as gate_effect
from shared.run.actions.gate import MOST_BAD_ROWS, compare_answers, held_out
from shared.serving.gate import Bounds, Gate, Promotion, Scores
from shared.serving.smoke import MOST_ERRORS
from tests.kit.azureml import MODEL
from tests.kit.azureml.submitting import submitting
from tests.kit.records import changed
from tests.kit.rows import jsonl, messages
from tests.kit.waiting import eventually

pytestmark = pytest.mark.thorough

ANSWERING = {"knowing": "The answer to {question} it is.", "vague": "The answer to", "wrong": "zzz"}
ROWS = 6
FEW = Gate(rows=ROWS)
SERVES = "the version that serves"


def row(number: int) -> dict[str, Any]:
    question = f"question {number}"
    return {"messages": messages(question, ANSWERING["knowing"].replace("{question}", question))}


TEST = jsonl([row(number) for number in range(40)])


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The endpoint that all tests of this module share, once it is made."""
    return {}


@pytest.fixture
def endpoint(app: App, cloud: Stack, made: dict[str, str]) -> str:
    if made:
        return made["endpoint"]
    name = f"gate-{uuid4().hex[:8]}"
    app.cloud.endpoints.create(name, "", {})
    eventually(lambda: (found := app.cloud.endpoints.get(name)) and found.state == "Succeeded")
    rules = [{"match": f"{name}/{deployment}$", "answer": text} for deployment, text in ANSWERING.items()]
    cloud.control("POST", "/_local/pretend", {"deployments": rules})
    for deployment in ANSWERING:
        app.cloud.endpoints.deploy(name, deployment, MODEL, "Standard_DS3_v2", 1, {})
    eventually(lambda: {each.state for each in app.cloud.endpoints.deployments(name)} == {"Succeeded"})
    cloud.control("DELETE", "/_local/pretend")
    made["endpoint"] = name
    return name


@pytest.fixture(autouse=True)
def faultless(cloud: Stack) -> Iterator[None]:
    """No fault outlives its test."""
    yield
    cloud.control("DELETE", "/_local/faults")


@pytest.fixture
def run(app: App, endpoint: str) -> Run:
    """A run whose new version is `knowing`; nothing serves yet."""
    name = uuid4().hex[:12]
    made = Run(
        id=name,
        line=name,
        order=Order(uploaded=app.cloud.blobs.now()),
        source=Source(folder=name, base_model="m", promotion=Promotion(gate=FEW)),
        since=app.cloud.blobs.now(),
        phase=Phase.CHECKING,
        attempt=Attempt(deployed=Deployed(endpoint=endpoint, name="knowing")),
    )
    app.cloud.blobs.write(PREPARED, f"{made.prepared}/test.jsonl", TEST)
    return made


def serving(app: App, run: Run, deployment: str) -> None:
    """What the run's line serves."""
    live = Serving(run="r", deployment=deployment, model="m:1", fingerprint="", since=run.since, order=run.order)
    source, endpoint = run.source, run.deployed.endpoint
    line = Line(id=run.line, folder=source.folder, base_model=source.base_model, endpoint=endpoint)
    app.lines.create(replace(line, serving=live, state=Standing()))


def asking(run: Run, deployment: str = "", **gate: Any) -> Run:
    promotion = replace(run.source.promotion, gate=replace(run.source.promotion.gate, **gate))
    return changed(run, name=deployment or run.deployed.name, promotion=promotion)


def compared(app: App, run: Run) -> Scores:
    scores = compare_answers(app, run).deployed.scores
    assert scores
    return scores


def live_of(scores: Scores) -> float:
    """The score of the version that serves."""
    assert scores.compared
    return scores.compared.live


def sheet(app: App, run: Run) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(app.cloud.blobs.read(PREPARED, layout.answers(run.prepared))[0])
    return read


def fault(cloud: Stack, run: Run, **how: Any) -> None:
    """Requests to score fail so: 409 is worth another try, 424 is the model's own failure."""
    cloud.control("POST", "/_local/faults", {"method": "POST", "path": f"/{run.deployed.endpoint}/score$", **how})


@pytest.fixture
def answered(cloud: Stack, run: Run) -> Callable[[], int]:
    """How many questions the endpoint has answered since this test began."""

    def count() -> int:
        ledger = cloud.control("GET", "/_local/ledger")
        path = f"/{run.deployed.endpoint}/score"
        return sum(each["path"].endswith(path) and each["status"] == 200 for each in ledger)

    before = count()
    return lambda: count() - before


def test_a_worse_version_is_stopped_and_its_owner_can_read_why(app: App, run: Run) -> None:
    serving(app, run, "knowing")
    worse = asking(run, "vague")
    scores = compared(app, worse)
    assert not scores.passed
    assert live_of(scores) == pytest.approx(100)
    assert 10 < scores.new < 90
    assert f"{ROWS} held-out rows score {scores.new:.2f} (chrf)" in scores.why
    assert "below the 100.00 of the version that serves, which is more than max_drop 5" in scores.why
    assert f"{PREPARED}/{layout.answers(run.prepared)}" in scores.why
    kept = sheet(app, worse)
    assert (kept["new"], kept["live"], kept["score"]) == ("vague", "knowing", "chrf")
    assert len(kept["rows"]) == ROWS
    lines = TEST.splitlines()
    for each in kept["rows"]:
        question, expected = (turn["content"] for turn in json.loads(lines[each["line"] - 1])["messages"])
        assert (each["question"], each["expected"]) == (question, expected)
        assert each["live"] == {"answer": expected, "score": pytest.approx(100), "error": ""}
        assert each["new"]["answer"] == "The answer to"
    mean = sum(each["new"]["score"] for each in kept["rows"]) / ROWS
    assert scores.new == pytest.approx(mean)


def test_a_better_version_passes(app: App, run: Run) -> None:
    serving(app, run, "vague")
    scores = compared(app, run)
    assert scores.passed
    assert scores.new == pytest.approx(100)
    assert live_of(scores) < 90


def test_a_first_version_has_its_floor_alone(app: App, run: Run) -> None:
    scores = compared(app, asking(run, "vague"))
    assert scores.passed
    assert scores.compared is None
    high = compared(app, asking(run, "vague", min_score=95))
    assert not high.passed
    assert "min_score 95" in high.why


def test_a_version_is_not_compared_with_itself(app: App, run: Run) -> None:
    serving(app, run, run.deployed.name)
    assert compared(app, run).compared is None


def test_exact_counts_whole_answers(app: App, run: Run, answered: Callable[[], int]) -> None:
    serving(app, run, "vague")
    scores = compared(app, asking(run, score="exact"))
    assert (scores.new, live_of(scores), scores.score) == (100, 0, "exact")
    compared(app, run)
    assert answered() == 4 * ROWS, "scores of another kind are no answers to this one"


def test_without_rows_and_metrics_nothing_is_asked(app: App, run: Run) -> None:
    with requests_of(app) as sent:
        scores = compared(app, asking(run, "wrong", rows=0))
    assert scores.passed
    assert sent.requests == 0


def test_the_rows_are_the_runs_own_and_always_the_same(app: App, run: Run) -> None:
    order = [line for line, _ in held_out(app, run)]
    assert sorted(order) == list(range(1, 41))
    assert [line for line, _ in held_out(app, run)] == order
    compared(app, run)
    assert [each["line"] for each in sheet(app, run)["rows"]] == order[:ROWS]
    other = replace(run, id=uuid4().hex[:12])
    app.cloud.blobs.write(PREPARED, f"{other.prepared}/test.jsonl", TEST)
    assert [line for line, _ in held_out(app, other)] != order


def test_only_the_beginning_of_a_large_test_file_is_read(app: App, run: Run) -> None:
    long = {"messages": [{"role": "user", "content": "x" * 1024 * 1024}, {"role": "assistant", "content": "y"}]}
    app.cloud.blobs.write(PREPARED, layout.part_of(run.prepared, "test"), jsonl([long] * 9))
    with requests_of(app) as sent:
        assert sorted(line for line, _ in held_out(app, run)) == [1, 2, 3]
    assert sent.bytes <= 5 * 1024 * 1024


def test_rows_with_tool_turns_are_left_out(app: App, run: Run) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]}
    tools = [{"messages": [row(1)["messages"][0], call]} for _ in range(20)]
    app.cloud.blobs.write(PREPARED, layout.part_of(run.prepared, "test"), jsonl([*tools, row(1), row(2)]))
    scores = compared(app, run)
    assert scores.rows == 2
    assert {each["line"] for each in sheet(app, run)["rows"]} == {21, 22}

    app.cloud.blobs.write(PREPARED, layout.part_of(run.prepared, "test"), jsonl(tools))
    scores = compared(app, run)
    assert scores.passed
    assert "no held-out row is of text alone" in scores.why
    assert not compared(app, asking(run, min_score=1)).passed, "a floor that nothing shows to be kept"


@pytest.mark.parametrize("after", [0, 2, ROWS - 1, ROWS, 2 * ROWS - 1])
def test_a_redo_asks_only_what_was_not_answered(
    app: App, run: Run, cloud: Stack, answered: Callable[[], int], after: int
) -> None:
    serving(app, run, "vague")
    fault(cloud, run, skip=after, status=409)
    with pytest.raises(Transient, match="did not answer"):
        compare_answers(app, run)
    assert answered() == after
    scores = compared(app, run)
    assert scores.passed
    assert scores.rows == ROWS
    assert answered() == 2 * ROWS
    assert "silent" not in scores.why
    assert sheet(app, run)["silence"] is None


def test_a_turn_ends_in_time_and_the_next_ones_go_on(
    app: App, run: Run, monkeypatch: pytest.MonkeyPatch, answered: Callable[[], int]
) -> None:
    serving(app, run, "vague")
    monkeypatch.setattr(gate_effect, "ASKING", 0)
    for turn in range(1, 2 * ROWS - 1):
        with pytest.raises(Transient, match="more answers") as more:
            compare_answers(app, run)
        assert more.value.after <= timedelta(seconds=5)
        assert turn <= answered() <= turn + 1
    assert compared(app, run).passed
    assert answered() == 2 * ROWS


def test_a_new_version_that_is_silent_for_long_has_failed(app: App, run: Run, cloud: Stack) -> None:
    cloud.control("POST", "/_local/clock", {"advance": 3600})  # being slow to come here is no silence
    fault(cloud, run, skip=2, status=409, count=None)
    for minutes in (5, 5, 4, 2):  # of a longer pause between two questions no more than five would count
        with pytest.raises(Transient):
            compare_answers(app, run)
        cloud.control("POST", "/_local/clock", {"advance": minutes * 60})
    scores = compared(app, run)
    assert not scores.passed
    assert "the new version did not answer for 0:15:00" in scores.why
    assert "another operation" in scores.why.lower()
    assert f"droptune retry {run.id}" in scores.why


def in_the_end(app: App, run: Run, cloud: Stack) -> Scores:
    """What the gate says once it has lost its patience."""
    for _ in range(4):
        with pytest.raises(Transient):
            compare_answers(app, run)
        cloud.control("POST", "/_local/clock", {"advance": 4 * 60})
    return compared(app, run)


def test_one_more_error_after_a_standstill_is_no_silence(app: App, run: Run, cloud: Stack) -> None:
    """Nobody has asked meanwhile."""
    fault(cloud, run, skip=2, status=409, count=2)
    for _ in range(2):
        with pytest.raises(Transient):
            compare_answers(app, run)
        cloud.control("POST", "/_local/clock", {"advance": 3600})
    assert compared(app, run).passed


def test_who_answers_now_and_then_is_not_silent(app: App, run: Run, cloud: Stack) -> None:
    for _ in range(ROWS - 1):
        cloud.control("DELETE", "/_local/faults")
        fault(cloud, run, skip=1, status=409, count=None)
        with pytest.raises(Transient):
            compare_answers(app, run)
        cloud.control("POST", "/_local/clock", {"advance": 16 * 60})
    cloud.control("DELETE", "/_local/faults")
    assert compared(app, run).passed


def in_turns(app: App, run: Run) -> Scores:
    """What the gate says after as many turns as it takes, with no time between them."""
    for _ in range(100):
        with suppress(Transient):
            return compared(app, run)
    raise AssertionError("it never comes to an end")


def test_one_error_on_a_row_is_asked_again(app: App, run: Run, cloud: Stack, answered: Callable[[], int]) -> None:
    serving(app, run, "vague")
    for skip in (2, ROWS + 2):
        fault(cloud, run, skip=skip, status=424, code="ModelError", message="CUDA out of memory")
    with pytest.raises(Transient, match=r"the new version did not answer: .*CUDA out of memory"):
        compare_answers(app, run)
    scores = in_turns(app, run)
    assert scores.passed
    assert "failed" not in scores.why
    assert answered() == 2 * ROWS, "nothing was asked again but what had no answer"


def test_a_new_version_that_fails_on_a_row_has_failed(app: App, run: Run, cloud: Stack) -> None:
    serving(app, run, "vague")
    fault(cloud, run, skip=2, status=424, code="ModelError", message="CUDA out of memory", count=None)
    scores = in_turns(app, run)
    assert not scores.passed
    assert "CUDA out of memory" in scores.why
    assert f"asked {MOST_ERRORS} times" in scores.why
    assert "in line" in scores.why
    assert [each["new"] is not None for each in sheet(app, run)["rows"]] == [True, True] + [False] * (ROWS - 2)


def test_a_new_version_that_is_gone_has_failed(app: App, run: Run) -> None:
    scores = compared(app, asking(run, "nobody"))
    assert not scores.passed
    assert "the new version is gone" in scores.why


def test_what_serves_but_is_gone_is_not_compared_with(app: App, run: Run) -> None:
    serving(app, run, "nobody")
    scores = compared(app, run)
    assert scores.passed
    assert scores.compared is None
    assert f"{SERVES} is gone" in scores.why
    assert not compared(app, asking(run, "vague", min_score=95)).passed, "the floor holds all the same"


def test_what_serves_but_is_silent_is_compared_with_as_far_as_it_answered(app: App, run: Run, cloud: Stack) -> None:
    serving(app, run, "knowing")
    fault(cloud, run, skip=ROWS + 2, status=409, count=None)
    worse = asking(run, "vague")
    scores = in_the_end(app, worse, cloud)
    assert not scores.passed
    assert scores.compared
    assert (scores.rows, scores.compared.rows) == (ROWS, 2)
    assert f"{SERVES} did not answer for 0:15:00" in scores.why


def test_rows_that_what_serves_fails_on_do_not_let_a_worse_version_in(app: App, run: Run, cloud: Stack) -> None:
    serving(app, run, "knowing")
    fault(cloud, run, skip=ROWS, count=2 * MOST_ERRORS, status=424, code="ModelError", message="too long")
    scores = in_turns(app, asking(run, "vague"))
    assert not scores.passed
    assert scores.compared
    assert (scores.rows, scores.compared.rows) == (ROWS, ROWS - 2)
    assert live_of(scores) == pytest.approx(100)
    assert f"failed on 2 of {ROWS} rows" in scores.why
    assert "too long" in scores.why


def test_what_replaces_is_compared_with_nothing(app: App, run: Run, answered: Callable[[], int]) -> None:
    serving(app, run, "knowing")
    replacing = asking(run, "vague")
    scores = compared(app, changed(replacing, promotion=replace(replacing.source.promotion, strategy="replace")))
    assert scores.passed
    assert scores.compared is None
    assert "strategy replace" in scores.why
    assert answered() == ROWS


def test_the_floor_is_of_all_rows_whatever_serves_made_of_them(app: App, run: Run, cloud: Stack) -> None:
    """What serves answers one row and fails on the others: the new version knows that one, and nothing else."""
    serving(app, run, "wrong")
    first, _ = next(held_out(app, run))
    rows = [row(number) for number in range(40)]
    for line, each in enumerate(rows, start=1):
        if line != first:
            each["messages"][-1]["content"] = "QQQQ"
    app.cloud.blobs.write(PREPARED, layout.part_of(run.prepared, "test"), jsonl(rows))
    # The first rows are asked again and again, the others once: it is known by then what serves is like.
    failing = MOST_BAD_ROWS * MOST_ERRORS + (ROWS - 1 - MOST_BAD_ROWS)
    fault(cloud, run, skip=ROWS + 1, count=failing, status=424, code="ModelError", message="too long")
    scores = in_turns(app, asking(run, min_score=50))
    assert scores.compared
    assert scores.compared.rows == 1
    assert scores.compared.new == pytest.approx(100)
    assert scores.new < 20
    assert not scores.passed
    assert f"{ROWS} held-out rows score {scores.new:.2f} (chrf), below min_score 50" in scores.why


@pytest.mark.parametrize("broken", [b"", b"{", b'{"rows": 3}', b"\xff"])
def test_answers_that_somebody_broke_are_asked_for_again(app: App, run: Run, broken: bytes) -> None:
    app.cloud.blobs.write(PREPARED, layout.answers(run.prepared), broken)
    assert compared(app, run).passed
    assert len(sheet(app, run)["rows"]) == ROWS


def test_answers_to_a_version_that_served_before_are_not_taken(app: App, run: Run) -> None:
    serving(app, run, "wrong")
    assert live_of(compared(app, run)) == 0
    line, etag = app.lines.load(run.line) or pytest.fail("no line")
    assert line.serving
    app.lines.save(replace(line, serving=replace(line.serving, deployment="vague")), etag)
    scores = compared(app, run)
    assert live_of(scores)
    assert sheet(app, run)["live"] == "vague"


def test_long_texts_are_kept_as_excerpts(app: App, run: Run) -> None:
    long = {"messages": [{"role": "user", "content": "é" * 9999}, {"role": "assistant", "content": "y" * 9999}]}
    app.cloud.blobs.write(PREPARED, layout.part_of(run.prepared, "test"), jsonl([long]))
    compared(app, run)
    (kept,) = sheet(app, run)["rows"]
    assert {len(kept[text]) for text in ("question", "expected")} == {gate_effect.EXCERPT}
    assert len(kept["new"]["answer"]) == gate_effect.EXCERPT


def test_last_values_of_the_jobs_metrics_are_held_against_their_bounds(app: App, run: Run, cloud: Stack) -> None:
    job = f"job-{run.id}"
    logged = {"eval_loss": [3.0, 1.5, 2.0], "loss": 1.0}
    cloud.control("POST", "/_local/pretend", {"jobs": {"match": f"^{job}$", "metrics": logged}})
    with submitting(cloud) as submit:
        submit(job)
    eventually(lambda: (found := app.cloud.jobs.get(job)) and found.status == "Completed")
    cloud.control("DELETE", "/_local/pretend")
    run = changed(run, job=job)
    fine = compared(app, asking(run, metrics={"eval_loss": Bounds(least=1.9, most=2.1)}))
    assert fine.passed
    assert fine.metrics == {"eval_loss": 2.0}
    bad = compared(app, asking(run, rows=0, metrics={"eval_loss": Bounds(most=1.6), "acc": Bounds(least=0.5)}))
    assert not bad.passed
    assert "eval_loss ended at 2, above its most, 1.6" in bad.why
    assert "no metric acc (it told eval_loss, loss)" in bad.why

    # MLflow does not answer: that is waited for, and not for ever.
    cloud.control("POST", "/_local/faults", {"path": "mlflow", "status": 409, "count": None})
    silent = in_the_end(app, asking(run, metrics={"loss": Bounds()}), cloud)
    assert not silent.passed
    assert "metrics" in silent.why


def test_a_job_without_metrics_fails_where_some_are_demanded(app: App, run: Run) -> None:
    scores = compared(app, asking(changed(run, job="never-was"), rows=0, metrics={"loss": Bounds()}))
    assert not scores.passed
    assert "it told none at all" in scores.why


def test_what_finetune_yaml_demands_is_in_the_runs_record(app: App) -> None:
    for spec, wanted in (
        (b"train: train.jsonl\n", Promotion()),
        (
            b"train: train.jsonl\ngate: {rows: 3, metrics: {loss: {most: 1}}}\napprove: manual\n",
            Promotion(approve="manual", gate=Gate(rows=3, metrics={"loss": Bounds(most=1.0)})),
        ),
        (b"train: train.jsonl\nstrategy: replace\n", Promotion(strategy="replace")),
    ):
        folder = f"gate-{uuid4().hex[:8]}"
        app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", TEST)
        app.cloud.blobs.write(DATASETS, f"{folder}/finetune.yaml", spec)
        look_into(app, folder)
        (run_id,) = datasets_of(read_folder(app, folder))
        loaded = app.runs.load(run_id)
        assert loaded
        assert loaded.record.source.promotion == wanted
