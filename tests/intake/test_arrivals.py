"""Uploads become runs, once each; what is not for us is counted and left alone."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared import naming
from shared.api import views
from shared.api.schema import FolderList
from shared.app import App
from shared.dataset.spec.choices import Hub, Policy
from shared.intake.arrivals import job_changed, look_into, uploaded
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import Phase
from shared.logs import ignored_so_far
from shared.records.layout import DATASETS, PREPARE_QUEUE
from shared.records.mark import mark_in
from shared.records.run import Run
from shared.run.loop import advance
from tests.kit.clouds import later
from tests.kit.records import changed, etag_of, events_of, run_of, woken
from tests.kit.rows import ROW, rows
from tests.kit.settings import with_settings


def event(path: str, container: str = DATASETS, api: str = "PutBlob") -> bytes:
    return json.dumps(
        {
            "id": uuid4().hex,
            "topic": "/subscriptions/s",
            "subject": f"/blobServices/default/containers/{container}/blobs/{path}",
            "eventType": "Microsoft.Storage.BlobCreated",
            "eventTime": "2026-11-01T00:00:00Z",
            "dataVersion": "",
            "metadataVersion": "1",
            "data": {"api": api, "eTag": "0x1", "contentLength": 3, "url": f"https://a/{container}/{path}"},
        }
    ).encode()


def job_event(job: str, run_type: str = "azureml.PipelineRun") -> bytes:
    return json.dumps(
        {
            "subject": f"experiments/e/runs/{job}",
            "eventType": "Microsoft.MachineLearningServices.RunCompleted",
            "data": {"runId": job, "runType": run_type, "experimentId": "e"},
        }
    ).encode()


def put(app: App, folder: str, **files: bytes) -> None:
    for name, data in files.items():
        app.cloud.blobs.write(DATASETS, f"{folder}/{name.replace('__', '.')}", data)


def runs_of(app: App, folder: str) -> list[Run]:
    found = (app.runs.load(run_id) for run_id in datasets_of(read_folder(app, folder)))
    return [loaded.record for loaded in found if loaded]


def only_run(app: App, folder: str) -> Run:
    (run,) = runs_of(app, folder)
    return run


def every_run(app: App, folder: str) -> list[Run]:
    """All runs that the folder has had."""
    return [run_of(app, mark.id) for mark in app.runs.summaries(200)[0] if mark.folder == folder]


def etag_in(app: App, name: str) -> str:
    blob = app.cloud.blobs.head(DATASETS, name)
    assert blob
    return blob.etag


def waiting(app: App) -> dict[str, list[str]]:
    """The folders that are no run yet, and the files that each waits for."""
    return msgspec.json.decode(views.folders(app)[1], type=FolderList).waiting


def test_an_upload_is_one_run_however_often_its_event_comes(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    uploaded(app, event(f"{folder}/train.jsonl"))
    first = only_run(app, folder)
    uploaded(app, event(f"{folder}/train.jsonl"))
    assert only_run(app, folder) == first
    assert first.phase is Phase.RECEIVED
    assert first.source.base_model == app.settings.training.base_model
    assert first.wake


def test_a_test_file_that_comes_later_makes_no_second_run(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    uploaded(app, event(f"{folder}/train.jsonl"))
    before = only_run(app, folder)
    put(app, folder, test__jsonl=ROW)
    uploaded(app, event(f"{folder}/test.jsonl"))
    uploaded(app, event(f"{folder}/train.jsonl"))
    assert only_run(app, folder).id == before.id


def test_the_same_name_with_new_content_is_a_new_run(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    look_into(app, folder)
    before = only_run(app, folder)
    put(app, folder, train__jsonl=ROW * 2)
    look_into(app, folder)
    assert only_run(app, folder).id != before.id


def test_a_spec_starts_nothing_until_all_its_files_are_there(app: App, folder: str) -> None:
    put(app, folder, finetune__yaml=b"model: Phi-4\ntrain: a.jsonl\ntest: b.jsonl\n", a__jsonl=ROW)
    look_into(app, folder)
    assert runs_of(app, folder) == []
    assert waiting(app)[folder] == ["b.jsonl"]
    put(app, folder, b__jsonl=ROW)
    look_into(app, folder)
    run = only_run(app, folder)
    assert run.source.base_model == "Phi-4"
    assert [file.name for file in run.source.test] == [f"{folder}/b.jsonl"]
    assert folder not in waiting(app)


def test_editing_the_spec_is_a_new_run(app: App, folder: str) -> None:
    put(app, folder, finetune__yaml=b"train: a.jsonl\n", a__jsonl=ROW)
    look_into(app, folder)
    before = only_run(app, folder)
    put(app, folder, finetune__yaml=b"train: a.jsonl\nparameters: {num_train_epochs: 2}\n")
    look_into(app, folder)
    after = only_run(app, folder)
    assert after.id != before.id
    assert after.source.parameters == {"num_train_epochs": 2}


def test_six_exports_that_come_one_by_one_are_one_rejected_run(app: App, cloud: Stack, folder: str) -> None:
    for n in "abcdef":
        put(app, folder, **{f"export-{n}__jsonl": ROW})
        if n != "a":  # the first event is late, too
            uploaded(app, event(f"{folder}/export-{n}.jsonl"))
    uploaded(app, event(f"{folder}/export-a.jsonl"))
    marks, _ = app.runs.summaries(100)
    assert len([mark for mark in marks if mark.folder == folder]) == 1
    [run_id] = [mark.id for mark in marks if mark.folder == folder]
    advance(app, run_id, None)
    assert run_of(app, run_id).phase is Phase.RECEIVED, "a seventh may be on its way"
    advance(with_settings(app, SETTLE_TIME=timedelta(0)), run_id, None)
    run = rejected(app, folder)
    assert run.why.startswith(f"6 training files in one folder ({', '.join(f'export-{n}.jsonl' for n in 'abcdef')})")
    [told] = events_of(cloud, run)
    assert told["data"]["reason"] == run.why
    before = ignored_so_far["known_upload"]
    uploaded(app, event(f"{folder}/export-d.jsonl"))
    look_into(app, folder)
    assert rejected(app, folder) == run, "it is told once"
    assert ignored_so_far["known_upload"] == before + 2
    put(app, folder, finetune__yaml=run.why.rpartition("this line: ")[2].encode())
    look_into(app, folder)
    assert [file.name for file in only_run(app, folder).source.train] == [f"{folder}/export-a.jsonl"]


def test_six_pieces_that_come_one_by_one_are_one_run_of_all(app: App, cloud: Stack, folder: str) -> None:
    names = [f"export-{n}.jsonl" for n in range(6)]
    for at, name in enumerate(names):
        put(app, folder, **{name.replace(".", "__"): b"".join(rows(4, 4 * at))})
        for _ in range(2):
            uploaded(app, event(f"{folder}/{name}"))
    (run_id,) = {run.id for run in every_run(app, folder)}
    advance(app, run_id, None)
    assert run_of(app, run_id).phase is Phase.RECEIVED, "a seventh may be on its way"
    later(app, cloud, app.settings.data.settle)
    advance(app, run_id, None)
    run = run_of(app, run_id)
    assert [file.name for file in run.source.train] == [f"{folder}/{name}" for name in sorted(names)]
    assert [file.etag for file in run.source.train] == [etag_in(app, file.name) for file in run.source.train]
    assert run.attempt.data
    assert sum(run.attempt.data.rows.values()) == 24
    look_into(app, folder)
    assert len(every_run(app, folder)) == 1, "it is one run, however often it is looked at"


@pytest.mark.thorough
@pytest.mark.parametrize("waits", [True, False])
def test_a_late_piece_is_a_new_run_of_all_pieces_and_so_is_what_is_left_of_them(
    app: App, cloud: Stack, folder: str, waits: bool
) -> None:
    put(app, folder, chats_1__jsonl=b"".join(rows(20)))
    look_into(app, folder)
    first = only_run(app, folder)
    if waits:
        later(app, cloud, app.settings.data.settle)
        advance(app, first.id, None)
        later(app, cloud, app.settings.data.settle)
    else:  # it is read before the second comes, which looks as if it had come with the first
        advance(with_settings(app, SETTLE_TIME=timedelta(0)), first.id, None)
    first = run_of(app, first.id)
    assert first.attempt.data
    put(app, folder, chats_2__jsonl=b"".join(rows(20, 20)))
    look_into(app, folder)
    (late,) = [run for run in every_run(app, folder) if run.id != first.id]
    look_into(app, folder)
    later(app, cloud, app.settings.data.settle)
    advance(app, late.id, None)
    late = run_of(app, late.id)
    assert [file.name for file in late.source.train] == [f"{folder}/chats_{n}.jsonl" for n in (1, 2)]
    assert late.attempt.data
    assert late.attempt.fingerprint != first.attempt.fingerprint
    assert run_of(app, first.id).source.train == first.source.train
    app.cloud.blobs.delete(DATASETS, f"{folder}/chats_1.jsonl")
    look_into(app, folder)
    assert len(every_run(app, folder)) == 3, "what is left is something else"


def test_pieces_of_which_some_are_missing_wait_for_them_and_no_run_comes_before(app: App, folder: str) -> None:
    put(app, folder, **{"train-00000-of-00003__jsonl": b"".join(rows(10))})
    put(app, folder, **{"train-00002-of-00003__jsonl": b"".join(rows(10, 20))})
    look_into(app, folder)
    assert every_run(app, folder) == []
    assert waiting(app)[folder] == ["train-00001-of-00003.jsonl"]
    put(app, folder, **{"train-00001-of-00003__jsonl": b"".join(rows(10, 10))})
    uploaded(app, event(f"{folder}/train-00001-of-00003.jsonl"))
    run = only_run(app, folder)
    assert folder not in waiting(app)
    assert [file.name.rpartition("-of-")[0][-5:] for file in run.source.train] == ["00000", "00001", "00002"]
    assert run.source.address == f"datasets/{folder}/train-00000-of-00003.jsonl and 2 more"


def test_a_clone_s_data_folder_is_woken_by_its_events_and_made_a_run_of(app: App, folder: str) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/README.md", b"# card")
    for part in ("train", "test"):
        for n in range(2):
            name = f"{folder}/data/{part}-0000{n}-of-00002.jsonl"
            app.cloud.blobs.write(DATASETS, name, b"".join(rows(12, 12 * n, salt=part)))
            uploaded(app, event(name))
    run = only_run(app, folder)
    assert every_run(app, folder) == [run]
    advance(with_settings(app, SETTLE_TIME=timedelta(0)), run.id, None)
    run = run_of(app, run.id)
    assert {part: len(files) for part, files in run.source.parts.items()} == {"train": 2, "test": 2}
    assert run.attempt.data
    assert (run.attempt.data.rows["train"] + run.attempt.data.rows["validation"], run.attempt.data.rows["test"]) == (
        24,
        24,
    )


def test_a_file_beside_one_that_trains_is_rejected_and_that_trains_on(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    look_into(app, folder)
    first = only_run(app, folder)
    app.runs.save(changed(first, phase=Phase.TRAINING), etag_of(app, first.id))
    training = run_of(app, first.id)
    for more in (["more"], ["other", "third"]):
        put(app, folder, **{f"{name}__jsonl": ROW for name in more})
        for _ in range(2):
            look_into(app, folder)
        fresh = [mark.id for mark in app.runs.summaries(100)[0] if mark.folder == folder and mark.phase == "received"]
        assert len(fresh) == 1
        advance(with_settings(app, SETTLE_TIME=timedelta(0)), fresh[0], None)
        assert run_of(app, fresh[0]).phase is Phase.REJECTED
        assert all(name in run_of(app, fresh[0]).why for name in ("train.jsonl", *more))
    assert run_of(app, first.id) == training


def test_a_second_file_that_comes_before_the_first_has_settled_stops_it(app: App, folder: str) -> None:
    quick = with_settings(app, SETTLE_TIME=timedelta(0))
    put(app, folder, a__jsonl=ROW)
    look_into(quick, folder)
    alone = only_run(app, folder)
    put(app, folder, b__jsonl=ROW)
    look_into(quick, folder)
    for run_id in [mark.id for mark in app.runs.summaries(100)[0] if mark.folder == folder]:
        advance(quick, run_id, None)
    assert run_of(app, alone.id).phase is Phase.SUPERSEDED
    ended = Counter(mark.phase for mark in app.runs.summaries(100)[0] if mark.folder == folder)
    assert ended == {Phase.SUPERSEDED: 1, Phase.REJECTED: 1}


def test_a_source_starts_a_run_when_the_spec_arrives(app: App, folder: str) -> None:
    spec = b"source: owner/chats\nsplits: {train: train_sft}\npercent: 5\non_bad_rows: drop\nmin_rows: 50\n"
    put(app, folder, finetune__yaml=spec)
    uploaded(app, event(f"{folder}/finetune.yaml"))
    run = only_run(app, folder)
    assert run.source.hub == Hub(name="owner/chats", splits={"train": "train_sft"}, percent=5.0)
    assert run.source.policy == Policy(on_bad_rows="drop", min_rows=50)
    assert run.source.files == ()
    assert run.source.spec
    assert (run.source.spec.name, run.source.spec.size) == (f"{folder}/finetune.yaml", len(spec))
    assert run.order.uploaded == app.cloud.blobs.head(DATASETS, run.source.spec.name).last_modified  # type: ignore[union-attr]
    assert "owner/chats" in run.history[0].what
    uploaded(app, event(f"{folder}/finetune.yaml"))
    put(app, folder, notes__csv=b"prompt,completion\n")
    uploaded(app, event(f"{folder}/notes.csv"))
    assert only_run(app, folder) == run, "neither the event again nor a file beside it is another run"
    put(app, folder, finetune__yaml=spec)
    look_into(app, folder)
    assert only_run(app, folder).id != run.id, "who uploads it again wants the newer state of the source"


def test_a_run_knows_how_large_its_files_are(app: App, folder: str) -> None:
    put(app, folder, train__csv=b"prompt,completion\n", test__jsonl__gz=b"12345")
    look_into(app, folder)
    run = only_run(app, folder)
    assert [(file.name, file.size) for file in run.source.files] == [
        (f"{folder}/train.csv", 18),
        (f"{folder}/test.jsonl.gz", 5),
    ]
    assert run.source.policy == Policy()


def rejected(app: App, folder: str) -> Run:
    """The folder's run, once the loop has ended it."""
    marks, _ = app.runs.summaries(100)
    (run_id,) = [mark.id for mark in marks if mark.folder == folder]
    advance(app, run_id, None)
    loaded = app.runs.load(run_id)
    assert loaded
    assert loaded.record.phase is Phase.REJECTED
    return loaded.record


def test_a_misnamed_spec_is_refused_until_it_is_gone(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW, finetune__yml=b"train: train.jsonl\napprove: manual\n")
    uploaded(app, event(f"{folder}/train.jsonl"))
    run = rejected(app, folder)
    assert run.why.startswith("finetune.yml: a specification is named finetune.yaml")
    uploaded(app, event(f"{folder}/finetune.yml"))
    assert rejected(app, folder) == run, "it is told once"
    put(app, folder, finetune__yaml=b"train: train.jsonl\napprove: manual\n")
    uploaded(app, event(f"{folder}/finetune.yaml"))
    both = [mark for mark in app.runs.summaries(100)[0] if mark.folder == folder and mark.id != run.id]
    assert len(both) == 1
    assert "lies beside finetune.yaml" in run_of(app, both[0].id).ending.why  # type: ignore[union-attr]
    app.cloud.blobs.delete(DATASETS, f"{folder}/finetune.yml")
    look_into(app, folder)
    assert only_run(app, folder).source.promotion.approve == "manual"


def test_a_misnamed_spec_stops_what_has_not_settled(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    look_into(app, folder)
    before = only_run(app, folder)
    put(app, folder, fine_tune__yml=b"approve: manual\n")
    look_into(app, folder)
    advance(with_settings(app, SETTLE_TIME=timedelta(0)), before.id, None)
    assert run_of(app, before.id).phase is Phase.SUPERSEDED


def test_a_source_beside_files_is_a_rejected_run_that_says_why(app: App, folder: str) -> None:
    put(app, folder, finetune__yaml=b"train: a.jsonl\nsource: owner/chats\n", a__jsonl=ROW)
    look_into(app, folder)
    run = rejected(app, folder)
    assert "train and source exclude each other" in run.why


def test_a_broken_spec_is_a_rejected_run_that_says_why(app: App, folder: str) -> None:
    app.cloud.clients.queue_service.get_queue_client(PREPARE_QUEUE).clear_messages()
    put(app, folder, finetune__yaml=b"trian: a.jsonl\n", a__jsonl=ROW)
    look_into(app, folder)
    (run_id,) = [found.key for found in app.runs.open() if (mark := mark_in(found.metadata)) and mark.folder == folder]
    assert woken(app, run_id, PREPARE_QUEUE) == 1, "nobody has to wait for the sweep to hear of it"
    run = rejected(app, folder)
    assert run.why.startswith("finetune.yaml, line 1, column 1: 'trian' is not a key; did you mean train?")
    assert run.id not in set(app.runs.active())


@pytest.mark.parametrize("spec", [b'model: "\\ud800"', b"parameters: {seed: 0x" + b"f" * 9000 + b"}"])
def test_a_spec_that_no_record_can_hold_is_rejected(app: App, folder: str, spec: bytes) -> None:
    put(app, folder, finetune__yaml=b"train: a.jsonl\n" + spec + b"\n", a__jsonl=ROW)
    look_into(app, folder)
    run = rejected(app, folder)
    assert "finetune.yaml" in run.why


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (event("faq/train.jsonl", container="prepared"), "other_container"),
        (event("train.jsonl"), "no_folder"),
        (event("faq/"), "storage_event"),
        (event("faq/train.jsonl", api="CreateFile"), "storage_event"),
        (event("nothing-there/train.jsonl"), "empty_folder"),
    ],
)
def test_uploads_that_are_not_ours_are_counted_and_left_alone(app: App, message: bytes, kind: str) -> None:
    before = ignored_so_far[kind]
    uploaded(app, message)
    assert ignored_so_far[kind] == before + 1


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (job_event("rabcdefghijklmno-1"), "unknown_job"),
        (job_event("5cb1b6a2-0c1c-4a1c-9e1c-0d1c5e1c4f1c", run_type="azureml.StepRun"), "unknown_job"),
    ],
)
def test_job_events_that_are_not_ours_are_counted_and_left_alone(app: App, message: bytes, kind: str) -> None:
    before = ignored_so_far[kind]
    with requests_of(app) as counted:
        job_changed(app, message)
    assert counted.requests == (1 if b"rabcdef" in message else 0), "a job of nobody's is told by its name"
    assert ignored_so_far[kind] == before + 1


def test_the_event_of_an_earlier_attempt_s_job_wakes_nobody(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    look_into(app, folder)
    run = only_run(app, folder)
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(changed(run, phase=Phase.PREPARED, number=2), loaded.etag)
    before = ignored_so_far["unknown_job"]
    job_changed(app, job_event(naming.job_name(run.id, 1)))
    assert ignored_so_far["unknown_job"] == before + 1


def test_a_run_begins_once_the_rest_of_the_upload_should_be_there(app: App, folder: str) -> None:
    patient = with_settings(app, SETTLE_TIME=timedelta(minutes=7))
    put(app, folder, train__jsonl=ROW)
    look_into(patient, folder)
    run = only_run(app, folder)
    assert run.wake
    assert run.wake.due == run.order.uploaded + timedelta(minutes=7)


def test_the_event_of_a_job_whose_run_is_further_wakes_nobody(app: App, folder: str) -> None:
    put(app, folder, train__jsonl=ROW)
    look_into(app, folder)
    (run_id,) = datasets_of(read_folder(app, folder))
    run, etag = app.runs.load(run_id) or pytest.fail("no run")
    app.runs.save(replace(run, phase=Phase.DEPLOYING), etag)
    before = ignored_so_far["over_job"]
    job_changed(app, job_event(naming.job_name(run_id, 1)))
    assert ignored_so_far["over_job"] == before + 1


@pytest.mark.parametrize("handler", [uploaded, job_changed])
@pytest.mark.parametrize("message", [b"", b"{", b"[]", b'{"eventType": 3}'])
def test_a_malformed_message_raises_so_that_it_ends_in_the_poison_queue(
    app: App, handler: object, message: bytes
) -> None:
    with pytest.raises(ValueError, match="the message is"):
        handler(app, message)  # type: ignore[operator]
