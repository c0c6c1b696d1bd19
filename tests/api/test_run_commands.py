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
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import UploadSeen
from shared.line.trained import note_trained
from shared.records.base import Order
from shared.records.layout import DATASETS, PREPARE_QUEUE
from shared.records.line import Line, Newest
from shared.records.run import Approval, Attempt, Claim, Data, Deployed, Ending, Parked, Restores, Run, Waiting
from shared.run.observe import OBSERVE
from shared.serving.gate import Compared, Promotion, Scores
from shared.serving.smoke import Answered
from tests.kit.records import NOW, changed, etag_of, line_of, run_of, serving, woken
from tests.kit.rows import ROW

BETTER = Compared(rows=3, new=90.0, live=80.0)
PASSED = Scores(rows=3, score="chrf", new=90.0, compared=BETTER, metrics={}, passed=True, why="better")
ANSWERED = Answered(question=[], expected="e", answer="a", passed=True, why="it answered")
CHECKED = Deployed(endpoint="e", name="d", smoke=ANSWERED, scores=PASSED)
ENDS = [phase for phase in Phase if phase.ended]

# Retry ---------------------------------------------------------------------------------------------------------------


def test_a_parked_run_goes_on_where_it_was(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING, parked=Parked(at=NOW, why="a bug"), crashes=3, job="j")
    assert "goes on" in run_commands.retry(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.parked, now.crashes) == (None, 0)
    assert now.begun > run.since, "what it was parked for does not count"
    assert (now.phase, now.attempt.number, now.attempt.job) == (Phase.TRAINING, 1, "j")
    assert "ada" in now.history[-1].what
    assert woken(app, run) == 1


def test_a_run_that_works_is_only_looked_at(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING, waiting=Waiting(why="the job to end"))
    assert "waits for the job to end" in run_commands.retry(app, run.id)
    assert run_of(app, run) == run
    assert woken(app, run) == 1


def test_a_failed_run_begins_anew_with_its_data(app: App, key: str) -> None:
    folder = f"again-{key}"
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW * 20)
    look_into(app, folder)
    (run_id,) = datasets_of(read_folder(app, folder))
    loaded = app.runs.load(run_id)
    assert loaded
    failed = changed(
        loaded.record,
        phase=Phase.FAILED,
        ending=Ending(phase=Phase.FAILED, why="the job failed"),
        job="j",
        data=Data(fingerprint="f"),
        in_job=True,
        wake=None,
    )
    app.runs.save(failed, loaded.etag)
    app.runs.retire(run_id)
    run_commands.retry(app, run_id, by="ada")
    now = run_of(app, run_id)
    assert (now.phase, now.ending, now.attempt) == (Phase.RECEIVED, None, Attempt(number=2)), "of the first is nothing"
    assert now.prepared == f"{run_id}/2"
    assert "asked for by ada" in now.history[-1].what
    assert "the job failed" in now.history[-1].what
    assert run_id in set(app.runs.active())
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
        data=Data(fingerprint="f"),
        deployed=replace(CHECKED, approval=Approval(by="eve")),
        ending=Ending(phase=phase, why="why"),
    )
    run_commands.retry(app, run.id)
    now = run_of(app, run)
    assert (now.phase, now.attempt.number, now.attempt.model, now.attempt.job) == (Phase.REGISTERED, 2, model, "j")
    assert (now.ending, now.attempt.deployed) == (None, None)
    assert now.prepared == f"{run.id}/1", "the rows that it was not trained on lie where they were"
    assert now.outbox == (), "that this model was registered was sent before"
    assert woken(app, run) == 1
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(replace(now, phase=Phase.FAILED), loaded.etag)
    run_commands.retry(app, run.id)
    assert run_of(app, run).attempt.number == 3
    assert run_of(app, run).prepared == f"{run.id}/1"


@pytest.mark.parametrize(
    ("phase", "told"),
    [(Phase.LIVE, "went live; droptune lines shows what serves"), (Phase.REJECTED, "upload corrected data")],
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
    twin = make_run("t", phase=Phase.LIVE, model=model, job="j", data=Data(fingerprint="v1"), number=2)
    note_trained(app, twin)
    line = make_line(serving=serving("r2", fingerprint="v2"), latest=serving("r2", fingerprint="v2"))
    run = make_run(data=Data(fingerprint="v1"), order=Order(uploaded=NOW + timedelta(1)))
    assert _trained(app, run).endswith(f"droptune retry {run.id} deploys it")
    app.runs.save(replace(run, phase=Phase.UNCHANGED), etag_of(app, run.id))
    assert f"model {model} is deployed" in run_commands.retry(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.phase, now.attempt.number, now.attempt.model, now.attempt.job) == (Phase.REGISTERED, 2, model, "j")
    assert (now.prepared, now.restores) == (f"{twin.id}/2", None), "the gate asks with rows that it was not trained on"
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
    note_trained(app, make_run("t", phase=Phase.LIVE, model=model, data=Data(fingerprint="v1")))
    line = make_line(latest=serving("rt", model=model, fingerprint="v1"))
    run = make_run(data=Data(fingerprint="v1"), order=Order(uploaded=NOW + timedelta(1)))
    assert f"droptune revive {line.id}" in _trained(app, run)
    assert "brings" in line_commands.revive(app, line.id)


def _trained(app: App, run: Run) -> str:
    seen = OBSERVE[Phase.RECEIVED](app, run)
    assert isinstance(seen, UploadSeen)
    return seen.trained or ""


def test_an_older_run_does_not_come_back_over_a_newer_one(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    old, new = (
        make_run("a", phase=Phase.SUPERSEDED, model=model),
        make_run("b", order=Order(uploaded=NOW + timedelta(1))),
    )
    line = make_line(newest=Newest(run=new.id, order=new.order))
    with pytest.raises(Permanent, match=f"{new.id} is newer and is received"):
        run_commands.retry(app, old.id)
    _, etag = app.runs.load(new.id) or (None, "")
    app.runs.save(replace(new, phase=Phase.FAILED), etag)
    run_commands.retry(app, old.id)
    assert run_of(app, old).phase is Phase.REGISTERED
    assert line_of(app, line).newest is None, "a newer one that failed supersedes nobody"


def test_an_older_run_does_not_come_back_over_what_went_live(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    old = make_run(phase=Phase.FAILED, model=model)
    make_line(latest=serving("rnew", order=Order(uploaded=NOW + timedelta(1))))
    with pytest.raises(Permanent, match="rnew is newer and went live"):
        run_commands.retry(app, old.id)


# Cancel --------------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_is_left_to_the_loop(app: App, make_run: Callable[..., Run]) -> None:
    claim = Claim(action=Action.CANCEL_JOB, until=NOW, holder="h")
    run = make_run(phase=Phase.TRAINING, claim=claim, parked=Parked(at=NOW, why="a bug"))
    assert "its job is cancelled" in run_commands.cancel(app, run.id, by="ada")
    now = run_of(app, run)
    assert now.ending == Ending(phase=Phase.CANCELLED, why="cancelled by ada")
    assert (now.is_ending, now.claim, now.parked) == (True, claim, None)
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
    waiting = Waiting(why="an approval", hold="approval")
    run = make_run(phase=Phase.CHECKING, promotion=manual, deployed=CHECKED, waiting=waiting)
    assert "if it still answers" in run_commands.approve(app, run.id, by="ada\n")
    now = run_of(app, run)
    assert (now.deployed.approval.by, now.hold, now.waiting) == ("ada", "", None)
    assert (now.deployed.smoke, now.deployed.scores) == (None, PASSED), "it is asked once more, and not compared again"
    assert now.begun > run.since
    assert woken(app, run) == 1
    assert "approved by ada already" in run_commands.approve(app, run.id, by="eve")
    assert run_of(app, run).deployed.approval.by == "ada"


def test_what_comes_back_needs_an_approval_only_where_nobody_knows_what_it_was_for(
    app: App, make_run: Callable[..., Run]
) -> None:
    """Whatever finetune.yaml says of new versions; and the gate has nothing to say of what was there before."""
    back = Restores(run="rold", instead_of="rnew", rollback=True)
    there: dict[str, Any] = {"phase": Phase.CHECKING, "restores": back, "promotion": Promotion(approve="manual")}
    with pytest.raises(Permanent, match="needs no approval"):
        run_commands.approve(app, make_run(deployed=replace(CHECKED, scores=None), **there).id)
    found = make_run("b", deployed=replace(CHECKED, scores=None, approval=Approval(needed=True)), **there)
    assert "if it still answers" in run_commands.approve(app, found.id, by="ada")
    assert run_of(app, found).deployed.approval == Approval(needed=True, by="ada")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phase": Phase.CHECKING, "deployed": CHECKED}, "needs no approval"),
        (
            {"phase": Phase.TRAINING, "promotion": Promotion(approve="manual"), "waiting": Waiting(why="the job")},
            "waits for the job",
        ),
        (
            {
                "phase": Phase.CHECKING,
                "promotion": Promotion(approve="manual"),
                "deployed": replace(CHECKED, scores=None),
            },
            "once it has passed",
        ),
        (
            {
                "phase": Phase.CHECKING,
                "promotion": Promotion(approve="manual"),
                "deployed": replace(CHECKED, scores=replace(PASSED, passed=False)),
            },
            "once it has passed",
        ),
        ({"phase": Phase.LIVE, "promotion": Promotion(approve="manual"), "deployed": CHECKED}, "has ended as live"),
        (
            {"phase": Phase.CHECKING, "ending": Ending(phase=Phase.CANCELLED, why="cancelled by eve")},
            "is ending as cancelled",
        ),
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
    claim = Claim(action=Action.ASK_APPROVAL, until=now + timedelta(minutes=1))
    run = make_run(phase=Phase.CHECKING, promotion=manual, deployed=CHECKED, claim=claim)
    with pytest.raises(Conflict):
        run_commands.approve(app, run.id)
    assert run_of(app, run) == run
    old = replace(claim, until=now - timedelta(minutes=1))
    run = make_run("b", phase=Phase.CHECKING, promotion=manual, deployed=CHECKED, claim=old)
    run_commands.approve(app, run.id)
    assert run_of(app, run).deployed.approval.by


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
    assert (now.ending and now.ending.phase, now.crashes, left) == (Phase.CANCELLED, 2, 0)
    run, left = make_run("b", phase=Phase.TRAINING), 100
    with pytest.raises(Conflict, match="try again in a minute"):
        run_commands.cancel(app, run.id)
    assert run_of(app, run).ending is None
