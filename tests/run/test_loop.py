"""The loop over the local cloud, message by message, without a host: what ends a run, and who may work on it.

Nothing here trains to the end; tests/test_whole_way.py does.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared import naming
from shared.api import views
from shared.api.run_commands import cancel, retry
from shared.app import App
from shared.cloud import blobs
from shared.intake.arrivals import look_into
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.messages import park, step
from shared.records import layout
from shared.records.base import CLOCKS, Order, Wake
from shared.records.layout import DATASETS
from shared.records.line import Line, Standing
from shared.records.run import Attempt, Claim, Deployed, Ending, Run, Source, Waiting
from shared.run import slots
from shared.run.loop import advance
from tests.kit.azureml import MODEL
from tests.kit.carried import EMPTY
from tests.kit.clouds import forget
from tests.kit.loop import driven, received
from tests.kit.ours import made_for, of_line
from tests.kit.records import changed, events_of, line_of, run_of, serving, woken
from tests.kit.rows import chats
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually


def ended_by_hand(app: App, run: Run) -> None:
    """A run that trains gives its slot back."""
    cancel(app, run.id)
    driven(app, run, lambda r: r.phase.ended)


def made_by_hand(app: App, name: str, size: str, *identities: str) -> None:
    """A cluster as a person makes it, with these identities."""
    from azure.ai.ml.entities import AmlCompute, IdentityConfiguration, ManagedIdentityConfiguration

    configured = [ManagedIdentityConfiguration(resource_id=each) for each in identities]
    identity = IdentityConfiguration(type="user_assigned", user_assigned_identities=configured)
    app.cloud.clients.ml.compute.begin_create_or_update(AmlCompute(name=name, size=size, identity=identity))


def jobs(stack: Stack) -> int:
    return sum(1 for e in stack.control("GET", "/_local/ledger") if e.get("kind") == "jobs" and e["method"] == "PUT")


def test_bad_rows_are_named_and_nothing_is_launched(quick: App, folder: str, cloud: Stack) -> None:
    before = jobs(cloud)
    quick.cloud.blobs.write(DATASETS, f"{folder}/README.md", b"---\nlicense: cc-by-nc-4.0\n---\n")
    run = received(quick, folder, chats(12) + b"oops\n" + b'{"messages": []}\n')
    ended = driven(quick, run, lambda r: r.phase.ended)
    assert ended.phase is Phase.REJECTED
    assert "line 13" in ended.why
    assert ended.attempt.data
    assert ended.attempt.data.rejected == ended.why
    report = json.loads(quick.cloud.blobs.read("prepared", f"{run.prepared}/report.json")[0])
    assert sum(report["by_rule"].values()) == 2
    assert report["warnings"] == {"licence": 1}, "the card in the folder forbids it"
    assert [(fault["line"], fault["rule"]) for fault in report["faults"]] == [(13, "not_json"), (14, "empty_messages")]
    assert quick.cloud.blobs.head("prepared", f"{run.prepared}/train.jsonl") is None
    assert jobs(cloud) == before


def test_what_is_secret_in_the_data_is_shown_nowhere(
    quick: App, folder: str, cloud: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    token, mail = f"ghp_{'Zx9kQm4tRv7Lp2Ws' * 2}aB3d", "jane.roe@contoso.com"
    good = json.dumps({"messages": [{"role": "user", "content": mail}, {"role": "assistant", "content": token}]})
    with caplog.at_level("DEBUG", logger="droptune"):
        run = received(quick, folder, chats(12) + good.encode() + b"\n" + good[:-2].encode() + b"\n")
        ended = driven(quick, run, lambda r: r.phase.ended)
    assert (ended.phase, "secret" in ended.why) == (Phase.REJECTED, True)
    blobs_ = quick.cloud.blobs
    kept = [blobs_.read(layout.PREPARED, blob.name)[0] for blob in blobs_.list(layout.PREPARED, f"{run.prepared}/")]
    assert len(kept) >= 2, "a report, as JSON and as a page"
    kept += [blobs_.read(layout.STATE, f"runs/{run.id}.json")[0], views.run(quick, run.id)[1]]
    kept += [json.dumps(events_of(cloud, ended)).encode(), caplog.text.encode(), views.status(quick)[1]]
    assert not [each for each in kept if token.encode() in each or mail.encode() in each]


@pytest.mark.parametrize(("name", "data"), [("train.jsonl", b"oops\n"), ("finetune.yaml", b"modle: Phi-4\n")])
def test_a_rejected_dataset_is_sent_once(quick: App, folder: str, cloud: Stack, name: str, data: bytes) -> None:
    quick.cloud.blobs.write(DATASETS, f"{folder}/{name}", data)
    look_into(quick, folder)
    listed, _ = quick.runs.summaries(100)
    (found,) = [each for each in listed if each.folder == folder]
    ended = driven(quick, run_of(quick, found.id), lambda r: r.phase.ended)
    for _ in range(2):
        advance(quick, ended.id, None)
    assert [(event["type"], event["data"]["reason"]) for event in events_of(cloud, ended)] == [
        ("Droptune.Dataset.Rejected", ended.why)
    ]
    assert run_of(quick, ended.id).outbox == ()


@pytest.mark.parametrize(
    ("spec", "settings", "told"),
    [
        (b"model: Phi-5-imagined\ntrain: train.jsonl\n", {}, "finetune.yaml, line 1, column 8: model Phi-5-"),
        (
            b"model: Phi-3-medium-4k-instruct\ntrain: train.jsonl\n",
            {},
            "finetune.yaml, line 1, column 8: model Phi-3-medium-4k-instruct:6 has retired",
        ),
        (b"train: train.jsonl\n", {"FINETUNE_COMPONENT": "no_such_component"}, "no_such_component"),
        (b"train: train.jsonl\n", {"FINETUNE_SIZE": "Standard_NC6"}, "FINETUNE_SIZE"),
        (b"train: train.jsonl\n", {"SERVING_SIZE": "Standard_NC6"}, "SERVING_SIZE"),
        (b"train: train.jsonl\nparameters: {num_train_epochs: 0}\n", {}, "finetune.yaml, line 2, column 32: "),
        (
            b"train: train.jsonl\nparameters:\n  lerning_rate: 1\n  seed: x\n",
            {},
            "finetune.yaml, line 3, column 3: parameters: 'lerning_rate' is not a parameter; did you mean "
            "learning_rate?; line 4, column 9: parameters: seed is 'x' (from finetune.yaml); it must be a whole number",
        ),
    ],
)
def test_what_can_not_run_ends_as_failed_before_anything_is_launched(
    quick: App, folder: str, cloud: Stack, spec: bytes, settings: dict[str, Any], told: str
) -> None:
    app, before = with_settings(quick, **settings), jobs(cloud)
    ended = driven(app, received(app, folder, spec=spec), lambda r: r.phase.ended)
    assert ended.phase is Phase.FAILED
    assert told in ended.why
    assert jobs(cloud) == before


def test_a_compute_in_state_failed_ends_the_run(quick: App, folder: str, cloud: Stack) -> None:
    before = jobs(cloud)
    settings = quick.settings.training
    quick.cloud.computes.create(settings.gpu_compute, settings.gpu_size, 1000, settings.identity)
    ended = driven(quick, received(quick, folder), lambda r: r.phase.ended)
    assert ended.phase is Phase.FAILED
    assert "provisioning" in ended.why
    assert jobs(cloud) == before
    assert "delete it if nobody's jobs run on it" in ended.why
    quick.cloud.clients.ml.compute.begin_delete(settings.gpu_compute)
    assert "then droptune retry" in ended.why
    retry(quick, ended.id)
    ended_by_hand(quick, driven(quick, ended, lambda r: r.phase is Phase.TRAINING))


def test_a_cluster_that_is_missing_is_asked_for_and_not_made(quick: App, folder: str, cloud: Stack) -> None:
    before = jobs(cloud)
    app = with_settings(quick, CREATE_CLUSTERS=False, FINETUNE_NODES=2, MAX_ACTIVE_JOBS=3)
    cluster = app.settings.training.cpu_compute
    ended = driven(app, received(quick, folder), lambda r: r.phase.ended)
    assert ended.phase is Phase.FAILED
    assert f"az ml compute create --type AmlCompute --name {cluster}" in ended.why
    assert "--max-instances 6 " in ended.why
    assert quick.cloud.computes.get(cluster) is None
    assert jobs(cloud) == before


def test_a_cluster_that_the_app_makes_has_room_for_all_jobs_at_once(quick: App, folder: str) -> None:
    app = with_settings(quick, FINETUNE_NODES=2, MAX_ACTIVE_JOBS=3)
    run = driven(app, received(quick, folder), lambda r: r.phase is Phase.TRAINING)
    ended_by_hand(quick, run)
    made = quick.cloud.clients.ml.compute.get(app.settings.training.gpu_compute)
    assert (made.min_instances, made.max_instances) == (0, 6)


def test_a_cluster_that_the_app_makes_is_no_larger_than_quota_allows(quick: App, folder: str) -> None:
    """More than that Azure would refuse, and with it the run, although there is room for some jobs."""
    many = with_settings(quick, MAX_ACTIVE_JOBS=1000)
    ended_by_hand(quick, driven(many, received(many, folder), lambda r: r.phase is Phase.TRAINING))
    made = quick.cloud.clients.ml.compute.get(quick.settings.training.gpu_compute)
    assert made.max_instances == 192 // 24, "of the local cloud's limit for that family"


@pytest.mark.parametrize("others", [0, 1])
def test_a_cluster_has_to_have_the_identity_that_jobs_run_as(
    quick: App, folder: str, cloud: Stack, others: int
) -> None:
    """Without it the job would queue for a GPU and then find no data; with others beside it that is only told."""
    before, settings = jobs(cloud), quick.settings.training
    identities = [f"{settings.identity}-other", settings.identity][: 1 + others]
    for name, size in ((settings.cpu_compute, settings.cpu_size), (settings.gpu_compute, settings.gpu_size)):
        made_by_hand(quick, name, size, *identities)
    seen = driven(quick, received(quick, folder), lambda r: r.phase.ended or r.phase is Phase.TRAINING)
    if others:
        assert seen.phase is Phase.TRAINING
        assert seen.attempt.plan
        assert len([note for note in seen.attempt.plan.notes if "2 identities" in note]) == 2
        ended_by_hand(quick, seen)
    else:
        assert seen.phase is Phase.FAILED
        assert f"az ml compute update --name {settings.cpu_compute}" in seen.why
        assert jobs(cloud) == before


def test_a_run_waits_for_quota_and_says_how_much(quick: App, folder: str, cloud: Stack) -> None:
    before = jobs(cloud)
    app = with_settings(quick, FINETUNE_NODES=1000)
    waiting = driven(app, received(app, folder), lambda r: r.waiting and "vCPUs" in r.waiting.why)
    assert waiting.phase is Phase.PREPARED
    assert waiting.wake
    assert jobs(cloud) == before
    stored = app.runs.load(waiting.id)
    assert stored
    advance(app, waiting.id, None)
    assert app.runs.load(waiting.id) == stored, "a wake that finds nothing new writes nothing"
    app.runs.save(replace(stored.record, waiting=None), stored.etag)  # or all that come after it would give way to it
    app.cloud.blobs.delete("state", f"active/{waiting.id}")


def test_a_job_that_is_cancelled_ends_the_run_with_a_reason(quick: App, folder: str) -> None:
    training = driven(quick, received(quick, folder), lambda r: r.phase is Phase.TRAINING)
    job = quick.cloud.jobs.get(training.attempt.job)
    assert job
    assert job.tags["droptune.run"] == training.id
    quick.cloud.jobs.cancel(training.attempt.job)
    ended = driven(quick, training, lambda r: r.phase.ended, 60)
    assert ended.phase is Phase.FAILED
    assert "Canceled" in ended.why
    assert ended.id not in set(quick.runs.active())


def test_a_job_that_trains_for_too_long_is_cancelled(quick: App, folder: str, cloud: Stack) -> None:
    cloud.control("POST", "/_local/pretend", {"jobs": {"seconds": 3600}})
    try:
        training = driven(quick, received(quick, folder), lambda r: r.phase is Phase.TRAINING)
        impatient = with_settings(quick, MAX_TRAINING_HOURS=0)
        ended = driven(impatient, training, lambda r: r.phase.ended, 60)
    finally:
        cloud.control("DELETE", "/_local/pretend")
    assert ended.why == "the job took longer than MAX_TRAINING_HOURS (0 hours), and was cancelled"
    job = quick.cloud.jobs.get(training.attempt.job)
    assert job
    assert job.status == "Canceled"


def test_a_deployment_that_fails_is_rolled_back_and_its_log_kept(quick: App, folder: str) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment

    run, endpoints = received(quick, folder), quick.cloud.endpoints
    loaded = quick.runs.load(run.id)
    assert loaded
    name = naming.deployment_name(run.id, 1)
    line = Line(
        id=run.line,
        folder=folder,
        base_model=run.source.base_model,
        endpoint=folder,
        installation=run.installation,
        rollout=run.id,
    )
    endpoints.create(folder, tags=of_line(line))
    eventually(lambda: (found := endpoints.get(folder)) and found.state == "Succeeded")
    broken = ManagedOnlineDeployment(
        name=name,
        endpoint_name=folder,
        model=MODEL,
        instance_type="Standard_DS3_v2",
        instance_count=1,
        environment_variables={"GUNICORN_CMD_ARGS": "--no-such-option"},
        tags=made_for(line, name),
    )
    quick.cloud.clients.ml.online_deployments.begin_create_or_update(broken)
    quick.lines.create(line)
    deployed = Deployed(endpoint=folder, name=name)
    quick.runs.save(changed(run, phase=Phase.DEPLOYING, deployed=deployed), loaded.etag)

    ended = driven(quick, run, lambda r: r.phase.ended, 60)
    assert ended.phase is Phase.ROLLED_BACK
    assert "the deployment failed" in ended.why
    assert b"no-such-option" in quick.cloud.blobs.read("state", f"logs/{name}.txt")[0]
    eventually(lambda: endpoints.deployments(folder) == [])
    assert line_of(quick, run).rollout == ""


def test_a_stale_timer_does_nothing(quick: App, folder: str) -> None:
    run = received(quick, folder)
    advance(quick, run.id, "another token")
    assert run_of(quick, run.id) == run


def test_a_run_that_somebody_works_on_is_left_to_them_until_the_claim_runs_out(quick: App, folder: str) -> None:
    run = received(quick, folder)
    loaded = quick.runs.load(run.id)
    assert loaded
    now = quick.cloud.blobs.now()
    claimed = replace(run, claim=Claim(action=Action.PREPARE_DATA, until=now + timedelta(minutes=1)))
    etag = quick.runs.save(claimed, loaded.etag)
    advance(quick, run.id, None)
    assert run_of(quick, run.id) == claimed
    quick.runs.save(replace(claimed, claim=Claim(action=Action.PREPARE_DATA, until=now - timedelta(seconds=1))), etag)
    advance(quick, run.id, None)
    assert run_of(quick, run.id).phase is Phase.PREPARED


def test_an_overwritten_dataset_ends_the_run_of_the_old_one(quick: App, folder: str) -> None:
    run = received(quick, folder)
    quick.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(21))
    assert driven(quick, run, lambda r: r.phase.ended).phase is Phase.SUPERSEDED


def test_the_rest_of_an_upload_is_waited_for_and_taken(quick: App, folder: str) -> None:
    app = with_settings(quick, SETTLE_TIME=timedelta(seconds=2))
    run = received(app, folder)
    advance(app, run.id, None)
    waiting = run_of(app, run.id)
    assert waiting.phase is Phase.RECEIVED
    assert waiting.wake == run.wake, "an event arms no second timer"
    app.cloud.blobs.write(DATASETS, f"{folder}/test.jsonl", chats(3))
    prepared = driven(app, run, lambda r: r.phase is not Phase.RECEIVED)
    assert prepared.source.test
    assert prepared.attempt.data
    assert prepared.attempt.data.rows["test"] == 3


def test_an_end_is_an_end(quick: App, folder: str) -> None:
    ended = driven(quick, received(quick, folder, b"oops\n"), lambda r: r.phase.ended)
    advance(quick, ended.id, None)
    assert run_of(quick, ended.id) == ended


@pytest.mark.parametrize("token", ["t", None])
def test_a_standstill_is_none_of_a_runs_time_whoever_ends_it_and_costs_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    """Its timer, which comes late, or an event."""
    monkeypatch.setattr(blobs, "_FRESH_SECONDS", 3600)  # a slow machine asks no more often what time it is

    def turn(late: timedelta) -> tuple[Run, Run, int]:
        now = app.cloud.blobs.now()
        before = Run(
            id=f"r{uuid4().hex[:15]}",
            line="none",
            order=Order(uploaded=now),
            source=Source(folder="none", base_model="Phi-4"),
            since=now - late - timedelta(hours=1),  # its limit is not over
            phase=Phase.CHECKING,
            attempt=Attempt(deployed=Deployed(endpoint="none", name="none")),
            wake=Wake(token="t", due=now - late - CLOCKS),  # the service's time is good to a second: it is due for all
        )
        app.runs.create(before)
        with requests_of(app) as counted:
            advance(app, before.id, token)
        return before, run_of(app, before.id), counted.requests

    app.cloud.endpoints.get("none")  # clients are made
    turn(timedelta(0))
    before, after, usual = turn(timedelta(0))
    assert after.begun == before.begun
    before, after, late = turn(timedelta(days=1))
    assert abs(after.begun - before.begun - timedelta(days=1)) < timedelta(minutes=1)
    assert late == usual
    advance(app, before.id, "t")
    assert run_of(app, before.id) == after, "the same message once more is a stale one"


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"run": 3}', b'{"run": "r1"}'])
def test_a_malformed_wake_up_raises(quick: App, body: bytes) -> None:
    with pytest.raises(ValueError, match="wake-up message"):
        step(quick, body)


def test_a_poisoned_message_is_kept_and_parks_its_run(quick: App, folder: str) -> None:
    run = received(quick, folder)
    message = json.dumps({"run": run.id, "token": None}).encode()
    park(quick, "run-steps", "m1", message)
    parked = run_of(quick, run.id).parked
    assert parked
    assert "poison/run-steps/m1" in parked.why
    assert quick.cloud.blobs.read("state", "poison/run-steps/m1")[0] == message
    park(quick, "run-steps", "m2", b"no json")
    assert quick.cloud.blobs.read("state", "poison/run-steps/m2")[0] == b"no json"


def test_a_bug_is_counted_by_the_queue_and_holds_nothing_back(quick: App, folder: str, cloud: Stack) -> None:
    """A test file that somebody broke by hand: no rule covers it, so the message has to come again, and poison."""
    run = received(quick, folder)
    loaded = quick.runs.load(run.id)
    assert loaded
    quick.cloud.blobs.write("prepared", layout.part_of(run.prepared, "test"), b"broken\n")
    cloud.control("POST", "/_local/pretend", {"deployments": {"seconds": 0, "match": "/d-1$"}})
    quick.cloud.endpoints.create(folder)
    eventually(lambda: (found := quick.cloud.endpoints.get(folder)) and found.state == "Succeeded")
    quick.cloud.endpoints.deploy(folder, "d-1", MODEL, "Standard_DS3_v2", 1)
    timer = Wake(token="due", due=quick.cloud.blobs.now())
    deployed = Deployed(endpoint=folder, name="d-1")
    quick.runs.save(changed(run, phase=Phase.CHECKING, deployed=deployed, wake=timer), loaded.etag)
    for _ in range(3):
        with pytest.raises(msgspec.DecodeError):
            advance(quick, run.id, "due")
        assert run_of(quick, run.id).claim is None
    park(quick, "run-steps", uuid4().hex, json.dumps({"run": run.id, "token": "due"}).encode())
    assert run_of(quick, run.id).parked
    quick.cloud.blobs.delete("state", f"active/{run.id}")
    quick.cloud.endpoints.delete(folder)
    cloud.control("DELETE", "/_local/pretend")


def test_what_always_dies_in_the_middle_is_parked(quick: App, folder: str) -> None:
    run = received(quick, folder)
    loaded = quick.runs.load(run.id)
    assert loaded
    past = quick.cloud.blobs.now() - timedelta(seconds=1)
    quick.runs.save(replace(run, claim=Claim(action=Action.PREPARE_DATA, until=past), crashes=5), loaded.etag)
    advance(quick, run.id, None)
    after = run_of(quick, run.id)
    assert after.parked
    assert after.parked.why == f"{Action.PREPARE_DATA.doing} was begun 6 times and never came to an end: see the log"
    assert after.phase is Phase.RECEIVED
    advance(quick, run.id, None)
    assert run_of(quick, run.id).phase is Phase.PREPARED, "when it is tried again, it is tried afresh"


def test_text_that_is_no_unicode_is_a_bad_row_like_any_other(quick: App, folder: str) -> None:
    ended = driven(quick, received(quick, folder, b'{"\\ud800": 1}\n'), lambda r: r.phase.ended)
    assert ended.phase is Phase.REJECTED
    assert "ud800" in ended.why


def test_a_timer_that_was_lost_does_not_stop_the_run(quick: App, folder: str) -> None:
    run = received(quick, folder)
    loaded = quick.runs.load(run.id)
    assert loaded
    past = quick.cloud.blobs.now() - timedelta(hours=1)
    quick.runs.save(replace(run, wake=Wake(token="lost", due=past)), loaded.etag)
    advance(quick, run.id, None)
    assert run_of(quick, run.id).phase is Phase.PREPARED


# Crashes, races, and what Azure refuses ------------------------------------------------------------------------------


def saved(app: App, run: Run, **changes: Any) -> Run:
    """The run's record with these fields, as somebody left it."""
    loaded = app.runs.load(run.id)
    assert loaded
    found = changed(loaded.record, **changes)
    app.runs.save(found, loaded.etag)
    return found


def test_crashes_of_one_action_are_not_counted_for_another(quick: App, folder: str) -> None:
    run = saved(quick, received(quick, folder), crashes=5)  # nobody holds a claim: the last action came to its end
    advance(quick, run.id, None)
    found = run_of(quick, run.id)
    assert (found.phase, found.parked, found.crashes) == (Phase.PREPARED, None, 0)


def test_an_action_that_succeeds_at_last_forgets_its_crashes(quick: App, folder: str) -> None:
    past = quick.cloud.blobs.now() - timedelta(seconds=1)
    run = saved(quick, received(quick, folder), claim=Claim(action=Action.PREPARE_DATA, until=past), crashes=3)
    advance(quick, run.id, None)
    found = run_of(quick, run.id)
    assert (found.phase, found.crashes) == (Phase.PREPARED, 0)


def test_what_an_action_did_and_azure_does_not_show_yet_is_waited_for_and_not_done_twice(
    quick: App, folder: str, cloud: Stack
) -> None:
    quick = with_settings(quick, CREATE_CLUSTERS=True)
    run = driven(quick, received(quick, folder), lambda r: r.phase is Phase.PREPARED)
    unseen = {"method": "GET", "path": f"/computes/{quick.settings.training.gpu_compute}$", "status": 404}
    cloud.control("POST", "/_local/faults", unseen | {"count": None})
    cloud.control("DELETE", "/_local/ledger")
    try:
        advance(quick, run.id, None)
    finally:
        cloud.control("DELETE", "/_local/faults")
    found = run_of(quick, run.id)
    assert found.waiting
    assert found.waiting.why == f"what it has just done to show: it {Action.MAKE_CLUSTERS.done}"
    asked = [e for e in cloud.control("GET", "/_local/ledger") if e["method"] == "PUT" and e.get("kind") == "computes"]
    assert len({e["name"] for e in asked}) == len(asked), "each once"
    cancel(quick, run.id)
    driven(quick, run, lambda r: r.phase.ended)


def test_who_loses_a_race_looks_again_soon(quick: App, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved(quick, received(quick, folder), wake=None)
    save = quick.runs.save

    def slower(record: Run, etag: str, *, before: Run | None = None) -> str:
        monkeypatch.undo()
        saved(quick, run, crashes=1)  # somebody else was faster
        return save(record, etag, before=before)

    monkeypatch.setattr(quick.runs, "save", slower)
    advance(quick, run.id, None)
    found = run_of(quick, run.id)
    assert found.wake
    assert timedelta(0) < found.wake.due - quick.cloud.blobs.now() < timedelta(seconds=10)


@pytest.fixture
def deployed(quick: App, folder: str, cloud: Stack) -> Iterator[Run]:
    """A run in CHECKING with a deployment that answers; its line has no record yet."""
    run = received(quick, folder)
    cloud.control("POST", "/_local/pretend", {"deployments": {"seconds": 0, "match": f"^{folder}/"}})
    quick.cloud.endpoints.create(folder)
    eventually(lambda: (found := quick.cloud.endpoints.get(folder)) and found.state == "Succeeded")
    quick.cloud.endpoints.deploy(folder, "d-1", MODEL, "Standard_DS3_v2", 1)
    yield saved(quick, run, phase=Phase.CHECKING, wake=None, deployed=Deployed(endpoint=folder, name="d-1"))
    quick.cloud.blobs.delete("state", f"active/{run.id}")
    quick.cloud.endpoints.delete(folder)
    cloud.control("DELETE", "/_local/pretend")


def test_what_an_action_does_not_find_ends_the_run_with_words(quick: App, deployed: Run) -> None:
    """Its held-out rows are gone: no bug, and nothing to try again."""
    advance(quick, deployed.id, None)
    found = run_of(quick, deployed.id)
    assert found.ending
    assert found.ending.phase is Phase.ROLLED_BACK
    assert found.why.startswith(f"{Action.SMOKE_TEST.doing}: ")


def test_a_cancellation_that_comes_when_it_serves_already_ends_as_live(quick: App, deployed: Run) -> None:
    line = Line(
        id=deployed.line,
        folder=deployed.source.folder,
        base_model="Phi-4",
        endpoint=deployed.deployed.endpoint,
        state=Standing(),
        serving=serving(deployed.id),
        latest=serving(deployed.id),
        rollout=deployed.id,
    )
    quick.lines.create(line)
    saved(quick, deployed, ending=Ending(phase=Phase.CANCELLED, why="cancelled by ada"))
    found = driven(quick, deployed, lambda r: r.phase.ended)
    assert found.phase is Phase.LIVE
    assert line_of(quick, line).serving == line.serving


@pytest.mark.parametrize(
    ("phase", "path"),
    [
        (Phase.TRAINING, "/jobs/"),
        (Phase.REGISTERED, "/onlineEndpoints/"),
        (Phase.DEPLOYING, "/deployments/"),
        (Phase.CHECKING, "/onlineEndpoints/"),
    ],
)
def test_a_look_that_azure_refuses_ends_nothing_that_has_cost_money(
    quick: App, deployed: Run, cloud: Stack, phase: Phase, path: str
) -> None:
    quick.lines.create(
        Line(
            id=deployed.line,
            folder=deployed.source.folder,
            base_model="Phi-4",
            endpoint=deployed.deployed.endpoint,
            rollout=deployed.id if phase is not Phase.TRAINING else "",
        )
    )
    saved(quick, deployed, phase=phase, job=naming.job_name(deployed.id, 1), model="m:1")
    refused = {"method": "GET", "path": path, "status": 400, "body": {"error": {"code": "UserError", "message": "no"}}}
    cloud.control("POST", "/_local/faults", refused | {"count": None})
    try:
        advance(quick, deployed.id, None)
    finally:
        cloud.control("DELETE", "/_local/faults")
    found = run_of(quick, deployed.id)
    assert (found.phase, found.ending) == (phase, None)
    assert found.waiting
    assert found.wake, "it is looked at again"


def test_who_has_waited_longer_for_quota_is_woken_when_there_is_some(quick: App, folder: str, key: str) -> None:
    """It may not know that it is its turn: nothing tells of quota."""
    forget(quick)
    first = saved_new(quick, key, waiting=Waiting(why="quota", hold="quota"))
    slots.wait_for_quota(quick, first)
    second = driven(quick, received(quick, folder), lambda r: r.hold == "quota")
    assert second.waiting
    assert first.id in second.waiting.why
    assert woken(quick, first) == 1
    cancel(quick, second.id)
    driven(quick, second, lambda r: r.phase.ended)
    forget(quick)


def saved_new(app: App, key: str, **changes: Any) -> Run:
    """Another run, in PREPARED."""
    made = changed(EMPTY, id=f"r{key}", line=f"l{key}", phase=Phase.PREPARED, **changes)
    assert app.runs.create(made)
    return made
