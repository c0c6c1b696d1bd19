"""A folder that is looked into by hand: what no event told of starts a run, and what is known is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.api.folder_commands import start
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.records.layout import DATASETS
from tests.kit.rows import chats


@pytest.fixture
def folder(app: App, key: str) -> Iterator[str]:
    yield f"byhand-{key}"
    for blob in list(app.cloud.blobs.list(DATASETS, f"byhand-{key}/")):
        app.cloud.blobs.delete(DATASETS, blob.name)


def test_a_renamed_blob_starts_a_run_and_a_second_look_names_it(app: App, folder: str) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(12))
    told = start(app, folder, by="ada")
    assert told.endswith(" has started")
    run = told.split()[1]
    loaded = app.runs.load(run)
    assert loaded
    assert loaded.record.source.folder == folder
    assert start(app, folder, by="ada") == f"run {run} of the same files is received"


def test_a_spec_that_can_not_be_followed_is_a_rejected_run(app: App, folder: str) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/finetune.yaml", b"parametres: {}\n")
    told = start(app, folder)
    assert "is rejected: finetune.yaml" in told
    assert app.runs.load(told.split()[1])


def test_what_yields_no_run_is_told_with_why(app: App, folder: str) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/notes.xlsx", b"x")
    with pytest.raises(Permanent, match=r"holds nothing to train on: notes.xlsx: its name does not end in"):
        start(app, folder)
    app.cloud.blobs.write(DATASETS, f"{folder}/finetune.yaml", b"train: train.jsonl\n")
    with pytest.raises(Permanent, match=rf"{folder} waits for train.jsonl: upload it"):
        start(app, folder)


@pytest.mark.parametrize("name", ["no-such-folder", "..", "a/b", "\u202e", ""])
def test_a_folder_that_is_not_there_is_told(app: App, name: str) -> None:
    with pytest.raises(NotFound, match="there is no"):
        start(app, name)
