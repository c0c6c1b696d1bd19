"""Uploads as nobody means them: a spec of any bytes is a run that says why, an event asks for its folder alone."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.dataset.spec.choices import FILE_NAME
from shared.dataset.spec.finetune import parse
from shared.errors import Permanent
from shared.intake.arrivals import look_into, uploaded
from shared.intake.events import folder_of
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from tests.kit import mutated
from tests.kit.clouds import forget
from tests.kit.records import run_of

pytestmark = pytest.mark.thorough


def problem(spec: bytes) -> str:
    try:
        parse(spec)
    except Permanent as error:
        return str(error)
    return ""


@pytest.mark.parametrize("numbers", [range(at, at + 100) for at in range(0, 300, 100)])
def test_a_mutated_spec_is_a_rejected_run_that_says_why_or_a_dataset(app: App, folder: str, numbers: range) -> None:
    why = {f"{folder}-{number}": problem(mutated.spec(number)) for number in numbers}
    for number, name in zip(numbers, why, strict=True):
        app.cloud.blobs.write(DATASETS, f"{name}/{FILE_NAME}", mutated.spec(number))
        look_into(app, name)
    found = {mark.folder: mark.id for mark in app.runs.summaries(1_000)[0]}
    for name, told in why.items():
        if told:
            run = run_of(app, found[name])
            assert run.ending
            assert (run.ending.phase, run.ending.why) == (Phase.REJECTED, told)
    forget(app)


@pytest.mark.parametrize("numbers", [range(at, at + 1_000) for at in range(0, 3_000, 1_000)])
def test_the_event_of_a_mutated_name_asks_for_its_folder_or_for_nothing(app: App, cloud: Stack, numbers: range) -> None:
    app.cloud.blobs.now()
    cloud.control("POST", "/_local/ledger", {"storage": True})
    cloud.control("DELETE", "/_local/ledger")
    meant = {f"/droptune/{DATASETS}", "/droptune/state"}
    try:
        for number in numbers:
            path = f"{mutated.name(number)}/{mutated.name(number + 1)}"
            event = {
                "eventType": "Microsoft.Storage.BlobCreated",
                "subject": f"/blobServices/default/containers/{DATASETS}/blobs/{path}",
                "data": {"api": "PutBlob", "url": "", "contentLength": 9},
            }
            with suppress(ValueError):  # no Unicode
                uploaded(app, json.dumps(event).encode())
            folder = folder_of(path)
            if folder not in ("", ".", ".."):
                meant |= {f"/droptune/{DATASETS}/{folder}/{FILE_NAME}", f"/droptune/state/waiting/{folder}.json"}
        asked = {entry["path"] for entry in cloud.control("GET", "/_local/ledger")}
    finally:
        cloud.control("POST", "/_local/ledger", {"storage": False})
    assert asked <= meant
    assert len(asked) > len(numbers) / 10
