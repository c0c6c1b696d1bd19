"""A look into a dataset's folder that a person asks for: what an upload's event would have started, and no more."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from localcloud.stack import Stack
from shared.api import requests
from shared.api.access import Caller
from shared.app import App
from shared.intake.folder import read_folder, runs_of
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.run.loop import advance
from tests.kit.clouds import later
from tests.kit.records import etag_of, run_of
from tests.kit.rows import chats
from tests.kit.settings import with_settings


def start(app: App, folder: str) -> tuple[int, str]:
    """Status, and the sentence."""
    status, body = requests.on_folder(app, "start", folder, b"", Caller())
    answer = json.loads(body)
    return status, answer.get("told") or answer["error"]


def put(app: App, path: str, data: bytes) -> None:
    app.cloud.blobs.write(DATASETS, path, data)


def test_what_came_back_without_an_event_starts_a_run(app: App, folder: str) -> None:
    """A rename is one: storage with a hierarchical namespace tells of no new blob."""
    put(app, f"{folder}-old/train.jsonl", chats(20))
    data, _ = app.cloud.blobs.read(DATASETS, f"{folder}-old/train.jsonl")
    app.cloud.blobs.delete(DATASETS, f"{folder}-old/train.jsonl")
    put(app, f"{folder}/train.jsonl", data)
    [run] = runs_of(read_folder(app, folder))
    assert app.runs.load(run) is None
    assert start(app, folder) == (200, f"run {run} has started")
    made = run_of(app, run)
    assert (made.phase, made.source.folder) == (Phase.RECEIVED, folder)
    assert run in set(app.runs.active())
    assert start(app, folder) == (200, f"run {run} of the same files is received")
    assert run_of(app, run) == made


def test_what_is_started_is_newer_than_what_serves_however_old_its_files_look(
    app: App, cloud: Stack, folder: str
) -> None:
    put(app, f"{folder}/train.jsonl", chats(20))
    later(app, cloud, timedelta(hours=2))
    before = app.cloud.blobs.now()
    start(app, folder)
    [run] = runs_of(read_folder(app, folder))
    assert run_of(app, run).order.uploaded >= before - timedelta(seconds=2)


def test_a_run_that_has_ended_is_named_with_what_tries_it_again(app: App, folder: str) -> None:
    from dataclasses import replace

    from shared.records.run import Ending

    put(app, f"{folder}/train.jsonl", chats(20))
    start(app, folder)
    [run] = runs_of(read_folder(app, folder))
    app.runs.save(
        replace(run_of(app, run), ending=Ending(phase=Phase.FAILED, why="x"), phase=Phase.FAILED), etag_of(app, run)
    )
    assert start(app, folder) == (200, f"run {run} of the same files is failed: droptune retry {run} tries it again")
    put(app, f"{folder}/train.jsonl", chats(21))
    [newer] = runs_of(read_folder(app, folder))
    assert newer != run
    assert start(app, folder) == (200, f"run {newer} has started")


def test_several_training_files_are_one_run_that_says_what_to_do(app: App, folder: str) -> None:
    put(app, f"{folder}/a.jsonl", chats(20))
    put(app, f"{folder}/b.jsonl", chats(20, 50))
    run, _ = runs_of(read_folder(app, folder))
    status, text = start(app, folder)
    assert status == 200
    assert text.startswith(f"run {run} is rejected: 2 training files in one folder (a.jsonl, b.jsonl)")
    advance(with_settings(app, SETTLE_TIME=timedelta(0)), run, None)
    assert start(app, folder)[1].startswith(f"run {run} of the same files is rejected: 2 training files")
    app.cloud.blobs.delete(DATASETS, f"{folder}/b.jsonl")
    [alone] = runs_of(read_folder(app, folder))
    assert start(app, folder) == (200, f"run {alone} has started"), "the file that is left can be trained on"


@pytest.mark.parametrize("name", ["..", "a/b", "", "x\n", "none-such", "\ud800"])
def test_a_folder_that_is_none_is_not_found(app: App, name: str) -> None:
    before = set(app.runs.active())
    status, text = start(app, name)
    assert status == 404
    assert text.startswith(("there is no folder", "there is no such folder"))
    assert "\n" not in text
    assert set(app.runs.active()) == before


def test_a_folder_that_waits_says_for_what(app: App, folder: str) -> None:
    put(app, f"{folder}/finetune.yaml", b"train: train.jsonl\ntest: test.jsonl\n")
    put(app, f"{folder}/train.jsonl", chats(20))
    assert start(app, folder) == (409, f"datasets/{folder} waits for test.jsonl, which finetune.yaml names: upload it")
    assert runs_of(read_folder(app, folder)) == []


def test_a_folder_without_data_says_why(app: App, folder: str) -> None:
    put(app, f"{folder}/readme.txt", b"x")
    status, text = start(app, folder)
    assert status == 409
    assert text.startswith(f"datasets/{folder} holds nothing to train on: readme.txt: its name does not end in .jsonl")


def test_a_finetune_yaml_that_can_not_be_followed_is_a_run_that_says_so(app: App, folder: str) -> None:
    put(app, f"{folder}/finetune.yaml", b"train: [")
    put(app, f"{folder}/train.jsonl", chats(20))
    [run] = runs_of(read_folder(app, folder))
    status, text = start(app, folder)
    assert (status, text.partition(":")[0]) == (200, f"run {run} is rejected")
    made = run_of(app, run)
    assert made.ending
    assert made.ending.phase == Phase.REJECTED
    assert "finetune.yaml" in made.ending.why
