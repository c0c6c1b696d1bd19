"""Runs over the local cloud, message by message, without a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.app import App
from shared.intake.arrivals import look_into
from shared.intake.folder import datasets_of, read_folder
from shared.records.layout import DATASETS
from shared.records.run import Run
from shared.run.loop import advance
from tests.kit.records import run_of
from tests.kit.rows import chats
from tests.kit.waiting import eventually


def received(app: App, folder: str, data: bytes = b"", spec: bytes = b"") -> Run:
    """The run that an upload of these data (and this finetune.yaml) makes, received and no more."""
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", data or chats(20))
    if spec:
        app.cloud.blobs.write(DATASETS, f"{folder}/finetune.yaml", spec)
    look_into(app, folder)
    (run_id,) = datasets_of(read_folder(app, folder))
    return run_of(app, run_id)


def driven(app: App, run: Run, until: Callable[[Run], Any], timeout: float = 30) -> Run:
    """Wakes the run again and again, as its messages would, until it is as wanted."""

    def step() -> Run:
        advance(app, run.id, None)
        now = run_of(app, run.id)
        assert not now.parked
        assert until(now), f"{now.phase}, waiting for {now.waiting!r}: {now.why}"
        return now

    return eventually(step, timeout, every=0.2)
