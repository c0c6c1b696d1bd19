"""Uploads that yield no run are told, each with why; those that do are not."""

from __future__ import annotations

import json

from shared.api import views
from shared.app import App
from shared.intake.without_run import uploads_without_run
from shared.records.layout import DATASETS

NO_RUN = {
    "alone-KEY.jsonl": "it lies in no folder: upload it as <dataset>/alone-KEY.jsonl",
    "nested-KEY/2026/train.jsonl": "it is not directly in the folder: upload it as <dataset>/train.jsonl",
    "notes-KEY/train.xlsx": "its name does not end in ",
    "held-KEY/test.jsonl": "a test file is never trained on",
    "wrong-KEY/finetune.yml": "a specification is named finetune.yaml",
}
RUNS = ("good-KEY/train.jsonl", "good-KEY/notes.xlsx", "spec-KEY/finetune.yaml", "spec-KEY/other.jsonl")


def test_what_yields_no_run_is_told_with_why(app: App, key: str) -> None:
    blobs = app.cloud.blobs
    paths = [path.replace("KEY", key) for path in (*NO_RUN, *RUNS)]
    for path in paths:
        blobs.write(DATASETS, path, b"{}")
    try:
        told = {upload.path: upload.why for upload in uploads_without_run(app) if key in upload.path}
        status, body = views.status(app)
        assert status == 200
        needs = [need["what"] for need in json.loads(body)["needs"] if key in need["what"]]
    finally:
        for path in paths:
            blobs.delete(DATASETS, path)
    assert set(told) == {path.replace("KEY", key) for path in NO_RUN}
    for path, why in NO_RUN.items():
        assert told[path.replace("KEY", key)].startswith(why.replace("KEY", key))
    assert sorted(needs) == sorted(f"{path} yields no run: {why}" for path, why in told.items())
