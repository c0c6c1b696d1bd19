"""A finetune.yaml that names a file which does not come is told after an hour, and daily, with what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.intake.arrivals import look_into
from shared.line.waits import Kept, counted, kept_needs
from shared.records.base import from_json
from shared.records.layout import ADOPTED, DATASETS, NEEDS, STATE, WATERMARK, waiting
from shared.sweep import sweep
from tests.kit.clouds import forget, later
from tests.kit.rows import ROW

pytestmark = pytest.mark.thorough
HOUR = timedelta(minutes=61)


@pytest.fixture
def waits(app: App, folder: str) -> Iterator[str]:
    """What is said of a folder whose finetune.yaml has a typo, which the sweep has reviewed a moment ago."""
    forget(app)
    for name in (NEEDS, WATERMARK):
        app.cloud.blobs.delete(STATE, name)
    for file, data in {"train.jsonl": ROW, "finetune.yaml": b"train: trian.jsonl\n"}.items():
        app.cloud.blobs.write(DATASETS, f"{folder}/{file}", data)
    look_into(app, folder)
    sweep(app)
    yield f"{folder} waits for trian.jsonl, which its finetune.yaml names; there are: train.jsonl"
    forget(app)
    for name in (ADOPTED, NEEDS, WATERMARK, waiting(folder)):
        app.cloud.blobs.delete(STATE, name)


def events(cloud: Stack, folder: str) -> list[dict[str, Any]]:
    told = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
    return [each["data"] for each in told if each.get("type") == "Droptune.Upload.Waiting" and folder in str(each)]


def shown(app: App, folder: str) -> list[str]:
    return [need["what"] for need in json.loads(views.status(app)[1])["needs"] if f"{folder} waits for" in need["what"]]


def test_a_file_that_does_not_come_is_told_with_those_that_are_there(
    app: App, cloud: Stack, folder: str, waits: str
) -> None:
    assert (events(cloud, folder), shown(app, folder)) == ([], []), "it may be on its way"
    later(app, cloud, HOUR)
    sweep(app)
    assert events(cloud, folder) == [{"reason": waits, "dataset": folder}]
    assert shown(app, folder) == [waits]
    assert counted(app)
    later(app, cloud, HOUR)
    sweep(app)
    assert len(events(cloud, folder)) == 1
    later(app, cloud, timedelta(hours=23))
    sweep(app)
    assert len(events(cloud, folder)) == 2, "daily"


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("gone", ["finetune.yaml", ""])
def test_it_is_over_when_the_file_comes_or_the_finetune_yaml_goes(
    app: App, cloud: Stack, folder: str, gone: str
) -> None:
    later(app, cloud, HOUR)
    sweep(app)
    if gone:
        app.cloud.blobs.delete(DATASETS, f"{folder}/{gone}")
    else:
        app.cloud.blobs.write(DATASETS, f"{folder}/trian.jsonl", ROW)
        look_into(app, folder)
    later(app, cloud, HOUR)
    sweep(app)
    assert shown(app, folder) == []


@pytest.mark.usefixtures("waits")
def test_a_need_without_its_time_is_shown_as_of_now(app: App, cloud: Stack, folder: str) -> None:
    later(app, cloud, HOUR)
    sweep(app)
    kept = json.loads(app.cloud.blobs.read(STATE, NEEDS)[0])
    without: list[dict[str, Any]] = [{}, {"folders": {}}]
    for since in without:
        app.cloud.blobs.write(STATE, NEEDS, json.dumps(kept | {"since": since}).encode())
        [(need, at)] = [(need, at) for need, at in kept_needs(app) if need.dataset == folder]
        assert app.cloud.blobs.now() - at < timedelta(minutes=1)
        assert shown(app, folder) == [need.why]
    assert from_json(app.cloud.blobs.read(STATE, NEEDS)[0], Kept)


def test_a_piece_that_does_not_come_is_told_too_until_somebody_uploads_it(
    app: App, cloud: Stack, folder: str, waits: str
) -> None:
    del waits  # a folder that has been reviewed, of which nothing is left now
    for file in ("train.jsonl", "finetune.yaml"):
        app.cloud.blobs.delete(DATASETS, f"{folder}/{file}")
    app.cloud.blobs.write(DATASETS, f"{folder}/data/train-00000-of-00002.jsonl", ROW)
    look_into(app, folder)
    sweep(app)
    later(app, cloud, HOUR)
    sweep(app)
    told = f"{folder} waits for data/train-00001-of-00002.jsonl, as the other pieces say by their names; there are: "
    assert shown(app, folder) == [f"{told}data/train-00000-of-00002.jsonl"]
    app.cloud.blobs.write(DATASETS, f"{folder}/data/train-00001-of-00002.jsonl", ROW)
    later(app, cloud, HOUR)
    sweep(app)
    assert shown(app, folder) == []
