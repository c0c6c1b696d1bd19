"""Uploads that yield no run are told, each with why, and once a day; those that do are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.intake.without_run import Upload, tell_of_uploads, uploads_without_run, without_run
from shared.records.layout import DATASETS, STATE, UPLOADS_TOLD
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually

NO_RUN = {
    "alone-KEY.jsonl": "it lies in no folder: upload it as <dataset>/alone-KEY.jsonl",
    "nested-KEY/2026/train.jsonl": "it is not directly in the folder: upload it as <dataset>/train.jsonl",
    "beside-KEY/2026/more.jsonl": "it is not directly in the folder: upload it as <dataset>/more.jsonl",
    "notes-KEY/train.notes": "its name does not end in ",
    "notes-KEY/read.me": "its name does not end in ",
    "saved-KEY/.DS_Store": "by its name it was left there by a program",
    "held-KEY/test.jsonl": "a test file is never trained on; if it is to be, name it in finetune.yaml "
    '(train: "test.jsonl")',
    "both-KEY/data/train.jsonl": "it is not directly in the folder: upload it as <dataset>/train.jsonl",
    "clone-KEY/data/old/train.jsonl": "it is not directly in the folder: upload it as <dataset>/train.jsonl",
}
RUNS = (
    *("good-KEY/train.jsonl", "good-KEY/notes.xlsx", "good-KEY/docs/readme.md", "beside-KEY/train.jsonl"),
    *("clone-KEY/README.md", "clone-KEY/data/train-00000-of-00001.parquet", "clone-KEY/data/test.jsonl"),
    *("piece-KEY/train-00000-of-00002.parquet", "both-KEY/train.jsonl", "both-KEY/data/._train.jsonl"),
    *("spec-KEY/finetune.yaml", "spec-KEY/other.jsonl", "wrong-KEY/finetune.yml", "two-KEY/a.csv", "two-KEY/b.csv"),
)


@pytest.fixture
def paths(app: App, key: str) -> Iterator[dict[str, str]]:
    """All of these, in storage; those that yield no run with why."""
    found = {path.replace("KEY", key): NO_RUN.get(path, "").replace("KEY", key) for path in (*NO_RUN, *RUNS)}
    for path in found:
        app.cloud.blobs.write(DATASETS, path, b"{}")
    yield {path: why for path, why in found.items() if why}
    for path in found:
        app.cloud.blobs.delete(DATASETS, path)
    app.cloud.blobs.delete(STATE, UPLOADS_TOLD)


@pytest.mark.parametrize("name", ["faq", "faq/2026", "faq/"])
def test_a_folder_as_some_accounts_list_it_is_no_upload(name: str) -> None:
    """With a hierarchical namespace a folder is a blob of its own, without content."""
    blob = BlobInfo(name=name, etag="0x1", size=0, last_modified=datetime.now(UTC))
    assert list(without_run(name.rpartition("/")[0], [blob])) == []


def test_what_yields_no_run_is_told_with_why(app: App, key: str, paths: dict[str, str]) -> None:
    told = {upload.path: upload.why for upload in uploads_without_run(app) if key in upload.path}
    status, body = views.status(app)
    assert status == 200
    needs = [need["what"] for need in json.loads(body)["needs"] if key in need["what"]]
    listed = json.loads(views.folders(app)[1])["without_run"]
    assert set(told) == set(paths)
    for path, why in paths.items():
        assert told[path].startswith(why)
    assert sorted(needs) == sorted(f"{path} yields no run: {why}" for path, why in told.items())
    assert {each["path"]: each["why"] for each in listed if key in each["path"]} == told


def test_of_a_folder_that_is_not_seen_whole_nothing_is_said(app: App, key: str, paths: dict[str, str]) -> None:
    names = [blob.name for blob in app.cloud.blobs.list(DATASETS)]
    upto = names.index(f"beside-{key}/2026/more.jsonl") + 1
    told = [upload.path for upload in uploads_without_run(app, upto)]
    assert f"alone-{key}.jsonl" in told
    assert f"beside-{key}/2026/more.jsonl" not in told, "its other files may come behind"


def test_each_folder_is_told_once_and_for_what_is_new_once_a_day(
    app: App, cloud: Stack, key: str, paths: dict[str, str]
) -> None:
    quick, begin = with_settings(app, SETTLE_TIME=timedelta(0)), app.cloud.blobs.now() - timedelta(minutes=5)

    def events() -> list[dict[str, Any]]:
        told = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        return [each for each in told if each.get("type") == "Droptune.Upload.WithoutRun" and key in str(each["data"])]

    tell_of_uploads(app, begin, uploads_without_run(app, None))
    assert events() == [], "the rest may be on its way"
    for _ in range(2):
        tell_of_uploads(quick, begin, uploads_without_run(app, None))
        told = {each["data"]["dataset"]: each["data"]["reason"] for each in events()}
        assert len(events()) == len(told)
    assert set(told) == {path.partition("/")[0] if "/" in path else "" for path in paths}
    assert told[f"held-{key}"].startswith(f"held-{key}/test.jsonl yields no run: a test file is never")
    assert (
        f"notes-{key}/read.me, notes-{key}/train.notes yield no run: its name does not end in" in (told[f"notes-{key}"])
    )
    before = len(events())
    eventually(lambda: app.cloud.blobs.now() - begin > timedelta(minutes=5, seconds=2))
    app.cloud.blobs.write(DATASETS, f"held-{key}/test.jsonl", b"again")
    tell_of_uploads(quick, begin, uploads_without_run(app, None))
    assert len(events()) == before, "once a day"
    data, _ = app.cloud.blobs.read(STATE, UPLOADS_TOLD)
    earlier = {folder: str(datetime.fromisoformat(at) - timedelta(days=1)) for folder, at in json.loads(data).items()}
    app.cloud.blobs.write(STATE, UPLOADS_TOLD, json.dumps(earlier).encode())
    tell_of_uploads(quick, begin, uploads_without_run(app, None))
    assert len(events()) > before, "a day later the new upload is told"
    app.cloud.blobs.write(STATE, UPLOADS_TOLD, b"{")
    tell_of_uploads(quick, app.cloud.blobs.now() + timedelta(hours=1), uploads_without_run(app, None))
    assert len(events()) > before, "a record that is broken stops nothing"


BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def say(app: App, cloud: Stack, key: str) -> Iterator[Callable[..., str]]:
    """Tells of uploads by their names and ages, as listed so long after BEGIN; what people hear of them."""
    app.cloud.blobs.delete(STATE, UPLOADS_TOLD)

    def events() -> list[str]:
        told = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        return [each["data"]["reason"] for each in told if key in str(each["data"])]

    def say(at: timedelta, uploads: dict[str, timedelta], *found: str, folder: str = key) -> str:
        before, now = events(), BEGIN + at
        made = [Upload(path=f"{key}{name}", folder=folder, why="so", at=now - age) for name, age in uploads.items()]
        tell_of_uploads(app, BEGIN, made, found={f"{key}{name}" for name in found}, listed=now)
        return " ".join(events()[len(before) :])

    yield say
    app.cloud.blobs.delete(STATE, UPLOADS_TOLD)


def test_uploads_that_never_cease_are_told_but_for_the_last_ones(key: str, say: Callable[..., str]) -> None:
    """And those that were left out the first time are told the next day."""
    second, day = timedelta(seconds=1), timedelta(days=1)
    many = {"old": 70 * second, "young": 59 * second, "new": 0 * second}
    for folder in ("", key):
        assert say(day, many, folder=folder) == f"{key}old yields no run: so"
        assert not say(day + 61 * second, {name: age + 61 * second for name, age in many.items()}, folder=folder)
        told = say(2 * day, {name: age + day for name, age in many.items()}, folder=folder)
        assert told == f"{key}young, {key}new yield no run: so"
        assert not say(3 * day, {name: age + 2 * day for name, age in many.items()}, folder=folder)


def test_what_looks_old_is_remembered_until_it_is_told(key: str, say: Callable[..., str]) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    assert say(day, {"first": hour}) == f"{key}first yields no run: so"
    assert not say(day + 3 * hour, {"first": 4 * hour, "renamed": 90 * day, "gone": 90 * day}, "renamed", "gone")
    assert not say(day + 4 * hour, {"first": 5 * hour, "renamed": 90 * day})
    assert say(2 * day, {"first": 25 * hour, "renamed": 90 * day}) == f"{key}renamed yields no run: so"
    assert not say(3 * day, {"first": 49 * hour, "renamed": 90 * day})
    assert not say(4 * day, {"first": 73 * hour, "renamed": 90 * day})
