"""One that is broken stops nobody: each loop over many goes on past a folder, record, letter, mark or tag."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from localcloud.stack import Stack
from shared.api import requests, views
from shared.api.access import Caller
from shared.app import App
from shared.dataset.spec.choices import FILE_NAME
from shared.intake.arrivals import undelivered
from shared.lifecycle.phase import Phase
from shared.line.cleanup import cleanup
from shared.line.trained import trained
from shared.line.unreadable import unreadable
from shared.naming import LINE_TAG
from shared.records import layout, tags
from shared.records.base import Order, Wake
from shared.records.layout import DATASETS, DEAD_LETTERS, DELETIONS, PREPARED, SLOTS, STATE, WATERMARK
from shared.records.line import Empty, Line
from shared.records.run import Data, Ending, File, Run, Source
from shared.records.store import Unreadable
from shared.run.loop import advance
from shared.sweep import Watermark, sweep
from tests.kit.clouds import forget
from tests.kit.jobs import submitted
from tests.kit.ours import HERE, of_line
from tests.kit.records import run_of
from tests.kit.rows import ROW
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually

pytestmark = pytest.mark.thorough

DATE_KEY = b"train: train.jsonl\n2026-01-01: x\n"
BASE_60 = b"source: owner/chats\npercent: 1" + b":59" * 400 + b".5\n"
BROKEN = {
    "cut": b"{",
    "no UTF-8": b'{"id":"\xff"}',
    "nested": b'{"id":' + b"[" * 100_000,
    "another": b"[]",
    "empty": b"",
    "without a zone": b"",
}
"""Records as nobody writes them; the last one is made of a good one."""
ANYBODY = Caller(name="ada", proven=True)


def a_run(app: App, **changes: object) -> Run:
    now = app.cloud.blobs.now()
    folder = f"many-{uuid4().hex[:8]}"
    run = Run(
        id=f"r{uuid4().hex[:15]}",
        line=f"l{uuid4().hex[:15]}",
        order=Order(uploaded=now),
        source=Source(
            folder=folder, base_model="Phi-4", train=(File(name=f"{folder}/train.jsonl", etag="0x1", size=1),)
        ),
        since=now,
    )
    run = replace(run, **changes)  # type: ignore[arg-type]
    assert app.runs.create(run)
    return run


def broken_records(app: App) -> dict[str, str]:
    """Runs whose records are broken, each in its own way, by that."""
    found = {}
    for how, data in BROKEN.items():
        run = a_run(app)
        good = msgspec.json.encode(run)
        if how == "without a zone":
            data = good.replace(run.since.isoformat().removesuffix("+00:00").encode() + b"Z", b"2026-11-01T10:00:00")
            assert data != good
        app.cloud.blobs.write(STATE, layout.record("runs", run.id), data)
        found[how] = run.id
    return found


@pytest.fixture
def app(app: App) -> Iterator[App]:
    forget(app)
    yield with_settings(app, UPLOADS_SWEEP=timedelta(0))
    for prefix in ("active/", "lines/", "standing/", "waiting/", "poison/"):
        for blob in list(app.cloud.blobs.list(STATE, prefix)):
            app.cloud.blobs.delete(STATE, blob.name)
    for blob in [*app.cloud.blobs.list(DATASETS), *app.cloud.blobs.list(DEAD_LETTERS)]:
        app.cloud.blobs.delete(DEAD_LETTERS if "/" not in blob.name else DATASETS, blob.name)
    for name in (SLOTS, DELETIONS):
        app.cloud.blobs.delete(STATE, name)
    forget(app)


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_record_is_one_that_can_not_be_read(app: App, how: str) -> None:
    run = broken_records(app)[how]
    with pytest.raises(Unreadable, match=rf"{run}.json can't be read: "):
        app.runs.load(run)


@pytest.mark.parametrize("spec", [DATE_KEY, BASE_60])
def test_a_spec_that_no_parser_takes_is_a_rejected_run_that_says_why(app: App, folder: str, spec: bytes) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/{FILE_NAME}", spec)
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    sweep_uploads(app)
    (run,) = [mark.id for mark in app.runs.summaries(50)[0] if mark.folder == folder]
    advance(app, run, None)
    rejected = run_of(app, run)
    assert rejected.phase is Phase.REJECTED
    assert rejected.why.startswith("finetune.yaml, line 2, column ")
    status, body = requests.recovered(app, b"", ANYBODY)
    assert status == 200
    assert f"{DATASETS}/{folder}: finetune.yaml, line 2" in body.decode()


def sweep_uploads(app: App) -> None:
    """As if all that is there had come since the last listing."""
    now = app.cloud.blobs.now()
    mark = Watermark(installed=now - timedelta(days=1), swept=now - timedelta(hours=2), reviewed=now)
    app.cloud.blobs.write(STATE, WATERMARK, msgspec.json.encode(mark))
    sweep(app)


def test_recover_goes_on_past_whatever_is_broken(app: App, folder: str, cloud: Stack) -> None:
    blobs = app.cloud.blobs
    for number, spec in enumerate((DATE_KEY, BASE_60)):
        blobs.write(DATASETS, f"a{number}-{folder}/{FILE_NAME}", spec)
    blobs.write(DATASETS, f"z-{folder}/train.jsonl", ROW)
    broken = broken_records(app)
    strays = Run(
        id="../lines/x",
        line="../x",
        installation=app.settings.storage.installation,
        order=Order(uploaded=blobs.now()),
        source=Source(folder="..", base_model="../../x"),
        since=blobs.now(),
    )
    cloud.control("POST", "/_local/pretend", {"jobs": {"seconds": 3600}})
    jobs = [submitted(app, run) for run in broken.values()]
    endpoint = f"many-{uuid4().hex[:8]}"
    app.cloud.endpoints.create(endpoint, tags=tags.tags_of(strays) | {LINE_TAG: "../../x"})
    try:
        eventually(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")
        cloud.control("POST", "/_local/ledger", {"storage": True})
        cloud.control("DELETE", "/_local/ledger")
        status, body = requests.recovered(app, b"", ANYBODY)
        assert status == 200, body
        told = json.loads(body)["told"]
        assert any(f"datasets/z-{folder}/train.jsonl has no run" in each for each in told), "the others are seen"
        for number in range(2):
            assert any(f"a{number}-{folder}: finetune.yaml, line 2" in each for each in told)
        assert any(f"endpoint {endpoint} is of line ../../x, whose record is lost" in each for each in told)
        paths = [entry["path"] for entry in cloud.control("GET", "/_local/ledger")]
        assert not [path for path in paths if not {".", ".."}.isdisjoint(path.split("/"))]
    finally:
        cloud.control("POST", "/_local/ledger", {"storage": False})
        cloud.control("DELETE", "/_local/pretend")
        for job in jobs:
            app.cloud.jobs.cancel(job)
        app.cloud.endpoints.delete(endpoint)


def test_the_sweep_goes_on_past_whatever_is_broken(app: App, folder: str) -> None:
    blobs = app.cloud.blobs
    late = a_run(app, wake=Wake(token="t", due=blobs.now() - timedelta(minutes=5)))
    broken_records(app)
    blobs.write(STATE, layout.marker("active", "a/b"), b"", metadata={"run": "e30=", "version": "9" * 5_000})
    blobs.write(STATE, SLOTS, b'{"holding":{},"waiting":{},"started":[],"short":{"x":"2026-11-01T10:00:00Z"}}')
    for number, spec in enumerate((DATE_KEY, BASE_60)):
        blobs.write(DATASETS, f"a{number}-{folder}/{FILE_NAME}", spec)
    blobs.write(DATASETS, f"z-{folder}/train.jsonl", ROW)
    blobs.write(DATASETS, f"y-{folder}/train.jsonl", ROW)
    for name, data in {"a": b"\xff", "b": b"[" * 100_000, "c": b"{", "d": letter(f"y-{folder}")}.items():
        blobs.write(DEAD_LETTERS, f"{folder}-{name}.json", data)
    queue = app.cloud.clients.queue_service.get_queue_client(layout.PREPARE_QUEUE)
    queue.clear_messages()
    sweep_uploads(app)
    folders = {mark.folder: mark.phase for mark in app.runs.summaries(50)[0]}
    assert {folders.get(f"{first}-{folder}") for first in "yz"} == {Phase.RECEIVED}
    assert all(f"a{number}-{folder}" in folders for number in range(2)), "they are rejected"
    assert late.id in str([msgspec.json.decode(base64.b64decode(m.content)) for m in queue.peek_messages(32)])
    assert not list(blobs.list(DEAD_LETTERS, folder))


def letter(folder: str, *before: object) -> bytes:
    """A dead letter with the event of an upload, behind others."""
    path = f"{folder}/train.jsonl"
    event = {
        "eventType": "Microsoft.Storage.BlobCreated",
        "subject": f"/blobServices/default/containers/{DATASETS}/blobs/{path}",
        "data": {"api": "PutBlob", "url": f"https://a.blob.core.windows.net/{DATASETS}/{path}", "contentLength": 9},
    }
    return json.dumps([*before, event]).encode()


@pytest.mark.parametrize("name", ["..", ".", "\ud800", "a\nb", "\u0000"])
def test_an_event_of_a_folder_that_can_be_none_stops_no_other(app: App, folder: str, name: str) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", ROW)
    bad = json.loads(letter(name))[0]
    with nullcontext() if name != "\ud800" else pytest.raises(ValueError, match="no Unicode"):
        undelivered(app, letter(folder, bad))
    assert folder in [mark.folder for mark in app.runs.summaries(50)[0]]


def test_of_a_dead_letter_all_events_are_handled_though_one_can_not_be_now(app: App, folder: str, cloud: Stack) -> None:
    first, second = f"a-{folder}", f"b-{folder}"
    for each in (first, second):
        app.cloud.blobs.write(DATASETS, f"{each}/train.jsonl", ROW)
        app.cloud.blobs.write(DATASETS, f"{each}/{FILE_NAME}", b"train: train.jsonl\n")
    fault = {"service": "blob", "method": "GET", "path": f"/{first}/", "status": 403, "count": 20}
    cloud.control("POST", "/_local/faults", fault)
    try:
        app.cloud.blobs.write(DEAD_LETTERS, f"{folder}.json", letter(second, json.loads(letter(first))[0]))
        sweep(with_settings(app, UPLOADS_SWEEP=timedelta(days=1)))
    finally:
        cloud.control("DELETE", "/_local/faults")
    assert second in [mark.folder for mark in app.runs.summaries(50)[0]]
    assert app.cloud.blobs.head(DEAD_LETTERS, f"{folder}.json"), "the other one is handled later"


def test_lists_show_the_others_and_name_what_is_broken(app: App, folder: str) -> None:
    blobs = app.cloud.blobs
    good, broken = a_run(app), broken_records(app)
    for run in broken.values():  # as an older app has left them: without a mark
        blobs.write(STATE, layout.marker("active", run), b"")
    naive = msgspec.json.encode({"id": "x", "line": "l", "folder": "f", "base_model": "m", "attempt": 1} | MARK)
    for number, version in enumerate(("1", "9" * 5_000)):
        marked = {"run": base64.urlsafe_b64encode(naive).decode(), "version": version}
        blobs.write(STATE, layout.marker("active", f"m{number}"), b"", metadata=marked)
    status, body = views.runs(app, {})
    assert status == 200
    assert good.id in [each["id"] for each in json.loads(body)["runs"]]
    assert set(broken.values()) <= {each["id"] for each in json.loads(body)["unreadable"]}
    line = Line(
        id=f"l{uuid4().hex[:15]}", folder=folder, base_model="Phi-4", endpoint="e", state=Empty(since=good.since)
    )
    bad = f"l{uuid4().hex[:15]}"
    for number, data in enumerate([b'{"id":"\xff"}', BROKEN["nested"], naive_line(line)]):
        blobs.write(STATE, f"lines/{bad}{number}.json", data)
        blobs.write(STATE, f"standing/{bad}{number}", b"")
    assert app.lines.create(line)
    status, body = views.lines(app)
    assert status == 200
    assert [each["id"] for each in json.loads(body)["lines"]] == [line.id]
    assert len(json.loads(body)["unreadable"]) == 3
    for name, data in {"a": b"\xff", "b": BROKEN["nested"], "c": b'["\xff"]', "d": b'["x.jsonl"]'}.items():
        blobs.write(STATE, layout.waiting(f"{name}-{folder}"), data)
    status, body = views.folders(app)
    assert status == 200
    assert json.loads(body)["waiting"] == {f"d-{folder}": ["x.jsonl"]}


MARK = {"phase": "received", "since": "2026-11-01T10:00:00"}


def naive_line(line: Line) -> bytes:
    data = msgspec.json.encode(line)
    assert isinstance(line.state, Empty)
    return data.replace(msgspec.json.encode(line.state.since), b'"2026-11-01T10:00:00"')


@pytest.mark.parametrize("report", [b"\xff", b'{"a":"\xff"}', BROKEN["nested"], b"[]"])
def test_a_run_is_shown_though_its_report_is_broken(app: App, report: bytes) -> None:
    run = a_run(app, phase=Phase.FAILED, ending=Ending(phase=Phase.FAILED, why="x"))
    app.cloud.blobs.write(PREPARED, layout.report(run.prepared), report)
    status, body = views.run(app, run.id)
    assert (status, json.loads(body)["report"]) == (200, None)


@pytest.mark.parametrize("note", [b"\xff", BROKEN["nested"], b"{}"])
def test_nothing_is_trained_on_a_doubt_and_the_doubt_is_told(app: App, note: bytes) -> None:
    run = a_run(app).in_attempt(data=Data(fingerprint="f" * 32))
    app.cloud.blobs.write(STATE, layout.trained(run.line, "f" * 32), note)
    with pytest.raises(Unreadable, match=f"trained/{run.line}/f*.json can't be read: "):
        trained(app, run)


@pytest.mark.parametrize("deletions", [b"{", b'{"x":"2026-11-01T10:00:00"}', BROKEN["nested"]])
def test_the_cleanup_goes_on_though_its_count_is_broken(app: App, cloud: Stack, deletions: bytes) -> None:
    name = f"many-{uuid4().hex[:8]}"
    line = Line(id=name, folder=name, base_model="Phi-4", endpoint=name, installation=HERE)
    line = replace(line, state=Empty(since=app.cloud.blobs.now() - timedelta(days=40)))
    app.cloud.endpoints.create(name, tags=of_line(line))
    try:
        eventually(lambda: (found := app.cloud.endpoints.get(name)) and found.state == "Succeeded")
        app.cloud.blobs.write(STATE, "lines/lbroken.json", b'{"id":"\xff"}')
        app.cloud.blobs.write(STATE, "standing/lbroken", b"")
        assert app.lines.create(line)
        app.cloud.blobs.write(STATE, DELETIONS, deletions)
        assert "the next teardown makes it anew" in " ".join(unreadable(app))
        cleanup(app)
        [told] = unreadable(app)
        assert told.startswith("state/deletions.json could not be read, and was made anew at 20")
        assert app.cloud.blobs.read(STATE, layout.damaged(DELETIONS))[0] == deletions
        events = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        about_it = [each for each in events if each.get("subject") == "records/deletions.json"]
        assert about_it[-1]["data"]["reason"] == told
        loaded = app.lines.load(name)
        assert loaded
        assert loaded.record.is_going
    finally:
        app.cloud.endpoints.delete(name)
        app.cloud.blobs.delete(STATE, layout.damaged(DELETIONS))


@pytest.mark.parametrize("body", [b'{"by":"\xff"}', b'{"a":' * 800, b"[" * 4_000])
def test_a_command_of_any_bytes_is_refused(app: App, body: bytes) -> None:
    assert requests.recovered(app, body, ANYBODY)[0] == 400
