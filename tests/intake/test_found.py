"""Uploads without an event and with old dates are found by the last listing; the first one, or a lost one, is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.intake.adopted import adopted
from shared.intake.listing import decoded
from shared.lifecycle.phase import Phase
from shared.line.unreadable import unreadable
from shared.records import layout
from shared.records.layout import ADOPTED, DATASETS, LISTING, PREPARED, STATE, UPLOADS_TOLD, WATERMARK
from shared.records.run import Run
from shared.sweep import sweep
from tests.kit.clouds import forget, later
from tests.kit.rows import ROW
from tests.kit.runs import recent
from tests.kit.settings import with_settings

LONG = timedelta(hours=2)


@pytest.fixture
def app(app: App) -> Iterator[App]:
    """One that lists the datasets at each sweep, and has listed them."""
    forget(app)
    app = with_settings(app, UPLOADS_SWEEP=timedelta(0))
    sweep(app)
    yield app
    forget(app)
    for name in (ADOPTED, layout.damaged(LISTING), layout.damaged(WATERMARK)):
        app.cloud.blobs.delete(STATE, name)


def runs_of(app: App, folder: str) -> list[Run]:
    return [run for run in recent(app, 200) if run.source.folder == folder]


def put(app: App, path: str, data: bytes = ROW, container: str = DATASETS) -> None:
    app.cloud.blobs.write(container, path, data)


def undeleted(app: App, cloud: Stack, path: str) -> Callable[[], None]:
    put(app, path)
    app.cloud.blobs.delete(DATASETS, path)
    service = app.cloud.clients.blob_service
    return lambda: service.get_blob_client(DATASETS, path).undelete_blob()


def renamed(app: App, cloud: Stack, path: str) -> Callable[[], None]:
    put(app, path, container=PREPARED)
    return lambda: cloud.control("POST", "/_local/blobs", {"rename": f"{PREPARED}/{path}", "to": f"{DATASETS}/{path}"})


def copied(app: App, cloud: Stack, path: str) -> Callable[[], None]:
    put(app, path, container=PREPARED)
    return lambda: cloud.control("POST", "/_local/blobs", {"copy": f"{PREPARED}/{path}", "to": f"{DATASETS}/{path}"})


@pytest.mark.parametrize(
    "how",
    [undeleted, pytest.param(renamed, marks=pytest.mark.thorough), pytest.param(copied, marks=pytest.mark.thorough)],
)
def test_what_comes_without_an_event_and_with_an_old_date_is_found(
    app: App, cloud: Stack, folder: str, how: Callable[[App, Stack, str], Callable[[], None]]
) -> None:
    path = f"{folder}/train.jsonl"
    bring = how(app, cloud, path)
    later(app, cloud, LONG)
    sweep(app)
    assert runs_of(app, folder) == []
    bring()
    blob, before = app.cloud.blobs.head(DATASETS, path), app.cloud.blobs.now()
    assert blob
    assert before - blob.last_modified >= LONG
    for _ in range(2):
        sweep(app)
    [run] = runs_of(app, folder)
    assert run.phase is Phase.RECEIVED
    assert before - run.order.uploaded < timedelta(minutes=1), "what stands there now is newer than what serves"
    assert run.wake
    assert run.wake.due >= run.order.uploaded + app.settings.data.settle, "the rest may be on its way"


@pytest.mark.thorough
def test_an_account_is_adopted_without_training_all_of_it(app: App, cloud: Stack, key: str) -> None:
    folders = [f"0000-{key}-{number:02}" for number in range(50)]
    for folder in folders:
        put(app, f"{folder}/train.jsonl")
    for name in (WATERMARK, LISTING):
        app.cloud.blobs.delete(STATE, name)
    later(app, cloud, LONG)
    try:
        for _ in range(2):
            sweep(app)
        assert [folder for folder in folders if runs_of(app, folder)] == []
        [event] = told(cloud)
        for reason in (event["data"]["reason"], *adopted(app)):
            assert f"of these folders there are data and no run: {', '.join(folders[:20])} and " in reason
            assert "droptune start FOLDER starts it" in reason
            assert reason in [need["what"] for need in json.loads(views.status(app)[1])["needs"]]
        put(app, f"{folders[0]}/train.jsonl", ROW + ROW)
        put(app, f"{folders[1]}/test.jsonl")
        sweep(app)
        assert [folder for folder in folders if runs_of(app, folder)] == folders[:2], "what changes later is found"
        [reason] = adopted(app)
        assert f"no run: {', '.join(folders[2:22])} and " in reason, "what has a run by now is not named any more"
    finally:
        for folder in folders:
            app.cloud.blobs.delete(DATASETS, f"{folder}/train.jsonl")


def told(cloud: Stack) -> list[dict[str, Any]]:
    events = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
    return [each for each in events if each.get("type") == "Droptune.Upload.Adopted"][-1:]


@pytest.mark.thorough
@pytest.mark.parametrize("data", [None, b"", b"{", b"\x1f\x8b\x08", "cut"], ids=["lost", "empty", "no", "head", "cut"])
def test_a_listing_that_is_lost_or_damaged_starts_nothing_and_is_told(
    app: App, cloud: Stack, folder: str, data: bytes | str | None
) -> None:
    names = {name: f"{folder}-{name}" for name in ("old", "young", "new")}
    bring = renamed(app, cloud, f"{names['old']}/train.jsonl")
    later(app, cloud, LONG)
    sweep(app)
    bring()
    put(app, f"{names['young']}/train.jsonl")
    kept = app.cloud.blobs.read(STATE, LISTING)[0]
    if data is None:
        app.cloud.blobs.delete(STATE, LISTING)
    else:
        app.cloud.blobs.write(STATE, LISTING, data if isinstance(data, bytes) else kept[:-9])
    before = told(cloud)
    sweep(app)
    assert runs_of(app, names["old"]) == [], "nobody knows that it is news"
    assert runs_of(app, names["young"]), "its date says that it came since the last sweep"
    assert told(cloud) != before
    [reason] = adopted(app)
    assert names["young"] not in reason
    if data is not None:
        assert app.cloud.blobs.head(STATE, layout.damaged(LISTING))
        assert [each for each in unreadable(app) if each.startswith("state/listing.gz could not be read")]
    assert decoded(app.cloud.blobs.read(STATE, LISTING)[0])[names["old"]]
    cloud.control(
        "POST",
        "/_local/blobs",
        {"rename": f"{DATASETS}/{names['old']}/train.jsonl", "to": f"{DATASETS}/{names['new']}/train.jsonl"},
    )
    sweep(app)
    assert runs_of(app, names["new"]), "from then on news are found"


@pytest.mark.thorough
@pytest.mark.parametrize("data", [None, b"{"], ids=["lost", "damaged"])
def test_where_the_watermark_is_lost_the_listing_still_tells(
    app: App, cloud: Stack, folder: str, data: bytes | None
) -> None:
    put(app, f"{folder}/train.jsonl")
    later(app, cloud, LONG)
    if data is None:
        app.cloud.blobs.delete(STATE, WATERMARK)
    else:
        app.cloud.blobs.write(STATE, WATERMARK, data)
    sweep(app)
    assert runs_of(app, folder)
    if data is not None:
        [reason] = [each for each in unreadable(app) if "watermark" in each]
        assert "uploads are found all the same, by the last listing of the datasets (state/listing.gz)" in reason


@pytest.mark.thorough
def test_a_deletion_starts_nothing(app: App, cloud: Stack, folder: str) -> None:
    """Of two training files none was meant, with a finetune.yaml none is left: what remains was not uploaded now."""
    files = {"two": ("a.jsonl", "b.jsonl"), "spec": ("train.jsonl", "finetune.yaml")}
    for name, (left, gone) in files.items():
        put(app, f"{folder}-{name}/{left}")
        put(app, f"{folder}-{name}/{gone}", b"train: none.jsonl" if name == "spec" else ROW)
    app.cloud.blobs.delete(STATE, LISTING)
    app.cloud.blobs.delete(STATE, WATERMARK)
    later(app, cloud, LONG)
    sweep(app)
    for name, (_, gone) in files.items():
        app.cloud.blobs.delete(DATASETS, f"{folder}-{name}/{gone}")
    sweep(app)
    for name in files:
        assert runs_of(app, f"{folder}-{name}") == []
        put(app, f"{folder}-{name}/test.jsonl")
    sweep(app)
    assert all(runs_of(app, f"{folder}-{name}") for name in files)


@pytest.mark.thorough
def test_what_yields_no_run_is_told_though_it_looks_old(app: App, cloud: Stack, folder: str) -> None:
    bring = renamed(app, cloud, f"{folder}/2026/train.jsonl")
    later(app, cloud, LONG)
    for name in (WATERMARK, LISTING):
        app.cloud.blobs.delete(STATE, name)
    quick = with_settings(app, SETTLE_TIME=timedelta(0))
    sweep(quick)
    bring()
    for _ in range(2):
        sweep(quick)
    events = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
    [reason] = [each["data"]["reason"] for each in events if each.get("subject") == f"datasets/{folder}"]
    assert reason.startswith(f"{folder}/2026/train.jsonl yields no run: it is not directly in the folder")


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["FOLDER/2026/", "FOLDER-"], ids=["in a folder", "in none"])
def test_what_looks_old_beside_what_was_told_is_told_a_day_later(
    app: App, cloud: Stack, folder: str, where: str
) -> None:
    where = where.replace("FOLDER", folder)
    bring = renamed(app, cloud, f"{where}old.jsonl")
    quick = with_settings(app, SETTLE_TIME=timedelta(0))
    app.cloud.blobs.delete(STATE, UPLOADS_TOLD)

    def reasons() -> list[str]:
        events = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        told = [each["data"]["reason"] for each in events if each.get("type") == "Droptune.Upload.WithoutRun"]
        return [reason for reason in told if where in reason]

    later(app, cloud, LONG)
    put(app, f"{where}new.jsonl")
    sweep(quick)
    later(app, cloud, LONG)
    bring()
    sweep(quick)
    assert len(reasons()) == 1, "once a day"
    later(app, cloud, timedelta(days=1))
    for _ in range(2):
        sweep(quick)
    [first, second] = reasons()
    assert f"{where}new.jsonl yields no run" in first
    assert f"{where}old.jsonl yields no run" in second


@pytest.mark.thorough
def test_a_damaged_listing_is_told_once_while_nothing_can_be_listed(
    app: App, cloud: Stack, folder: str, fault: Callable[..., None]
) -> None:
    app.cloud.blobs.write(STATE, LISTING, b"{")

    def events() -> list[str]:
        sent = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        return [each["id"] for each in sent if str(each.get("id")).startswith(f"unreadable-{LISTING}")]

    before = events()
    for _ in range(3):
        fault(method="GET", path=f"/{DATASETS}$")
        sweep(app)
        cloud.control("DELETE", "/_local/faults")
        later(app, cloud, timedelta(minutes=5))
    assert events() == before, "nothing was made anew"
    for _ in range(2):
        sweep(app)
    assert len(events()) == len(before) + 1


@pytest.fixture
def fault(cloud: Stack) -> Iterator[Callable[..., None]]:
    """Has the blob service refuse one request."""
    yield lambda **what: cloud.control("POST", "/_local/faults", {"service": "blob", "status": 403} | what)
    cloud.control("DELETE", "/_local/faults")


def test_after_a_crash_before_the_listing_is_kept_all_is_looked_at_again(
    app: App, folder: str, fault: Callable[..., None]
) -> None:
    put(app, f"{folder}/train.jsonl")
    before = app.cloud.blobs.read(STATE, LISTING)[0]
    fault(method="PUT", path=f"/{STATE}/{LISTING}")
    sweep(app)
    [run] = runs_of(app, folder)
    assert app.cloud.blobs.read(STATE, LISTING)[0] == before
    sweep(app)
    assert runs_of(app, folder) == [run]
    assert folder in decoded(app.cloud.blobs.read(STATE, LISTING)[0])


@pytest.mark.thorough
def test_a_folder_that_could_not_be_looked_into_is_news_the_next_time(
    app: App, cloud: Stack, folder: str, fault: Callable[..., None]
) -> None:
    put(app, f"{folder}/readme.md")
    bring = renamed(app, cloud, f"{folder}/train.jsonl")
    later(app, cloud, LONG)
    sweep(app)
    bring()
    fault(method="GET", path=f"/{DATASETS}$", query=f"prefix={folder}")
    sweep(app)
    assert runs_of(app, folder) == []
    sweep(app)
    assert runs_of(app, folder)


@pytest.mark.thorough
def test_two_sweeps_at_once_make_one_run(app: App, folder: str) -> None:
    put(app, f"{folder}/train.jsonl")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sweep(app), range(2)))
    assert len(runs_of(app, folder)) == 1


@pytest.mark.thorough
def test_a_listing_costs_one_listing(app: App, cloud: Stack) -> None:
    """And what was kept of the last one, whom it has told of, and the watermark."""
    sweep(app)
    later(app, cloud, timedelta(seconds=2))
    with requests_of(app) as without:
        sweep(with_settings(app, UPLOADS_SWEEP=timedelta(days=1)))
    with requests_of(app) as counted:
        sweep(app)
    assert counted.requests - without.requests == 5


@pytest.mark.thorough
def test_a_topic_that_is_down_hears_of_it_later(app: App, cloud: Stack, folder: str) -> None:
    put(app, f"{folder}/train.jsonl")
    before = told(cloud)
    cloud.control("POST", "/_local/faults", {"path": "/api/events", "method": "POST", "count": None})
    try:
        app.cloud.blobs.delete(STATE, LISTING)
        sweep(app)
        assert told(cloud) == before
    finally:
        cloud.control("DELETE", "/_local/faults")
    later(app, cloud, timedelta(minutes=2))
    sweep(app)
    assert told(cloud) != before
