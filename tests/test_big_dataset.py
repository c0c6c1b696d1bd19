"""A dataset above INLINE_LIMIT_MB: no function touches it, the first step of its job prepares it, in a real process.

What trains after that is the stand-in of the local Azure ML's own tests.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from datetime import timedelta

import psutil
import pytest

from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.intake.arrivals import look_into
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED
from shared.records.run import Run
from shared.run.actions import ACTIONS
from shared.run.loop import advance
from shared.training.step import code
from tests.kit.clouds import forget
from tests.kit.hub import Hub
from tests.kit.loop import driven, received
from tests.kit.records import changed, run_of
from tests.kit.rows import chats
from tests.kit.runs import faults_of
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually

pytestmark = [
    pytest.mark.usefixtures("trainer"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:azure\.ai\.ml"),
]
PARTS = ("train", "validation", "test")
BAD = chats(30) + b"oops\n" + b'{"messages": []}\n'


@pytest.fixture
def small(quick: App) -> App:
    """The app, with a limit that everything is above; no other test's runs hold the slots."""
    forget(quick)
    return with_settings(quick, INLINE_LIMIT_MB=0)


def trained(run: Run) -> bool:
    """Whether its model is registered: where these tests stop, for nothing would answer."""
    return bool(run.attempt.model)


def rows_of(run: Run) -> int:
    """How many rows its data have, in all parts."""
    assert run.attempt.data
    return sum(run.attempt.data.rows.values())


def prepared(app: App, run: Run, name: str) -> bytes:
    return app.cloud.blobs.read(PREPARED, f"{run.prepared}/{name}")[0]


def nodes(cloud: Stack, run: Run) -> list[str]:
    """The clusters of which the run's job was given nodes, in order."""
    return [entry["compute"] for entry in cloud.control("GET", "/_local/nodes") if entry["job"] == f"{run.id}-1"]


def steps(app: App, run: Run) -> dict[str, str]:
    """The steps of the run's job that began, with their status."""
    return {step.display_name: step.status for step in app.cloud.clients.ml.jobs.list(parent_job_name=run.attempt.job)}


def test_it_is_prepared_by_the_job_as_a_function_would_and_then_trained(
    small: App, quick: App, folder: str, cloud: Stack
) -> None:
    run = driven(small, received(small, folder, chats(40)), lambda r: r.phase is Phase.TRAINING)
    assert run.attempt.in_job
    assert run.attempt.data is None, "no function has read it"
    done = driven(small, run, trained, 60)
    assert done.attempt.data
    assert (done.attempt.data.rejected, rows_of(done)) == ("", 40)
    assert nodes(cloud, run) == [small.settings.training.cpu_compute, small.settings.training.gpu_compute]
    assert steps(small, run)["prepare"] == "Completed"
    fed = cloud.state / "azureml" / "jobs" / run.attempt.job / "outputs" / "mlflow_model_folder" / "MLmodel"
    assert fed.read_text() == f"rows: {done.attempt.data.rows['train']}\n"
    assert json.loads(prepared(small, run, "report.json"))["splits"] == done.attempt.data.rows
    assert b"40" in prepared(small, run, "report.md")

    inline = driven(quick, received(quick, f"{folder}-inline", chats(40)), lambda r: r.phase is Phase.PREPARED)
    assert not inline.attempt.in_job
    assert inline.attempt.fingerprint == done.attempt.fingerprint
    for part in PARTS:
        assert prepared(quick, inline, f"{part}.jsonl") == prepared(small, run, f"{part}.jsonl")
    for each in (done, inline):
        small.runs.retire(each.id)


def test_a_bad_one_is_rejected_with_the_report_and_no_gpu_node_is_started(
    small: App, folder: str, cloud: Stack
) -> None:
    ended = driven(small, received(small, folder, BAD), lambda r: r.phase.ended, 60)
    assert ended.phase is Phase.REJECTED
    assert "line 31" in ended.why
    assert faults_of(small, ended) == 2
    _, body = views.run(small, ended.id)
    assert body
    shown = json.loads(body)
    assert shown["run"]["phase"] == "rejected"
    assert [(fault["line"], fault["rule"]) for fault in shown["report"]["faults"]] == [
        (31, "not_json"),
        (32, "empty_messages"),
    ]
    assert nodes(cloud, ended) == [small.settings.training.cpu_compute]
    assert steps(small, ended) == {"prepare": "Failed"}
    for part in PARTS:
        assert small.cloud.blobs.head(PREPARED, f"{ended.prepared}/{part}.jsonl") is None


def test_a_step_that_is_killed_is_a_failed_job_and_no_rejection(small: App, folder: str, cloud: Stack) -> None:
    run = driven(small, received(small, folder, chats(100_000) + b"oops\n"), lambda r: r.phase is Phase.TRAINING)

    def process() -> psutil.Process | None:
        for each in psutil.process_iter(["cmdline"]):
            line = each.info["cmdline"] or []
            if "shared.dataset.job_step" in line and any(f"/jobs/{run.attempt.job}/" in argument for argument in line):
                return each
        return None

    os.kill(eventually(process, every=0.01).pid, signal.SIGKILL)
    ended = driven(small, run, lambda r: r.phase.ended, 60)
    assert ended.phase is Phase.FAILED
    assert "status code -9" in ended.why
    assert nodes(cloud, ended) == [small.settings.training.cpu_compute]
    assert small.cloud.blobs.head(PREPARED, f"{run.prepared}/report.json") is None


def test_data_that_change_before_there_is_a_job_end_the_run(small: App, folder: str, cloud: Stack) -> None:
    run = driven(small, received(small, folder, chats(40)), lambda r: r.attempt.in_job)
    small.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(41))
    ended = driven(small, run, lambda r: r.phase.ended)
    assert ended.phase is Phase.SUPERSEDED
    assert nodes(cloud, run) == []


@pytest.mark.thorough
@pytest.mark.parametrize("overwritten", [chats(40).replace(b"Answer", b"Reply!"), chats(41), None])
def test_data_that_change_before_the_job_has_read_them_end_the_run(
    small: App, folder: str, overwritten: bytes | None
) -> None:
    run = driven(small, received(small, folder, chats(40)), lambda r: r.phase is Phase.PREPARED)
    for action in (Action.RESOLVE_PLAN, Action.MAKE_CLUSTERS):
        run = ACTIONS[action](small, run)
    if overwritten is None:
        small.cloud.blobs.delete(DATASETS, f"{folder}/train.jsonl")
    else:
        small.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", overwritten)
    loaded = small.runs.load(run.id)
    assert loaded
    started = ACTIONS[Action.SUBMIT_JOB](small, run)  # as if the last look had been just before
    small.runs.save(replace(started, phase=Phase.TRAINING), loaded.etag)
    ended = driven(small, run, lambda r: r.phase.ended, 60)
    assert ended.phase is Phase.SUPERSEDED
    assert f"{folder}/train.jsonl" in ended.why


@pytest.mark.thorough
def test_data_that_change_after_that_do_no_harm(small: App, folder: str) -> None:
    run = driven(small, received(small, folder, chats(40)), lambda r: r.phase is Phase.TRAINING)
    eventually(lambda: (job := small.cloud.jobs.get(run.attempt.job)) and job.status == "Completed", 60)
    report = small.cloud.blobs.head(PREPARED, f"{run.prepared}/report.json")
    assert report
    eventually(lambda: small.cloud.blobs.now() >= report.last_modified + timedelta(seconds=1))
    small.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(41))
    done = driven(small, run, trained, 60)
    assert rows_of(done) == 40
    small.runs.retire(done.id)


@pytest.mark.thorough
def test_names_policy_and_model_reach_the_step_and_unchanged_code_is_uploaded_once(small: App, folder: str) -> None:
    before = small.cloud.blobs.head(PREPARED, layout.code(code()[0]))
    name = 'it\'s $(odd) "data".jsonl'
    small.cloud.blobs.write(DATASETS, f"{folder}/{name}", chats(40) + b"oops\n")
    spec = f"train: {json.dumps(name)}\non_bad_rows: drop\nmin_rows: 40\n".encode()
    run = received(small, folder, spec=spec)
    done = driven(small, run, trained, 60)
    assert rows_of(done) == 40
    assert json.loads(prepared(small, run, "report.json"))["by_rule"] == {"not_json": 1}
    assert json.loads(prepared(small, run, "task.json"))["facts"] == {"context": 4096, "tools": False}
    after = small.cloud.blobs.head(PREPARED, layout.code(code()[0]))
    assert after
    assert before is None or before == after
    advance(small, done.id, None)
    small.runs.retire(done.id)
    assert run_of(small, done.id).attempt.in_job


@pytest.mark.thorough
def test_a_source_on_the_hub_is_read_by_the_step_at_the_run_s_commit(small: App, folder: str) -> None:
    """What opens the hub in a function is the engine's; here the run comes to its job as it leaves that."""
    with Hub() as hub:
        card = b"---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train_sft, path: a.jsonl}\n---\n"
        repo = hub.add("org/chat", {"README.md": card, "a.jsonl": chats(40)})
        commit = repo.branches["main"]
        repo.commit({"README.md": card, "a.jsonl": chats(41)})
        app = with_settings(small, HF_ENDPOINT=hub.url)
        spec = b"source: org/chat\nsplits: {train: train_sft}\n"
        app.cloud.blobs.write(DATASETS, f"{folder}/finetune.yaml", spec)
        look_into(app, folder)
        (run_id,) = datasets_of(read_folder(app, folder))
        loaded = app.runs.load(run_id)
        assert loaded
        big = changed(loaded.record, in_job=True, hub_commit=commit, phase=Phase.PREPARED)
        app.runs.save(big, loaded.etag)
        done = driven(app, big, trained, 60)
    assert rows_of(done) == 40
    assert b"Question" in prepared(app, done, "test.jsonl")
    app.runs.retire(done.id)


def test_pieces_are_prepared_by_the_job_as_a_function_would_and_the_limit_is_of_their_sum(
    small: App, quick: App, folder: str, cloud: Stack
) -> None:
    """In the folder of a clone: the node reads names with a folder in them, and a table beside a text."""
    lines = chats(60).splitlines(keepends=True)
    limit = 1.5 * sum(map(len, lines[:20])) / 1024**2
    done: list[Run] = []
    for app, name in ((with_settings(small, INLINE_LIMIT_MB=limit), folder), (quick, f"{folder}-inline")):
        for n in range(3):
            piece = f"{name}/data/train-0000{n}-of-00003.jsonl"
            app.cloud.blobs.write(DATASETS, piece, b"".join(lines[20 * n : 20 * n + 20]))
        app.cloud.blobs.write(DATASETS, f"{name}/data/validation-00000-of-00001.jsonl", chats(5, salt="held out"))
        look_into(app, name)
        (run_id,) = datasets_of(read_folder(app, name))
        run = driven(app, run_of(app, run_id), trained if app is not quick else lambda r: r.phase is Phase.PREPARED, 60)
        assert [file.name[-22:] for file in run.source.train] == [
            f"train-0000{n}-of-00003.jsonl"[-22:] for n in range(3)
        ]
        done.append(run)
    big, inline = done
    assert (big.attempt.in_job, inline.attempt.in_job) == (True, False)
    assert rows_of(big) == 65
    assert inline.attempt.fingerprint == big.attempt.fingerprint
    for part in PARTS:
        assert prepared(quick, inline, f"{part}.jsonl") == prepared(small, big, f"{part}.jsonl")
    report = json.loads(prepared(small, big, "report.json"))
    assert report["files"]["train"] == "3 files: train-00000-of-00003.jsonl ..."
    assert set(report["shards"]["train"].values()) == {20}
    assert b"3 files: train-00000-of-00003.jsonl ..." in prepared(small, big, "report.md")
    fed = cloud.state / "azureml" / "jobs" / big.attempt.job / "outputs" / "mlflow_model_folder" / "MLmodel"
    assert fed.read_text() == f"rows: {report['splits']['train']}\n"
    body = views.run(quick, inline.id)[1]
    assert body
    assert json.loads(body)["data"]["address"].endswith("/data/train-00000-of-00003.jsonl and 2 more")
    for each in done:
        small.runs.retire(each.id)


def test_the_limit_counts_all_files_of_the_run(quick: App, folder: str) -> None:
    data = chats(10_000)
    limit = 1.5 * len(data) / 1024**2
    app = with_settings(quick, INLINE_LIMIT_MB=limit)
    alone = driven(app, received(app, folder, data), lambda r: r.phase is Phase.PREPARED)
    assert not alone.attempt.in_job
    app.cloud.blobs.write(DATASETS, f"{folder}-2/test.jsonl", data)
    both = driven(app, received(app, f"{folder}-2", data), lambda r: r.phase is Phase.PREPARED)
    assert both.attempt.in_job
    for each in (alone, both):
        app.runs.retire(each.id)
