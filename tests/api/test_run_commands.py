"""What people ask of a run: retry, cancel, approve; what changes, who is woken, what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.api import line_commands, run_commands
from shared.app import App
from shared.errors import Conflict, Permanent
from shared.intake.arrivals import look_into
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import Upload
from shared.line.trained import note_trained
from shared.records.layout import DATASETS, PREPARE_QUEUE
from shared.records.line import Heading, Line
from shared.records.run import Claim, Run
from shared.run.observe import OBSERVE
from shared.serving.gate import Compared, Promotion, Scores
from tests.kit.records import NOW, etag_of, line_of, run_of, serving, woken
from tests.kit.rows import ROW

BETTER = Compared(rows=3, new=90.0, live=80.0)
PASSED = Scores(rows=3, score="chrf", new=90.0, compared=BETTER, metrics={}, passed=True, why="better")
ENDS = [phase for phase in Phase if phase.ended]

# Retry ---------------------------------------------------------------------------------------------------------------


def test_a_parked_run_goes_on_where_it_was(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING, parked="a bug", parked_at=NOW, crashes=3, job="j")
    assert "goes on" in run_commands.retry(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.parked, now.parked_at, now.crashes) == ("", None, 0)
    assert (now.phase, now.attempt, now.job) == (Phase.TRAINING, 1, "j")
    assert "ada" in now.history[-1].what
    assert woken(app, run) == 1


def test_a_run_that_works_is_only_looked_at(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING, waiting="the job's event")
    assert "waits for the job's event" in run_commands.retry(app, run.id)
    assert run_of(app, run) == run
    assert woken(app, run) == 1


def test_a_failed_run_begins_anew_with_its_data(app: App, key: str) -> None:
    folder = f"again-{key}"
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW * 20)
    look_into(app, folder)
    (run_id,) = datasets_of(read_folder(app, folder))
    loaded = app.runs.load(run_id)
    assert loaded
    failed = replace(
        loaded.record,
        phase=Phase.FAILED,
        reason="the job failed",
        job="j",
        faults=0,
        fingerprint="f",
        in_job=True,
        wake=None,
    )
    app.runs.save(failed, loaded.etag)
    app.runs.retire(run_id)
    run_commands.retry(app, run_id, by="ada")
    now = run_of(app, run_id)
    assert (now.phase, now.attempt, now.reason) == (Phase.RECEIVED, 2, "")
    assert (now.job, now.faults, now.fingerprint, now.in_job, now.prepared) == ("", None, "", False, f"{run_id}/2")
    assert "asked for by ada" in now.history[-1].what
    assert "the job failed" in now.history[-1].what
    assert run_id in {each for each, _ in app.runs.active()}
    assert woken(app, run_id, PREPARE_QUEUE) == 1
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW * 21)
    app.runs.save(replace(now, phase=Phase.FAILED), etag_of(app, run_id))
    with pytest.raises(Permanent, match="upload the dataset again"):
        run_commands.retry(app, run_id)


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.ROLLED_BACK, Phase.CANCELLED, Phase.SUPERSEDED])
def test_what_was_trained_is_not_trained_again(
    app: App, make_run: Callable[..., Run], model: str, phase: Phase
) -> None:
    run = make_run(
        phase=phase,
        model=model,
        job="j",
        fingerprint="f",
        endpoint="e",
        deployment="d",
        passed=True,
        scores=PASSED,
        approved="eve",
        checks={"why": "no"},
        reason="why",
    )
    run_commands.retry(app, run.id)
    now = run_of(app, run)
    assert (now.phase, now.attempt, now.model, now.job) == (Phase.REGISTERED, 2, model, "j")
    assert (now.passed, now.scores, now.approved, now.checks, now.deployment) == (None, None, "", {}, "")
    assert now.prepared == f"{run.id}/1", "the rows that it was not trained on lie where they were"
    assert now.untold == (), "it was told before that this model was registered"
    assert woken(app, run) == 1
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(replace(now, phase=Phase.FAILED), loaded.etag)
    run_commands.retry(app, run.id)
    assert run_of(app, run).attempt == 3
    assert run_of(app, run).prepared == f"{run.id}/1"


@pytest.mark.parametrize(
    ("phase", "told"),
    [(Phase.LIVE, "revive"), (Phase.REJECTED, "upload corrected data")],
)
def test_what_can_not_be_retried(app: App, make_run: Callable[..., Run], phase: Phase, told: str) -> None:
    run = make_run(phase=phase)
    with pytest.raises(Permanent, match=told):
        run_commands.retry(app, run.id)
    assert run_of(app, run) == run
    assert woken(app, run) == 0


def test_data_of_old_that_were_uploaded_again_are_deployed_by_a_retry(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    """v1 and v2 went live, then v1's data came again: nothing is to train, and something else serves."""
    twin = make_run("t", phase=Phase.LIVE, model=model, job="j", fingerprint="v1", attempt=2)
    note_trained(app, twin)
    line = make_line(serving=serving("r2", fingerprint="v2"), latest=serving("r2", fingerprint="v2"))
    run = make_run(faults=0, fingerprint="v1", uploaded=NOW + timedelta(1))
    assert _trained(app, run).endswith(f"droptune retry {run.id} deploys it")
    app.runs.save(replace(run, phase=Phase.UNCHANGED), etag_of(app, run.id))
    assert f"model {model} is deployed" in run_commands.retry(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.phase, now.attempt, now.model, now.job) == (Phase.REGISTERED, 2, model, "j")
    assert (now.prepared, now.origin) == (f"{twin.id}/2", ""), "the gate asks with rows that it was not trained on"
    assert woken(app, run) == 1
    app.runs.save(replace(now, phase=Phase.UNCHANGED), etag_of(app, run.id))
    _, etag = app.lines.load(line.id) or (None, "")
    app.lines.save(replace(line, serving=serving("r1", fingerprint="v1")), etag)
    assert _trained(app, run).endswith("and it serves")
    with pytest.raises(Permanent, match="nothing to train"):
        run_commands.retry(app, run.id)


def test_data_of_what_was_torn_down_are_served_by_a_revival(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    note_trained(app, make_run("t", phase=Phase.LIVE, model=model, fingerprint="v1"))
    line = make_line(latest=serving("rt", model=model, fingerprint="v1"))
    run = make_run(faults=0, fingerprint="v1", uploaded=NOW + timedelta(1))
    assert f"droptune revive {line.id}" in _trained(app, run)
    assert "serves" in line_commands.revive(app, line.id)


def _trained(app: App, run: Run) -> str:
    seen = OBSERVE[Phase.RECEIVED](app, run)
    assert isinstance(seen, Upload)
    return seen.trained or ""


def test_an_older_run_does_not_come_back_over_a_newer_one(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    old, new = make_run("a", phase=Phase.SUPERSEDED, model=model), make_run("b", uploaded=NOW + timedelta(1))
    line = make_line(heading=Heading(run=new.id, uploaded=new.uploaded))
    with pytest.raises(Permanent, match=f"{new.id} is newer and is received"):
        run_commands.retry(app, old.id)
    _, etag = app.runs.load(new.id) or (None, "")
    app.runs.save(replace(new, phase=Phase.FAILED), etag)
    run_commands.retry(app, old.id)
    assert run_of(app, old).phase is Phase.REGISTERED
    assert line_of(app, line).heading is None, "a newer one that failed supersedes nobody"


def test_an_older_run_does_not_come_back_over_what_went_live(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    old = make_run(phase=Phase.FAILED, model=model)
    make_line(latest=serving("rnew", uploaded=NOW + timedelta(1)))
    with pytest.raises(Permanent, match="rnew is newer and went live"):
        run_commands.retry(app, old.id)


# Cancel --------------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_is_left_to_the_loop(app: App, make_run: Callable[..., Run]) -> None:
    claim = Claim(action="train", until=NOW, holder="h")
    run = make_run(phase=Phase.TRAINING, claim=claim, parked="a bug")
    assert "its job is cancelled" in run_commands.cancel(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.ending, now.reason, now.claim, now.parked) == (Phase.CANCELLED, "cancelled by ada", claim, "")
    assert woken(app, run) == 1
    assert "ending already, as cancelled" in run_commands.cancel(app, run.id, by="eve")
    assert run_of(app, run) == now


@pytest.mark.parametrize("phase", ENDS)
def test_an_end_can_not_be_cancelled(app: App, make_run: Callable[..., Run], phase: Phase) -> None:
    with pytest.raises(Permanent, match=f"has ended as {phase}"):
        run_commands.cancel(app, make_run(phase=phase).id)


def test_what_serves_is_rolled_back_and_not_cancelled(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    run = make_run(phase=Phase.CHECKING)
    make_line(serving=serving(run.id))
    with pytest.raises(Permanent, match="droptune rollback"):
        run_commands.cancel(app, run.id)
    assert run_of(app, run) == run


# Approve -------------------------------------------------------------------------------------------------------------


def test_a_run_that_passed_is_approved_once(app: App, make_run: Callable[..., Run]) -> None:
    manual = Promotion(approve="manual")
    run = make_run(phase=Phase.CHECKING, promotion=manual, scores=PASSED, passed=True, held="approval")
    assert "if it still answers" in run_commands.approve(app, run.id, by="ada\n")
    now = run_of(app, run)
    assert (now.approved, now.held, now.waiting) == ("ada", "", "")
    assert (now.passed, now.scores) == (None, PASSED), "it is asked once more, and not compared again"
    assert now.begun > run.since
    assert woken(app, run) == 1
    assert "approved by ada already" in run_commands.approve(app, run.id, by="eve")
    assert run_of(app, run).approved == "ada"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phase": Phase.CHECKING, "scores": PASSED}, "needs no approval"),
        (
            {"phase": Phase.TRAINING, "promotion": Promotion(approve="manual"), "waiting": "the job"},
            "waits for the job",
        ),
        ({"phase": Phase.CHECKING, "promotion": Promotion(approve="manual")}, "once it has passed"),
        (
            {
                "phase": Phase.CHECKING,
                "promotion": Promotion(approve="manual"),
                "scores": replace(PASSED, passed=False),
            },
            "once it has passed",
        ),
        ({"phase": Phase.LIVE, "promotion": Promotion(approve="manual"), "scores": PASSED}, "has ended as live"),
        ({"phase": Phase.CHECKING, "ending": Phase.CANCELLED}, "is ending as cancelled"),
    ],
)
def test_what_can_not_be_approved(app: App, make_run: Callable[..., Run], changes: dict[str, Any], told: str) -> None:
    run = make_run(**changes)
    with pytest.raises(Permanent, match=told):
        run_commands.approve(app, run.id, by="ada")
    assert run_of(app, run) == run


def test_an_approval_does_not_come_between_an_action_and_its_save(app: App, make_run: Callable[..., Run]) -> None:
    """Whoever acts would save over it; what a crash has left is over after a while."""
    manual, now = Promotion(approve="manual"), app.cloud.blobs.now()
    claim = Claim(action="ask", until=now + timedelta(minutes=1))
    run = make_run(phase=Phase.CHECKING, promotion=manual, scores=PASSED, claim=claim)
    with pytest.raises(Conflict):
        run_commands.approve(app, run.id)
    assert run_of(app, run) == run
    old = replace(claim, until=now - timedelta(minutes=1))
    run = make_run("b", phase=Phase.CHECKING, promotion=manual, scores=PASSED, claim=old)
    run_commands.approve(app, run.id)
    assert run_of(app, run).approved


# Races ---------------------------------------------------------------------------------------------------------------


def test_who_loses_a_race_reads_again(app: App, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else saves just before each of the first two saves, then before all of them."""
    run, transport, left = make_run(phase=Phase.TRAINING), app.cloud.clients.transport, 2
    send = transport.send

    def raced(request: Any, **options: Any) -> Any:
        nonlocal left
        if request.method == "PUT" and "/runs/" in request.url and left:
            left, rest = 0, left - 1
            now = run_of(app, run)
            app.runs.save(replace(now, crashes=now.crashes + 1), etag_of(app, run.id))
            left = rest
        return send(request, **options)

    monkeypatch.setattr(transport, "send", raced)
    run_commands.cancel(app, run.id)
    now = run_of(app, run)
    assert (now.ending, now.crashes, left) == (Phase.CANCELLED, 2, 0)
    run, left = make_run("b", phase=Phase.TRAINING), 100
    with pytest.raises(Conflict, match="try again in a minute"):
        run_commands.cancel(app, run.id)
    assert run_of(app, run).ending is None
