"""What people ask for, on records in real storage: what changes, who is woken, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from azure.ai.ml.entities import Model
from azure.functions import HttpRequest

from functions import commands as functions
from shared import commands, requests
from shared.app import App
from shared.app import app as this_process
from shared.errors import Conflict, NotFound, Permanent
from shared.folders import DATASETS, datasets_of, read_folder
from shared.intake import look_into
from shared.lifecycle import Phase, Rollout, Upload
from shared.lines import note_trained
from shared.looks import OBSERVE
from shared.records import Claim, File, Heading, Line, Run, Serving
from shared.serving.gate import Promotion, Scores
from shared.timers import PREPARE_QUEUE, STEPS_QUEUE

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PASSED = Scores(rows=3, score="chrf", new=90.0, live=80.0, metrics={}, passed=True, why="better")
ROW = b'{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hi."}]}\n'
ENDS = [phase for phase in Phase if phase.ended]


@pytest.fixture
def key() -> str:
    """Part of all names of a test."""
    return uuid4().hex[:10]


@pytest.fixture
def make_run(app: App, key: str) -> Callable[..., Run]:
    def make(name: str = "a", **changes: Any) -> Run:
        run = Run(
            id=f"r{key}{name}",
            folder=f"faq-{key}",
            line=f"l{key}",
            base_model="Phi-4",
            uploaded=NOW,
            since=NOW,
            train=File(name=f"faq-{key}/train.jsonl", etag="0x1"),
        )
        run = replace(run, **changes)
        assert app.runs.create(run)
        return run

    return make


@pytest.fixture
def make_line(app: App, key: str) -> Callable[..., Line]:
    def make(name: str = "", **changes: Any) -> Line:
        line = Line(id=f"l{key}{name}", folder=f"faq-{key}", base_model="Phi-4", endpoint=f"faq-{key}{name}")
        line = replace(line, **changes)
        assert app.lines.create(line)
        return line

    return make


@pytest.fixture
def model(app: App, key: str) -> str:
    """A model that is registered."""
    made = Model(
        name=f"m-{key}", version=f"r{key}a-1", path="azureml://datastores/prepared/paths/x", type="mlflow_model"
    )
    app.cloud.clients.ml.models.create_or_update(made)
    return f"m-{key}:r{key}a-1"


def serving(run: str, model: str = "m:1", **changes: Any) -> Serving:
    base = Serving(run=run, deployment=f"{run}-1", model=model, fingerprint="f", since=NOW, uploaded=NOW)
    return replace(base, **changes)


def run_of(app: App, run: str | Run) -> Run:
    loaded = app.runs.load(run if isinstance(run, str) else run.id)
    assert loaded
    return loaded[0]


def line_of(app: App, line: Line) -> Line:
    loaded = app.lines.load(line.id)
    assert loaded
    return loaded[0]


def woken(app: App, run: str | Run, queue: str = STEPS_QUEUE) -> int:
    """How often the run was woken by nobody's timer."""
    wanted = {"run": run if isinstance(run, str) else run.id, "token": None}
    client = app.cloud.clients.queue_service.get_queue_client(queue)
    return sum(json.loads(base64.b64decode(each.content)) == wanted for each in client.peek_messages(32))


@pytest.fixture(autouse=True)
def quiet(app: App) -> None:
    """Queues without what other tests sent: only 32 messages can be peeked at."""
    for queue in (STEPS_QUEUE, PREPARE_QUEUE):
        app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()


def new_run(app: App, told: str) -> Run:
    """The run that an answer names."""
    return run_of(app, next(word for word in told.split() if len(word) == 16 and word.startswith("r")))


# Retry ---------------------------------------------------------------------------------------------------------------


def test_a_parked_run_goes_on_where_it_was(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING, parked="a bug", parked_at=NOW, crashes=3, job="j")
    assert "goes on" in commands.retry(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.parked, now.parked_at, now.crashes) == ("", None, 0)
    assert (now.phase, now.attempt, now.job) == (Phase.TRAINING, 1, "j")
    assert "ada" in now.history[-1].what
    assert woken(app, run) == 1


def test_a_run_that_works_is_only_looked_at(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING, waiting="the job's event")
    assert "waits for the job's event" in commands.retry(app, run.id)
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
        loaded[0],
        phase=Phase.FAILED,
        reason="the job failed",
        job="j",
        faults=0,
        fingerprint="f",
        in_job=True,
        wake=None,
    )
    app.runs.save(failed, loaded[1])
    app.runs.retire(run_id)
    commands.retry(app, run_id, by="ada")
    now = run_of(app, run_id)
    assert (now.phase, now.attempt, now.reason) == (Phase.RECEIVED, 2, "")
    assert (now.job, now.faults, now.fingerprint, now.in_job, now.prepared) == ("", None, "", False, f"{run_id}/2")
    assert "asked for by ada" in now.history[-1].what
    assert "the job failed" in now.history[-1].what
    assert run_id in {each for each, _ in app.runs.active()}
    assert woken(app, run_id, PREPARE_QUEUE) == 1
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW * 21)
    app.runs.save(replace(now, phase=Phase.FAILED), _etag(app, run_id))
    with pytest.raises(Permanent, match="upload the dataset again"):
        commands.retry(app, run_id)


def _etag(app: App, run_id: str) -> str:
    loaded = app.runs.load(run_id)
    assert loaded
    return loaded[1]


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
    commands.retry(app, run.id)
    now = run_of(app, run)
    assert (now.phase, now.attempt, now.model, now.job) == (Phase.REGISTERED, 2, model, "j")
    assert (now.passed, now.scores, now.approved, now.checks, now.deployment) == (None, None, "", {}, "")
    assert now.prepared == f"{run.id}/1", "the rows that it was not trained on lie where they were"
    assert now.untold == (), "it was told before that this model was registered"
    assert woken(app, run) == 1
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(replace(now, phase=Phase.FAILED), loaded[1])
    commands.retry(app, run.id)
    assert run_of(app, run).attempt == 3
    assert run_of(app, run).prepared == f"{run.id}/1"


@pytest.mark.parametrize(
    ("phase", "told"),
    [(Phase.LIVE, "revive"), (Phase.REJECTED, "upload corrected data")],
)
def test_what_can_not_be_retried(app: App, make_run: Callable[..., Run], phase: Phase, told: str) -> None:
    run = make_run(phase=phase)
    with pytest.raises(Permanent, match=told):
        commands.retry(app, run.id)
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
    app.runs.save(replace(run, phase=Phase.UNCHANGED), _etag(app, run.id))
    assert f"model {model} is deployed" in commands.retry(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.phase, now.attempt, now.model, now.job) == (Phase.REGISTERED, 2, model, "j")
    assert (now.prepared, now.origin) == (f"{twin.id}/2", ""), "the gate asks with rows that it was not trained on"
    assert woken(app, run) == 1
    app.runs.save(replace(now, phase=Phase.UNCHANGED), _etag(app, run.id))
    _, etag = app.lines.load(line.id) or (None, "")
    app.lines.save(replace(line, serving=serving("r1", fingerprint="v1")), etag)
    assert _trained(app, run).endswith("and it serves")
    with pytest.raises(Permanent, match="nothing to train"):
        commands.retry(app, run.id)


def test_data_of_what_was_torn_down_are_served_by_a_revival(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    note_trained(app, make_run("t", phase=Phase.LIVE, model=model, fingerprint="v1"))
    line = make_line(latest=serving("rt", model=model, fingerprint="v1"))
    run = make_run(faults=0, fingerprint="v1", uploaded=NOW + timedelta(1))
    assert f"droptune revive {line.id}" in _trained(app, run)
    assert "serves" in commands.revive(app, line.id)


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
        commands.retry(app, old.id)
    _, etag = app.runs.load(new.id) or (None, "")
    app.runs.save(replace(new, phase=Phase.FAILED), etag)
    commands.retry(app, old.id)
    assert run_of(app, old).phase is Phase.REGISTERED
    assert line_of(app, line).heading is None, "a newer one that failed supersedes nobody"


def test_an_older_run_does_not_come_back_over_what_went_live(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    old = make_run(phase=Phase.FAILED, model=model)
    make_line(latest=serving("rnew", uploaded=NOW + timedelta(1)))
    with pytest.raises(Permanent, match="rnew is newer and went live"):
        commands.retry(app, old.id)


# Cancel --------------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_is_left_to_the_loop(app: App, make_run: Callable[..., Run]) -> None:
    claim = Claim(action="train", until=NOW, holder="h")
    run = make_run(phase=Phase.TRAINING, claim=claim, parked="a bug")
    assert "its job is cancelled" in commands.cancel(app, run.id, by="ada")
    now = run_of(app, run)
    assert (now.ending, now.reason, now.claim, now.parked) == (Phase.CANCELLED, "cancelled by ada", claim, "")
    assert woken(app, run) == 1
    assert "ending already, as cancelled" in commands.cancel(app, run.id, by="eve")
    assert run_of(app, run) == now


@pytest.mark.parametrize("phase", ENDS)
def test_an_end_can_not_be_cancelled(app: App, make_run: Callable[..., Run], phase: Phase) -> None:
    with pytest.raises(Permanent, match=f"has ended as {phase}"):
        commands.cancel(app, make_run(phase=phase).id)


def test_what_serves_is_rolled_back_and_not_cancelled(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    run = make_run(phase=Phase.CHECKING)
    make_line(serving=serving(run.id))
    with pytest.raises(Permanent, match="droptune rollback"):
        commands.cancel(app, run.id)
    assert run_of(app, run) == run


# Approve -------------------------------------------------------------------------------------------------------------


def test_a_run_that_passed_is_approved_once(app: App, make_run: Callable[..., Run]) -> None:
    manual = Promotion(approve="manual")
    run = make_run(phase=Phase.CHECKING, promotion=manual, scores=PASSED, passed=True, held="approval")
    assert "if it still answers" in commands.approve(app, run.id, by="ada\n")
    now = run_of(app, run)
    assert (now.approved, now.held, now.waiting) == ("ada", "", "")
    assert (now.passed, now.scores) == (None, PASSED), "it is asked once more, and not compared again"
    assert now.begun > run.since
    assert woken(app, run) == 1
    assert "approved by ada already" in commands.approve(app, run.id, by="eve")
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
        commands.approve(app, run.id, by="ada")
    assert run_of(app, run) == run


def test_an_approval_does_not_come_between_an_action_and_its_save(app: App, make_run: Callable[..., Run]) -> None:
    """Whoever acts would save over it; what a crash has left is over after a while."""
    manual, now = Promotion(approve="manual"), app.cloud.blobs.now()
    claim = Claim(action="ask", until=now + timedelta(minutes=1))
    run = make_run(phase=Phase.CHECKING, promotion=manual, scores=PASSED, claim=claim)
    with pytest.raises(Conflict):
        commands.approve(app, run.id)
    assert run_of(app, run) == run
    old = replace(claim, until=now - timedelta(minutes=1))
    run = make_run("b", phase=Phase.CHECKING, promotion=manual, scores=PASSED, claim=old)
    commands.approve(app, run.id)
    assert run_of(app, run).approved


# Lines ---------------------------------------------------------------------------------------------------------------


def test_a_rollback_is_one_run_however_often_it_is_asked_for(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    origin = make_run("a", phase=Phase.LIVE, model=model, job="j", fingerprint="f1", rows={"test": 3})
    latest = serving("rb", uploaded=NOW + timedelta(1))
    line = make_line(serving=latest, latest=latest, before=serving(origin.id, model))
    told = commands.rollback(app, line.id, by="ada")
    run = new_run(app, told)
    assert model in told
    assert (run.phase, run.model, run.origin, run.job) == (Phase.REGISTERED, model, origin.id, "j")
    assert (run.prepared, run.fingerprint, run.line) == (f"{origin.id}/1", "f1", line.id)
    assert latest.order < run.order < (latest.uploaded + timedelta(seconds=1), 0), "the newest until the next upload"
    assert "ada" in run.history[-1].what
    assert run.id in {each for each, _ in app.runs.active()}
    assert "already" in commands.rollback(app, line.endpoint, by="eve")
    assert run_of(app, run) == run
    assert woken(app, run) == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"phase": Phase.CHECKING, "waiting": "an approval: droptune approve", "held": "approval"}, True),
        ({"phase": Phase.REGISTERED, "waiting": "quota: 1 instance (X) take 24 vCPUs of Y, of which 0 of 0"}, True),
        ({"phase": Phase.CHECKING, "parked": "a bug"}, True),
        ({"phase": Phase.DEPLOYING, "waiting": "the deployment"}, False),
    ],
)
def test_a_rollback_tells_of_the_run_that_holds_the_line(
    app: App,
    make_run: Callable[..., Run],
    make_line: Callable[..., Line],
    model: str,
    changes: dict[str, Any],
    *,
    named: bool,
) -> None:
    """It may wait for ever: for an approval that nobody wants to give, or for quota."""
    other = make_run("n", uploaded=NOW + timedelta(1), **changes)
    line = make_line(rollout=other.id, serving=serving("r2"), latest=serving("r2"), before=serving("r1", model))
    told = commands.rollback(app, line.id)
    run = new_run(app, told)
    assert f"after the rollout of run {other.id}" in told
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, Rollout)
    assert f"the rollout of run {other.id}" in (seen.busy or "")
    for text in (told, seen.busy or ""):
        assert (f"droptune cancel {other.id}" in text) is named


def test_a_rollback_that_failed_is_tried_again(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    origin, latest = make_run("a", phase=Phase.LIVE, model=model), serving("rb", uploaded=NOW + timedelta(1))
    line = make_line(serving=latest, latest=latest, before=serving(origin.id, model))
    run = new_run(app, commands.rollback(app, line.id))
    app.runs.save(replace(run, phase=Phase.ROLLED_BACK), _etag(app, run.id))
    commands.rollback(app, line.id, by="ada")
    again = run_of(app, run)
    assert (again.phase, again.attempt, again.prepared) == (Phase.REGISTERED, 2, f"{origin.id}/1")


def test_back_and_forth_are_runs_of_their_own(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    """Back to the first, then to the second, then a third upload, and back to the first again."""
    make_run("a", phase=Phase.LIVE, model=model)
    first, second = (
        serving(make_run("x", phase=Phase.LIVE).id, model),
        serving("rb", model, uploaded=NOW + timedelta(1)),
    )
    line = make_line(serving=second, latest=second, before=first)
    back = new_run(app, commands.rollback(app, line.id))
    lives = serving(back.id, model, uploaded=back.uploaded, ordinal=back.ordinal)
    app.runs.save(replace(back, phase=Phase.LIVE), _etag(app, back.id))
    _, etag = app.lines.load(line.id) or (None, "")
    etag = app.lines.save(replace(line, serving=lives, latest=lives, before=second), etag)
    forth = new_run(app, commands.rollback(app, line.id))
    assert forth.order > back.order
    third = serving("rc", uploaded=NOW + timedelta(2))
    app.lines.save(replace(line, serving=third, latest=third, before=lives), etag)
    again = new_run(app, commands.rollback(app, line.id))
    assert len({back.id, forth.id, again.id}) == 3
    assert again.origin == first.run, "whatever it was served by in between"


def test_a_rollback_needs_no_record_of_the_run(app: App, make_line: Callable[..., Line], model: str) -> None:
    latest = serving("rb", uploaded=NOW + timedelta(1))
    line = make_line(serving=latest, latest=latest, before=serving("rlost", model))
    run = new_run(app, commands.rollback(app, line.id))
    assert (run.prepared, run.fingerprint, run.origin) == ("rlost/1", "f", "rlost")


def test_a_rollback_needs_no_record_that_can_be_read(app: App, make_line: Callable[..., Line], model: str) -> None:
    origin = f"rbroken{model[-6:]}"
    app.cloud.blobs.write("state", f"runs/{origin}.json", b"{")
    latest = serving("rb", uploaded=NOW + timedelta(1))
    line = make_line(serving=latest, latest=latest, before=serving(origin, model))
    assert new_run(app, commands.rollback(app, line.id)).prepared == f"{origin}/1"
    app.cloud.blobs.delete("state", f"runs/{origin}.json")


def test_what_can_not_be_rolled_back(app: App, make_line: Callable[..., Line]) -> None:
    with pytest.raises(Permanent, match="nothing to roll back to"):
        commands.rollback(app, make_line("a", serving=serving("ra"), latest=serving("ra")).id)
    gone = make_line("b", serving=serving("rb"), latest=serving("rb"), before=serving("ra", "nomodel:1"))
    with pytest.raises(Permanent, match="nomodel:1 is gone"):
        commands.rollback(app, gone.id)


def test_a_line_that_was_torn_down_is_revived(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line], model: str
) -> None:
    origin = make_run("a", phase=Phase.LIVE, model=model)
    line = make_line(latest=serving(origin.id, model), emptied=NOW)
    run = new_run(app, commands.revive(app, line.folder, by="ada"))
    assert (run.phase, run.model, run.origin, run.ordinal) == (Phase.REGISTERED, model, origin.id, 1)
    with pytest.raises(Permanent, match="has served nothing yet"):
        commands.revive(app, make_line("b", folder="other").id)
    with pytest.raises(Permanent, match="serves m:1 at endpoint"):
        commands.revive(app, make_line("c", folder="other", serving=serving("rc"), latest=serving("rc")).id)


def test_a_line_that_is_pinned_holds_newer_runs_until_it_is_not(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    line = make_line(serving=serving("ra"), latest=serving("ra"))
    held = make_run("h", phase=Phase.REGISTERED, held="pin")
    other = make_run("o", phase=Phase.REGISTERED)
    assert "is pinned to m:1" in commands.pin(app, line.id, by="ada")
    assert line_of(app, line).pinned == "ada"
    assert "already, by ada" in commands.pin(app, line.id, by="eve")
    assert held.id in commands.unpin(app, line.id)
    assert line_of(app, line).pinned == ""
    assert (woken(app, held), woken(app, other)) == (1, 0)
    commands.unpin(app, line.id)
    assert woken(app, held) == 2, "the first may have died before it woke anybody"


def test_a_line_that_serves_nothing_can_not_be_pinned(app: App, make_line: Callable[..., Line]) -> None:
    with pytest.raises(Permanent, match="serves nothing"):
        commands.pin(app, make_line().id)


def test_a_folder_with_two_lines_is_not_clear(app: App, make_line: Callable[..., Line]) -> None:
    first, second = make_line("a"), make_line("b", base_model="Phi-3")
    with pytest.raises(Permanent, match=rf"{first.id} \(Phi-4\), {second.id} \(Phi-3\)"):
        commands.pin(app, first.folder)


@pytest.mark.parametrize("name", ["rnone", "", "../runs/r1", "a b", "ü", "x" * 2000])
def test_what_does_not_exist_is_told(app: App, name: str) -> None:
    with pytest.raises(NotFound, match="droptune runs"):
        commands.retry(app, name)
    with pytest.raises(NotFound, match="name one by its id"):
        commands.pin(app, name)


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
            app.runs.save(replace(now, crashes=now.crashes + 1), _etag(app, run.id))
            left = rest
        return send(request, **options)

    monkeypatch.setattr(transport, "send", raced)
    commands.cancel(app, run.id)
    now = run_of(app, run)
    assert (now.ending, now.crashes, left) == (Phase.CANCELLED, 2, 0)
    run, left = make_run("b", phase=Phase.TRAINING), 100
    with pytest.raises(Conflict, match="try again in a minute"):
        commands.cancel(app, run.id)
    assert run_of(app, run).ending is None


# Over HTTP -----------------------------------------------------------------------------------------------------------


def test_answers_are_json_with_a_status(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING)

    def asked(command: str, key: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str]]:
        status, answer = requests.on_run(app, command, key, body, headers)
        return status, json.loads(answer)

    assert asked("cancel", "rnone")[0] == 404
    assert asked("dance", run.id) == (404, {"error": "there is no command dance: there are retry, cancel, approve"})
    assert asked("approve", run.id)[0] == 409
    for bad in (b"[]", b"{", b'{"by": 3}', b"x" * 5000, b"\xff"):
        assert asked("cancel", run.id, bad)[0] == 400, bad
    assert run_of(app, run) == run
    status, answer = asked("cancel", run.id, b'{"by": "ada\\u0007 l"}')
    assert (status, list(answer)) == (200, ["told"])
    assert run_of(app, run).reason == "cancelled by ada l"
    status, answer_ = requests.on_line(app, "pin", "lnone", b"", {})
    assert (status, b"lnone" in answer_) == (404, True)


def test_who_is_signed_in_counts_more_than_what_is_said(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING)
    requests.on_run(app, "cancel", run.id, b'{"by": "eve"}', {requests.PRINCIPAL: "ada@example.org"})
    assert run_of(app, run).reason == "cancelled by ada@example.org"


def test_the_functions_take_what_the_host_gives_them(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING)
    assert this_process().runs.load(run.id)
    try:
        answers = [
            function.build().get_user_function()(
                HttpRequest(method="POST", url="/", route_params={"id": key, "command": command}, body=b'{"by": "ada"}')
            )
            for function, key, command in (
                (functions.command_run, run.id, "cancel"),
                (functions.command_line, "lnone", "Pin"),
            )
        ]
    finally:
        this_process().cloud.close()
        this_process.cache_clear()
    assert [answer.status_code for answer in answers] == [200, 404]
    assert [answer.mimetype for answer in answers] == ["application/json"] * 2
    assert run_of(app, run).reason == "cancelled by ada"
