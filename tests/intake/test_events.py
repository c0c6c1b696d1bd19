"""Messages as Event Grid delivers them: both schemas, what is not for us, and what nobody can read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.intake.events import BlobCreated, Ignored, JobChanged, blob_created, job_changed


def storage_event(path: str = "faq/train.jsonl", *, subject: str | None = None, **data: Any) -> dict[str, Any]:
    return {
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": subject or f"/blobServices/default/containers/datasets/blobs/{path}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-22T10:00:00.1234567Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {
            "api": "PutBlockList",
            "eTag": '"0x8D4BCC2E4835CD0"',
            "contentLength": 524288,
            "blobType": "BlockBlob",
            "url": f"https://a.blob.core.windows.net/datasets/{quote(path)}",
            "sequencer": "00000000000004420000000000028963",
        }
        | data,
        "dataVersion": "",
        "metadataVersion": "1",
    }


def job_event(kind: str = "RunStatusChanged", **data: Any) -> dict[str, Any]:
    return {
        "subject": "experiments/0fa9dfaa/runs/rabc-1",
        "eventType": f"Microsoft.MachineLearningServices.{kind}",
        "data": {"experimentId": "0fa9dfaa", "runId": "rabc-1", "runType": "azureml.PipelineRun"} | data,
        "id": "1",
        "eventTime": "2026-11-22T10:00:00Z",
    }


def as_cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": event["eventType"],
        "source": "/subscriptions/s",
        "subject": event["subject"],
        "time": event["eventTime"],
        "id": event["id"],
        "data": event["data"],
    }


@pytest.mark.parametrize("schema", [lambda event: event, as_cloud_event], ids=["event grid", "cloud event"])
def test_a_whole_blob(schema: Any) -> None:
    found = blob_created(json.dumps(schema(storage_event())).encode())
    assert found == BlobCreated(container="datasets", path="faq/train.jsonl", etag="0x8D4BCC2E4835CD0", size=524288)
    assert (found.folder, found.name) == ("faq", "train.jsonl")


@pytest.mark.parametrize("api", ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"])
def test_calls_that_end_an_upload(api: str) -> None:
    assert isinstance(blob_created(json.dumps(storage_event(api=api))), BlobCreated)


@pytest.mark.parametrize("api", ["CreateFile", "AppendFile", "PutBlock", "SftpCreate", "putblob", None])
def test_a_blob_that_is_not_whole_yet_is_ignored(api: str | None) -> None:
    found = blob_created(json.dumps(storage_event(api=api)))
    assert isinstance(found, Ignored)
    assert "not whole" in found.reason


@pytest.mark.parametrize(
    "event",
    [
        storage_event("faq/"),
        storage_event(""),
        storage_event("faq/deeper", contentLength=0),
        storage_event() | {"eventType": "Microsoft.Storage.BlobDeleted"},
        storage_event() | {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"},
    ],
    ids=["marker", "no name", "hdi_isfolder", "deleted", "validation"],
)
def test_what_is_no_file_is_ignored(event: dict[str, Any]) -> None:
    assert isinstance(blob_created(json.dumps(event)), Ignored)


def test_an_empty_data_file_is_still_told() -> None:
    found = blob_created(json.dumps(storage_event(contentLength=0)))
    assert isinstance(found, BlobCreated)
    assert found.size == 0


def test_folder_and_name_of_odd_paths() -> None:
    top = blob_created(json.dumps(storage_event("train.jsonl")))
    deep = blob_created(json.dumps(storage_event("a/b/c.jsonl")))
    assert isinstance(top, BlobCreated)
    assert isinstance(deep, BlobCreated)
    assert (top.folder, top.name) == ("", "train.jsonl")
    assert (deep.folder, deep.name) == ("a", "b/c.jsonl")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: "/" not in name)


@given(names, names)
def test_a_path_comes_out_as_it_was_named(folder: str, name: str) -> None:
    path = f"{folder}/{name}"
    for subject in (path, quote(path)):
        event = storage_event(path, subject=f"/blobServices/default/containers/datasets/blobs/{subject}")
        found = blob_created(json.dumps(event))
        assert isinstance(found, BlobCreated)
        assert found.path == path


def test_without_a_url_the_subject_stands() -> None:
    found = blob_created(json.dumps(storage_event("faq/100%25.jsonl", url=None)))
    assert isinstance(found, BlobCreated)
    assert found.path == "faq/100%25.jsonl"


def test_an_event_may_come_without_etag_and_size() -> None:
    found = blob_created(json.dumps(storage_event(eTag=None, contentLength=None)))
    assert isinstance(found, BlobCreated)
    assert found.etag is None
    assert found.size is None


@pytest.mark.parametrize("schema", [lambda event: event, as_cloud_event], ids=["event grid", "cloud event"])
def test_a_job_changed(schema: Any) -> None:
    failed = job_changed(json.dumps(schema(job_event(runStatus="Failed"))))
    completed = job_changed(json.dumps(schema(job_event("RunCompleted"))))
    assert failed == JobChanged(run_id="rabc-1", status="Failed")
    assert completed == JobChanged(run_id="rabc-1", status="Completed")


@pytest.mark.parametrize("kind", [None, "azureml.StepRun", "azureml.PipelineRun", "whatever comes next"])
def test_a_job_is_told_by_its_name_whatever_kind_of_run_the_event_says(kind: str | None) -> None:
    told = job_changed(json.dumps(job_event(runStatus="Failed", runType=kind)))
    assert told == JobChanged(run_id="rabc-1", status="Failed")


def test_other_events_are_ignored() -> None:
    assert isinstance(job_changed(json.dumps(job_event("ModelRegistered"))), Ignored)


def test_a_job_underway_wakes_nobody_and_a_status_that_nobody_knows_does() -> None:
    for spelled in ("Running", "running", "QUEUED"):
        assert isinstance(job_changed(json.dumps(job_event(runStatus=spelled))), Ignored)
    assert isinstance(job_changed(json.dumps(job_event(runStatus="Evaporated"))), JobChanged)


BROKEN = [b"", b"\xff\xfe", b"{", b"[]", b'"x"', b"null", b"{}", b"[" * 100_000, b'{"eventType": "x", "data": {}}']


@pytest.mark.parametrize("message", BROKEN, ids=range(len(BROKEN)))
def test_what_nobody_can_read_is_refused(message: bytes) -> None:
    for parse in (blob_created, job_changed):
        with pytest.raises(ValueError, match="the message is "):
            parse(message)


def test_broken_events_of_our_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="subject '/somewhere'"):
        blob_created(json.dumps(storage_event(subject="/somewhere")))
    with pytest.raises(ValueError, match=r"without data\.runId"):
        job_changed(json.dumps(job_event(runId=None, runStatus="Failed")))
    with pytest.raises(ValueError, match=r"without data\.runStatus"):
        job_changed(json.dumps(job_event()))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_any_json_gives_an_event_or_a_clear_no(value: Any) -> None:
    for parse in (blob_created, job_changed):
        with suppress(ValueError):
            parse(json.dumps(value))
