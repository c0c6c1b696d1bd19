"""Several runs at once: of one line, where the newest counts, and of several lines that share the places to train."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.api import run_commands
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import RolloutSeen
from shared.records.base import Order
from shared.records.run import Run
from shared.run.observe import OBSERVE
from tests.kit.worlds.stage import Stage, waits_for

pytestmark = pytest.mark.thorough

HOUR = 3600
GPUS = "standardNCADSA100v4Family"


# One line ------------------------------------------------------------------------------------------------------------


def test_a_newer_upload_takes_the_place_of_one_that_trains(stage: Stage) -> None:
    """The only place there is: at no time do two jobs run."""
    stage.world.change(MAX_ACTIVE_JOBS=1)
    stage.pretend(job=HOUR)
    older = stage.until(stage.upload("a"), lambda run: run.phase is Phase.TRAINING)
    newer = stage.until(stage.upload("b"), lambda run: run.phase is Phase.TRAINING)
    older = stage.until(older)
    assert older.phase is Phase.SUPERSEDED
    assert newer.id in older.why
    assert stage.job_status(older) == "Canceled"
    told = [(each["name"], each["state"]) for each in stage.jobs()]
    assert told.index((older.attempt.job, "Canceled")) < told.index((newer.attempt.job, "Preparing"))
    assert ("Run.Superseded", older.why) in stage.events()
    stage.world.control("POST", f"/_local/jobs/{newer.attempt.job}", {"status": "Failed"})
    assert stage.until(newer).phase is Phase.FAILED
    assert stage.run(older) == older, "what was superseded does not come back by itself"
    stage.at_rest()


def test_a_job_that_has_run_long_is_waited_for_and_of_those_that_wait_the_newest_stays(stage: Stage) -> None:
    stage.pretend(job=9 * HOUR)
    older = stage.until(stage.upload("a"), lambda run: run.phase is Phase.TRAINING)
    stage.world.clock.jump(timedelta(minutes=31))
    second = stage.until(stage.upload("b"), lambda run: run.waiting)
    assert f"run {older.id}, which has trained too long" in waits_for(second)
    third = stage.until(stage.upload("c"), lambda run: run.waiting and run.phase is Phase.PREPARED)
    assert stage.until(second).phase is Phase.SUPERSEDED
    assert third.id in stage.run(second).why
    assert stage.job_status(older) == "Running"
    assert list(json.loads(stage.app.cloud.blobs.read("state", "slots.json")[0])["holding"]) == [older.id]
    stage.world.control("POST", f"/_local/jobs/{older.attempt.job}", {"status": "Completed"})
    third = stage.until(third, lambda run: run.phase is Phase.TRAINING)
    assert stage.until(older).phase is Phase.LIVE
    assert stage.line.waits is None
    assert (stage.line.pace.took or 0) >= 31 * 60
    stage.world.control("POST", f"/_local/jobs/{third.attempt.job}", {"status": "Completed"})
    assert stage.until(third).phase is Phase.LIVE
    assert stage.made("jobs") == [older.attempt.job, third.attempt.job]
    stage.at_rest()


def test_one_job_is_ended_between_two_models_and_no_more(stage: Stage) -> None:
    stage.pretend(job=HOUR)
    first = stage.until(stage.upload("a"), lambda run: run.phase is Phase.TRAINING)
    second = stage.until(stage.upload("b"), lambda run: run.phase is Phase.TRAINING)
    assert stage.until(first).phase is Phase.SUPERSEDED
    third = stage.until(stage.upload("c"), lambda run: run.phase is Phase.PREPARED and run.waiting)
    assert "was ended for a newer one already" in waits_for(third)
    stage.world.control("POST", f"/_local/jobs/{second.attempt.job}", {"status": "Failed"})
    assert stage.until(second).phase is Phase.FAILED
    third = stage.until(third, lambda run: run.phase is Phase.TRAINING)
    fourth = stage.until(stage.upload("d"), lambda run: run.phase is Phase.PREPARED and run.waiting)
    assert "was ended for a newer one already" in waits_for(fourth), "one that failed made no model"
    for run in (fourth, third):
        run_commands.cancel(stage.app, run.id)
        assert stage.until(run).phase is Phase.CANCELLED
    assert stage.line.waits is None
    stage.at_rest()


def test_a_job_is_not_ended_for_one_whose_slot_would_go_to_others(stage: Stage) -> None:
    stage.world.change(MAX_ACTIVE_JOBS=1)
    stage.pretend(job=HOUR)
    older = stage.until(stage.upload("a"), lambda run: run.phase is Phase.TRAINING)
    other = replace(stage, folder=f"{stage.folder}-b")
    waits = other.until(other.upload(), lambda run: run.hold == "slot")
    newer = stage.until(stage.upload("b"), lambda run: run.phase is Phase.PREPARED and run.waiting)
    assert "its slot would go to others" in waits_for(newer)
    assert stage.run(older).phase is Phase.TRAINING
    for each, run in ((other, waits), (stage, newer), (stage, older)):
        run_commands.cancel(stage.app, run.id)
        assert each.until(run).phase is Phase.CANCELLED
    stage.at_rest()


def test_a_newer_upload_with_bad_data_stops_nothing(stage: Stage) -> None:
    stage.pretend(job=HOUR)
    older = stage.until(stage.upload("a"), lambda run: run.phase is Phase.TRAINING)
    newer = stage.until(stage.upload(data=b"oops\n"))
    assert newer.phase is Phase.REJECTED
    stage.quiet_but_jobs()
    assert stage.run(older).phase is Phase.TRAINING
    assert stage.job_status(older) == "Running"
    stage.world.control("POST", f"/_local/jobs/{older.attempt.job}", {"status": "Completed"})
    live = stage.until(older)
    assert live.phase is Phase.LIVE, live.why
    assert stage.traffic() == {live.deployed.name: 100}


def test_a_job_is_not_given_up_for_one_that_can_not_start_today(stage: Stage) -> None:
    stage.world.change(MAX_JOBS_PER_DAY=1)
    stage.pretend(job=HOUR)
    older = stage.until(stage.upload("a"), lambda run: run.phase is Phase.TRAINING)
    newer = stage.until(stage.upload("b"), lambda run: run.hold)
    assert "1 of MAX_JOBS_PER_DAY=1 jobs were started" in waits_for(newer)
    live = stage.until(older)
    assert live.phase is Phase.LIVE, live.why
    stage.world.clock.jump(timedelta(hours=22))
    newer = stage.until(newer)
    assert newer.phase is Phase.LIVE, newer.why
    stage.at_rest()


def test_an_older_version_that_is_on_its_way_goes_live_first(stage: Stage) -> None:
    stage.pretend(deployment=90)
    older = stage.until(stage.version(), lambda run: run.phase is Phase.DEPLOYING)
    stage.world.clock.jump(timedelta(seconds=2))
    newer = stage.until(stage.version(), lambda run: run.waiting)
    assert f"the rollout of run {older.id}" in waits_for(newer)
    assert stage.made("deployments") == [older.deployed.name]
    newer, older = stage.until(newer), stage.run(older)
    assert (older.phase, newer.phase) == (Phase.LIVE, Phase.LIVE)
    assert stage.traffic_was() == [{older.deployed.name: 100}, {newer.deployed.name: 100}]
    stage.at_rest()
    assert stage.standing() == {newer.deployed.name: "Succeeded"}


def test_the_end_of_a_rollout_wakes_who_waits_for_it(stage: Stage) -> None:
    stage.pretend(deployment=900)
    older = stage.until(stage.upload("a"), lambda run: run.phase is Phase.DEPLOYING)
    newer = stage.until(stage.upload("b"), lambda run: older.id in waits_for(run))
    messages, stage.world.sweeps = stage.world.messages, False  # its own timer would wake it as well, or the sweep
    del messages[next(key for key, each in messages.items() if newer.wake and each.token == newer.wake.token)]
    newer, older = stage.until(newer), stage.run(older)
    assert (older.phase, newer.phase) == (Phase.LIVE, Phase.LIVE)


def test_an_older_version_that_comes_too_late_is_not_deployed(stage: Stage) -> None:
    live = stage.live()
    late = stage.until(stage.version(order=Order(uploaded=live.order.uploaded - timedelta(hours=1))))
    assert late.phase is Phase.SUPERSEDED
    assert live.id in late.why
    assert stage.made("deployments") == []
    assert stage.traffic() == {live.deployed.name: 100}
    stage.at_rest()


# The same again ------------------------------------------------------------------------------------------------------


def test_the_same_data_and_settings_are_trained_once(stage: Stage) -> None:
    """And the events of it all are sent once each."""
    first = stage.until(stage.upload())
    assert first.phase is Phase.LIVE, first.why
    again = stage.until(stage.upload())
    assert again.phase is Phase.UNCHANGED
    assert again.why.startswith("already trained")
    assert first.attempt.model in again.why
    gate = stage.until(stage.upload(spec="gate: {min_score: 1}"))
    assert gate.phase is Phase.UNCHANGED, "what the gate demands is nothing to train"
    assert stage.made("jobs") == [first.attempt.job]
    assert stage.traffic() == {first.deployed.name: 100}
    kinds = [kind for kind, _ in stage.events()]
    assert kinds == ["Training.Started", "Model.Registered", "Endpoint.Live", "Run.Unchanged", "Run.Unchanged"]
    ids = [each["id"] for each in stage.cloud_events()]
    assert len(set(ids)) == len(ids)

    stage.at_rest()
    stage.tear_down()
    gone = stage.until(stage.upload())
    assert gone.phase is Phase.UNCHANGED
    assert "droptune revive" in gone.why
    assert stage.standing() == {}
    other = stage.until(stage.upload(spec="parameters: {num_train_epochs: 2}"), lambda run: run.attempt.job)
    assert stage.made("jobs") == [first.attempt.job, other.attempt.job]
    run_commands.cancel(stage.app, other.id)
    stage.until(other)
    stage.at_rest()


def test_the_same_content_again_lets_the_job_run_and_is_not_trained_on(stage: Stage) -> None:
    """As often as it comes: of those that wait the newest stays, and it names the run that serves."""
    stage.pretend(job=9 * HOUR)
    first = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    again = []
    for _ in range(2):
        again.append(stage.until(stage.upload(), lambda run: run.phase is Phase.PREPARED and run.waiting))
        assert f"run {first.id}, which is of the same data and settings" in waits_for(again[-1])
        assert not again[-1].hold
    assert stage.until(again[0]).phase is Phase.SUPERSEDED
    slots = json.loads(stage.app.cloud.blobs.read("state", "slots.json")[0])
    assert (list(slots["holding"]), slots["waiting"]) == ([first.id], {})
    stage.world.control("POST", f"/_local/jobs/{first.attempt.job}", {"status": "Completed"})
    ended = stage.until(again[1])
    assert ended.phase is Phase.UNCHANGED, ended.why
    assert f"run {first.id} made" in ended.why
    assert "it serves" in ended.why
    assert stage.run(first).phase is Phase.LIVE
    assert stage.made("jobs") == [first.attempt.job]
    stage.at_rest()


def test_the_same_content_goes_on_where_the_first_run_failed(stage: Stage) -> None:
    stage.pretend(job=HOUR)
    first = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    again = stage.until(stage.upload(), lambda run: run.phase is Phase.PREPARED and run.waiting)
    stage.world.control("POST", f"/_local/jobs/{first.attempt.job}", {"status": "Failed"})
    again = stage.until(again, lambda run: run.phase is Phase.TRAINING)
    assert stage.run(first).phase is Phase.FAILED
    stage.world.control("POST", f"/_local/jobs/{again.attempt.job}", {"status": "Completed"})
    assert stage.until(again).phase is Phase.LIVE
    stage.at_rest()


def test_what_only_a_job_reads_is_known_by_the_md5s_of_its_files(stage: Stage) -> None:
    """While it trains and once it serves: the same bytes again, and metadata that somebody sets, cost no job."""
    stage.world.change(INLINE_LIMIT_MB=0.000001)
    stage.pretend(job=9 * HOUR)
    first = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    again = stage.until(stage.upload(), lambda run: run.phase is Phase.PREPARED and run.waiting)
    assert f"run {first.id}, which is of the same data and settings" in waits_for(again)
    stage.world.control("POST", f"/_local/jobs/{first.attempt.job}", {"status": "Completed"})
    assert stage.until(first).phase is Phase.LIVE
    again = stage.until(again)
    assert (again.phase, again.why) == (
        Phase.UNCHANGED,
        f"already trained: run {first.id} made {stage.run(first).attempt.model} of the same data and settings, "
        "and it serves",
    )
    blobs, known = stage.app.cloud.clients.blob_service, len(stage.world.known)
    blobs.get_blob_client("datasets", f"{stage.folder}/train.jsonl").set_blob_metadata({"scanned": "yes"})
    stage.world.until(lambda: len(stage.world.known) > known)
    assert stage.until(stage.world.run(stage.world.known[known])).phase is Phase.UNCHANGED
    assert stage.made("jobs") == [first.attempt.job]
    other = stage.until(stage.upload("b"), lambda run: run.phase is Phase.TRAINING)
    assert other.attempt.data is None, "its own job says what is in it"
    run_commands.cancel(stage.app, other.id)
    stage.until(other)
    stage.at_rest()


@pytest.mark.parametrize("salt", ["a", "b"], ids=["same", "other"])
@pytest.mark.parametrize("end", ["Completed", "Failed"])
def test_the_job_of_a_parked_run_is_not_lost(stage: Stage, salt: str, end: str) -> None:
    stage.pretend(job=9 * HOUR)
    first = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    stage.world.clock.jump(timedelta(minutes=50))
    loaded = stage.app.runs.load(first.id)
    assert loaded
    stage.app.runs.save(loaded.record.park(stage.now(), "a bug"), loaded.etag, before=loaded.record)
    newer = stage.until(stage.upload(salt), lambda run: run.waiting and run.phase is Phase.PREPARED)
    told = "of the same data" if salt == "a" else "trained too long"
    assert f"droptune cancel {first.id} ends it), which" in waits_for(newer)
    assert told in waits_for(newer)
    assert stage.job_status(first) == "Running"
    stage.world.control("POST", f"/_local/jobs/{first.attempt.job}", {"status": end})
    newer = stage.until(newer, lambda run: run.phase is not Phase.PREPARED)
    if salt == "a" and end == "Completed":
        assert newer.phase is Phase.UNCHANGED
    else:
        assert newer.phase is Phase.TRAINING
        run_commands.cancel(stage.app, newer.id)
        stage.until(newer)
    assert stage.until(first).phase is (Phase.LIVE if end == "Completed" else Phase.FAILED)
    stage.at_rest()


@pytest.mark.parametrize("how", ["unreadable", "lost"])
def test_nothing_is_paid_while_nobody_knows_what_the_older_run_is_at(stage: Stage, how: str) -> None:
    stage.pretend(job=9 * HOUR)
    first = stage.until(stage.upload(), lambda run: run.phase is Phase.TRAINING)
    name = f"runs/{first.id}.json"
    kept, _ = stage.app.cloud.blobs.read("state", name)
    if how == "lost":
        stage.app.cloud.blobs.delete("state", name)
    else:
        stage.app.cloud.blobs.write("state", name, json.dumps(json.loads(kept) | {"since": 7}).encode())
    newer = stage.until(stage.upload("b"), lambda run: run.waiting and run.phase is Phase.PREPARED)
    told = waits_for(newer)
    assert told.startswith(f"run {first.id}, which may have a job that runs: ")
    assert f"state/{name} can't be read" in told or f"its record is lost, and job {first.attempt.job} runs" in told
    assert "or delete it and recover" in told or "droptune recover makes the record again" in told
    stage.app.cloud.blobs.write("state", name, kept)
    assert stage.until(newer, lambda run: run.phase is not Phase.PREPARED).phase is Phase.TRAINING
    assert stage.until(first).phase is Phase.SUPERSEDED
    assert stage.made("jobs") == [first.attempt.job, stage.run(newer).attempt.job]
    run_commands.cancel(stage.app, newer.id)
    stage.until(newer)
    stage.at_rest()


def test_who_goes_back_to_what_serves_waits_for_other_content_that_has_trained_long(stage: Stage) -> None:
    first = stage.until(stage.upload("a"))
    stage.pretend(job=9 * HOUR)
    other = stage.until(stage.upload("b"), lambda run: run.phase is Phase.TRAINING)
    stage.world.clock.jump(timedelta(hours=2))
    back = stage.until(stage.upload("a"), lambda run: run.waiting and run.phase is Phase.PREPARED)
    assert f"run {other.id}, which has trained too long" in waits_for(back)
    stage.world.control("POST", f"/_local/jobs/{other.attempt.job}", {"status": "Completed"})
    assert stage.until(other).phase is Phase.LIVE
    back = stage.until(back)
    assert back.phase is Phase.UNCHANGED
    assert back.why == (
        f"already trained: run {first.id} made {first.attempt.model} of the same data and settings: "
        f"droptune retry {back.id} deploys it"
    )
    assert stage.made("jobs") == [first.attempt.job, other.attempt.job]
    stage.at_rest()


def test_who_goes_back_to_what_serves_ends_the_job_that_has_only_begun_once(stage: Stage) -> None:
    first = stage.until(stage.upload("a"))
    stage.pretend(job=9 * HOUR)
    other = stage.until(stage.upload("b"), lambda run: run.phase is Phase.TRAINING)
    stage.world.sweeps = False  # it would find it, later
    back = stage.until(stage.upload("a"))
    assert (back.phase, stage.until(other).phase) == (Phase.UNCHANGED, Phase.SUPERSEDED)
    stage.world.sweeps = True
    assert stage.job_status(other) == "Canceled"
    assert stage.line.pace.gave_way
    third = stage.until(stage.upload("c"), lambda run: run.phase is Phase.TRAINING)
    back = stage.until(stage.upload("a"), lambda run: run.waiting and run.phase is Phase.PREPARED)
    assert "was ended for a newer one already" in waits_for(back)
    stage.world.control("POST", f"/_local/jobs/{third.attempt.job}", {"status": "Failed"})
    assert stage.until(third).phase is Phase.FAILED
    back = stage.until(back)
    assert f"run {first.id} made" in back.why
    assert back.why.endswith("and it serves")
    stage.at_rest()


# Several lines -------------------------------------------------------------------------------------------------------


def test_lines_train_one_after_the_other_where_there_is_one_place(stage: Stage) -> None:
    stage.world.change(MAX_ACTIVE_JOBS=1)
    stage.pretend(job=HOUR)
    stages = [stage, *(replace(stage, folder=f"{stage.folder}-{name}") for name in "bcd")]
    runs = [each.until(each.upload(), lambda run: run.hold or run.phase is Phase.TRAINING) for each in stages]
    first, second, third, fourth = (each.run(run) for each, run in zip(stages, runs, strict=True))
    assert first.phase is Phase.TRAINING
    assert [run.hold for run in (second, third, fourth)] == ["slot"] * 3
    assert "1 of MAX_ACTIVE_JOBS=1 are taken" in waits_for(second)
    assert "1 run is before it" in waits_for(third)
    assert "2 runs are before it" in waits_for(fourth)

    run_commands.cancel(stage.app, second.id, by="ada")
    assert stages[1].until(second).why == "cancelled by ada"
    assert stages[1].job_status(second) == ""

    stage.world.control("POST", f"/_local/jobs/{first.attempt.job}", {"status": "Completed"})
    third = stages[2].until(third, lambda run: run.phase is Phase.TRAINING)
    assert stages[3].run(fourth).phase is Phase.PREPARED
    stage.world.control("POST", f"/_local/jobs/{third.attempt.job}", {"status": "Failed"})
    fourth = stages[3].until(fourth, lambda run: run.phase is Phase.TRAINING)
    assert stages[2].until(third).phase is Phase.FAILED
    run_commands.cancel(stage.app, fourth.id)
    stages[3].until(fourth)
    assert stage.until(first).phase is Phase.LIVE
    for each in stages:
        each.at_rest()
    assert json.loads(stage.app.cloud.blobs.read("state", "slots.json")[0])["holding"] == {}


@pytest.mark.parametrize(("what", "kind"), [(Action.SUBMIT_JOB, "jobs"), (Action.DEPLOY_MODEL, "deployments")])
def test_who_has_waited_longest_for_quota_gets_it_first(stage: Stage, what: Action, kind: str) -> None:
    """Nothing tells of it: here the newest run comes by first once there is some."""
    stage.pretend(job=HOUR)
    quota = stage.world.control("POST", "/_local/quota", {})[GPUS]
    stage.world.control("POST", "/_local/quota", {GPUS: 0})
    stages = [stage, *(replace(stage, folder=f"{stage.folder}-{name}") for name in "bc")]

    def begun(each: Stage) -> Run:
        return each.upload() if what is Action.SUBMIT_JOB else each.version()

    waiting = []
    try:
        for each in stages[:2]:
            waiting.append(each.until(begun(each), lambda run: run.hold == "quota"))
            stage.world.clock.jump(timedelta(minutes=2))
        assert all("vCPUs" in waits_for(run) for run in waiting)
    finally:
        stage.world.control("POST", "/_local/quota", {GPUS: quota})
    newest = begun(stages[2])
    done = [
        each.until(run, lambda run: what.done in done_by(run))
        for each, run in zip(stages, [*waiting, newest], strict=True)
    ]
    assert Action.WAIT_FOR_QUOTA.done in done_by(done[2]), "it waited although there was quota"
    own = {run.id: number for number, run in enumerate(done)}
    ledger = stage.world.control("GET", "/_local/ledger")
    asked = [e["name"].rpartition("-")[0] for e in ledger if e.get("kind") == kind and e["method"] == "PUT"]
    assert [own[run] for run in dict.fromkeys(asked) if run in own] == [0, 1, 2]
    for each, run in zip(stages, done, strict=True):
        if not each.run(run).phase.ended:
            run_commands.cancel(stage.app, run.id)
        each.until(run)


def test_who_has_its_line_gives_its_instances_to_nobody(stage: Stage) -> None:
    """It may have made room for itself, and nothing serves until it does."""
    quota = stage.world.control("POST", "/_local/quota", {})[GPUS]
    stage.world.control("POST", "/_local/quota", {GPUS: 0})
    other = replace(stage, folder=f"{stage.folder}-b")
    waits = other.until(other.version(), lambda run: run.hold == "quota")
    stage.world.control("POST", "/_local/quota", {GPUS: quota})
    stage.live()
    run = stage.version()
    newcomer = OBSERVE[Phase.REGISTERED](stage.app, run)
    assert isinstance(newcomer, RolloutSeen)
    assert newcomer.ahead == waits.id
    line, etag = stage.app.lines.load(stage.line_id) or (stage.line, "")
    stage.app.lines.save(replace(line, rollout=run.id), etag)
    begun = OBSERVE[Phase.REGISTERED](stage.app, run)
    assert isinstance(begun, RolloutSeen)
    assert begun.ahead == ""
    for each, one in ((stage, run), (other, waits)):
        assert each.until(one).phase is Phase.LIVE


def done_by(run: Run) -> list[str]:
    return [entry.what for entry in run.history]
