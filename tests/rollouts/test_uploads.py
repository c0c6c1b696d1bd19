"""What becomes of blobs that are archived, still grow, or are gone or others before they are read; in true words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.intake.folder import datasets_of, read_folder
from shared.intake.readiness import ARCHIVED_FOR, GROWS_FOR
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.records.run import Run
from tests.kit.rows import chats
from tests.kit.waiting import eventually
from tests.kit.worlds.stage import RIGHT, Stage, waits_for

MINUTE = timedelta(minutes=1)


def blob(stage: Stage, file: str) -> Any:
    return stage.app.cloud.clients.blob_service.get_blob_client(DATASETS, f"{stage.folder}/{file}")


def archive(stage: Stage, file: str) -> None:
    blob(stage, file).set_standard_blob_tier("Archive")


def rehydrate(stage: Stage, file: str) -> None:
    """What somebody has asked for has come."""
    blob(stage, file).set_standard_blob_tier("Hot")


def newest(stage: Stage) -> Run:
    return stage.world.run(stage.world.known[-1])


def waiting(stage: Stage, run: Run) -> Run:
    return stage.until(run, lambda run: run.waiting or run.phase.ended)


# Archived ------------------------------------------------------------------------------------------------------------


def test_an_archived_file_is_waited_for_with_the_command_that_brings_it_back(stage: Stage) -> None:
    run = stage.upload()
    archive(stage, "train.jsonl")
    run = waiting(stage, run)
    told = waits_for(run)
    assert run.phase is Phase.RECEIVED, run.why
    assert f"datasets/{stage.folder}/train.jsonl is in the access tier Archive" in told
    account = stage.app.cloud.clients.blob_service.account_name
    assert f"rehydrate it, which takes up to 15 hours: az storage blob set-tier --account-name {account} " in told
    assert f"--container-name datasets --name {stage.folder}/train.jsonl --tier Hot" in told
    assert "it is looked at every hour until" in told
    assert [kind for kind, _ in stage.events()] == ["Run.Refused"]
    rehydrate(stage, "train.jsonl")
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
    assert len(stage.made("jobs")) == 1
    stage.at_rest()


@pytest.mark.thorough
@pytest.mark.parametrize("file", ["test.jsonl", "validation.jsonl"])
def test_so_are_the_other_files_that_it_takes(stage: Stage, file: str) -> None:
    stage.world.upload(f"{stage.folder}/{file}", chats(4, salt=f"{stage.folder} {file}", answer=RIGHT))
    run = stage.upload()
    archive(stage, file)
    run = waiting(stage, run)
    assert run.phase is Phase.RECEIVED, run.why
    assert f"{stage.folder}/{file} is in the access tier Archive" in waits_for(run)
    rehydrate(stage, file)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why


@pytest.mark.thorough
def test_an_archived_finetune_yaml_is_waited_for_too(stage: Stage) -> None:
    stage.world.events = False
    stage.world.upload(f"{stage.folder}/train.jsonl", chats(salt=stage.folder, answer=RIGHT))
    stage.world.events = True
    blob(stage, "finetune.yaml").upload_blob(b"train: train.jsonl\nparameters:\n  num_train_epochs: 2\n")
    archive(stage, "finetune.yaml")
    known = len(stage.world.known)
    stage.world.until(lambda: len(stage.world.known) > known)
    run = waiting(stage, newest(stage))
    assert run.phase is Phase.RECEIVED, run.why
    assert f"datasets/{stage.folder}/finetune.yaml is in the access tier Archive" in waits_for(run)
    assert "rehydrate it" in waits_for(run)
    assert not stage.world.errors
    assert stage.made("jobs") == []
    rehydrate(stage, "finetune.yaml")
    first = stage.until(run)
    assert first.phase is Phase.SUPERSEDED
    (goes_on,) = datasets_of(read_folder(stage.app, stage.folder))
    assert first.why == f"finetune.yaml can be read now: run {goes_on} is of the folder as it stands now"
    live = stage.until(stage.world.run(goes_on))
    assert live.phase is Phase.LIVE, live.why
    assert live.source.parameters == {"num_train_epochs": 2}


@pytest.mark.thorough
def test_an_archived_finetune_yaml_that_is_wrong_is_rejected_once_it_can_be_read(stage: Stage) -> None:
    stage.world.events = False
    blob(stage, "finetune.yaml").upload_blob(b"no: key of it\n")
    archive(stage, "finetune.yaml")
    known = len(stage.world.known)
    stage.world.events = True
    stage.world.sweep()
    stage.world.until(lambda: len(stage.world.known) > known)
    run = waiting(stage, newest(stage))
    assert "rehydrate it" in waits_for(run)
    rehydrate(stage, "finetune.yaml")
    rejected = stage.until(run)
    assert rejected.phase is Phase.REJECTED
    assert "no" in rejected.why


@pytest.mark.thorough
def test_what_nobody_rehydrates_ends_and_is_told_of_daily_until_then(stage: Stage) -> None:
    run = stage.upload()
    archive(stage, "train.jsonl")
    stage.world.sweeps = False
    until = stage.now() + ARCHIVED_FOR + timedelta(days=1)
    while not stage.run(run).phase.ended and stage.now() < until:
        stage.quiet_but_jobs()
        stage.world.clock.jump(timedelta(hours=6, minutes=1))
    failed = stage.run(run)
    assert failed.phase is Phase.FAILED
    assert "was still in the access tier Archive after 7 days" in failed.why
    assert f"then droptune retry {run.id}" in failed.why
    kinds = [kind for kind, _ in stage.events()]
    assert kinds == ["Run.Refused"] * 7 + ["Run.Failed"]
    stage.at_rest()


@pytest.mark.thorough
def test_what_the_job_is_to_read_is_not_submitted_for_while_it_is_archived(stage: Stage) -> None:
    stage.world.change(INLINE_LIMIT_MB=0.000001, MAX_ACTIVE_JOBS=0)
    run = stage.until(stage.upload(), lambda run: run.hold == "slot" or run.phase.ended)
    assert run.attempt.in_job, run.why
    archive(stage, "train.jsonl")
    stage.world.change(MAX_ACTIVE_JOBS=1000)
    stage.world.clock.jump(timedelta(hours=2))
    run = stage.until(run, lambda run: "Archive" in waits_for(run) or run.phase is not Phase.PREPARED)
    assert run.phase is Phase.PREPARED, run.why
    assert "rehydrate it" in waits_for(run)
    assert stage.made("jobs") == []


@pytest.mark.thorough
@pytest.mark.parametrize("came", ["finetune.yml", "more.jsonl", "finetune.yaml", "notes.txt", "test.jsonl"])
def test_what_the_job_is_to_read_is_not_submitted_for_once_nobody_knows_what_is_meant(stage: Stage, came: str) -> None:
    stage.world.change(INLINE_LIMIT_MB=0.000001, MAX_ACTIVE_JOBS=0)
    run = stage.until(stage.upload(), lambda run: run.hold == "slot" or run.phase.ended)
    assert run.attempt.in_job, run.why
    blob(stage, came).upload_blob(b"trian: train.jsonl\n")
    while stage.world.turn() or stage.world.look():
        pass
    stage.world.change(MAX_ACTIVE_JOBS=1000)
    stage.world.clock.jump(timedelta(hours=2))
    run = stage.until(run, lambda run: run.phase is not Phase.PREPARED)
    if came in ("notes.txt", "test.jsonl"):
        assert run.phase is Phase.TRAINING, run.why
        return
    assert run.phase is Phase.SUPERSEDED, run.why
    assert "nothing of the folder is trained on as it stands now" in run.why
    assert ("2 training files" if came == "more.jsonl" else came) in run.why
    assert stage.made("jobs") == []


@pytest.mark.thorough
@pytest.mark.parametrize("spec", ["train: trian.jsonl", "train: train.jsonl\nmodel: Phi-4"])
def test_nor_once_a_finetune_yaml_came_that_says_what_else_is_meant(stage: Stage, spec: str) -> None:
    stage.world.change(INLINE_LIMIT_MB=0.000001, MAX_ACTIVE_JOBS=0)
    run = stage.until(stage.upload(), lambda run: run.hold == "slot" or run.phase.ended)
    assert run.attempt.in_job, run.why
    blob(stage, "finetune.yaml").upload_blob(spec.encode())
    stage.world.change(MAX_ACTIVE_JOBS=1000)
    stage.world.clock.jump(timedelta(hours=2))
    run = stage.until(run, lambda run: run.phase is not Phase.PREPARED)
    assert run.phase is Phase.SUPERSEDED, run.why
    assert run.why.startswith("finetune.yaml came before the data were read: ")


# Growing -------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_an_append_blob_is_read_once_it_has_come_to_rest(stage: Stage) -> None:
    """One effect, of all that was appended; and a run that gives way names the one that goes on."""
    stage.world.change(SETTLE_TIME=MINUTE)
    lines = chats(salt=stage.folder, answer=RIGHT).splitlines(keepends=True)
    file = blob(stage, "train.jsonl")
    file.create_append_blob()
    known = len(stage.world.known)
    eventually(lambda: stage.world.look(everything=True))
    stage.world.until(lambda: len(stage.world.known) > known)
    run = newest(stage)
    half = len(lines) // 2
    for each in (lines[:half], lines[half:]):
        stage.world.clock.jump(timedelta(seconds=50))
        file.append_block(b"".join(each))
        while stage.world.turn() or stage.world.look():
            pass
        told = waits_for(stage.run(run))
        assert stage.run(run).phase is Phase.RECEIVED, stage.run(run).why
    stage.world.clock.jump(timedelta(seconds=20))
    while stage.world.turn() or stage.world.look():
        pass
    told = waits_for(stage.run(run))
    assert f"datasets/{stage.folder}/train.jsonl is an append blob that was still written to" in told
    assert "it is read once nothing was appended for 60 s (SETTLE_TIME)" in told
    first = stage.until(run)
    (goes_on,) = datasets_of(read_folder(stage.app, stage.folder))
    assert first.phase is Phase.SUPERSEDED
    assert (
        first.why == f"train.jsonl was written to before it was read: run {goes_on} is of the folder as it stands now"
    )
    live = stage.until(stage.world.run(goes_on))
    assert live.phase is Phase.LIVE, live.why
    assert live.attempt.data
    assert sum(live.attempt.data.rows.values()) == len(lines)
    assert len(stage.made("jobs")) == 1
    stage.at_rest()


@pytest.mark.thorough
def test_an_append_blob_that_never_comes_to_rest_ends_one_run_a_day_and_says_why(stage: Stage) -> None:
    stage.world.change(SETTLE_TIME=timedelta(minutes=20))
    stage.world.sweeps = False
    file = blob(stage, "train.jsonl")
    file.create_append_blob()
    known = len(stage.world.known)
    eventually(lambda: stage.world.look(everything=True))
    stage.world.until(lambda: len(stage.world.known) > known)
    run, until = newest(stage), stage.now() + GROWS_FOR + timedelta(hours=1)
    while stage.now() < until and not stage.run(run).phase.ended:
        file.append_block(chats(1, salt=str(stage.now())))
        stage.world.clock.jump(timedelta(minutes=15))
        while stage.world.turn() or stage.world.look():
            pass
    failed = stage.run(run)
    assert failed.phase is Phase.FAILED
    assert "is an append blob that was still written to after 24 hours" in failed.why
    assert f"droptune start {stage.folder} reads it" in failed.why
    assert stage.made("jobs") == []


# Others, or gone, before they are read -------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_file_that_is_written_over_without_an_event_has_its_run_at_once(stage: Stage) -> None:
    stage.world.change(SETTLE_TIME=MINUTE)
    run = stage.upload("first")
    stage.world.events = False
    stage.world.clock.jump(timedelta(seconds=5))
    stage.world.upload(f"{stage.folder}/train.jsonl", chats(salt=f"{stage.folder} second", answer=RIGHT))
    stage.world.look(everything=True)
    for message in [each for each in stage.world.messages.values() if each.queue == "dataset-events"]:
        stage.world._delete(message)
    stage.world.events = True
    ended = stage.until(run)
    (goes_on,) = datasets_of(read_folder(stage.app, stage.folder))
    assert ended.phase is Phase.SUPERSEDED
    assert (
        ended.why == f"train.jsonl was written to before it was read: run {goes_on} is of the folder as it stands now"
    )
    assert stage.until(stage.world.run(goes_on)).phase is Phase.LIVE


@pytest.mark.thorough
def test_a_file_that_is_deleted_while_another_stays_names_what_is_left(stage: Stage) -> None:
    stage.world.change(SETTLE_TIME=MINUTE)
    stage.world.upload(f"{stage.folder}/test.jsonl", chats(4, salt=stage.folder, answer=RIGHT))
    run = stage.upload()
    stage.app.cloud.blobs.delete(DATASETS, f"{stage.folder}/train.jsonl")
    ended = stage.until(run)
    assert ended.phase is Phase.SUPERSEDED
    assert ended.why == ("train.jsonl was deleted before it was read: nothing that is left in the folder is trained on")
    assert stage.made("jobs") == []


@pytest.mark.thorough
@pytest.mark.parametrize(("status", "told"), [(404, "was deleted while it was read"), (412, "was written to while")])
def test_a_file_that_vanishes_or_changes_in_mid_check_is_looked_at_again(stage: Stage, status: int, told: str) -> None:
    fault = {"service": "blob", "method": "GET", "path": f"/datasets/{stage.folder}/train.jsonl$", "status": status}
    stage.world.control("POST", "/_local/faults", fault)
    run = stage.until(stage.upload(), lambda run: run.waiting or run.phase.ended)
    assert told in waits_for(run), run.why
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why
