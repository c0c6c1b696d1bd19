"""A job's metrics are read from Azure ML once in 30 seconds, however many watch, and on however many hosts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from localcloud.stack import Stack
from shared.api.curves import FRESH, job_curves
from shared.app import App
from shared.records import layout
from shared.records.layout import STATE


@pytest.fixture
def reads(cloud: Stack) -> list[str]:
    """Paths of the requests for metrics."""
    cloud.control("DELETE", "/_local/ledger")

    class Reads(list[str]):
        def __len__(self) -> int:
            return len([each for each in cloud.control("GET", "/_local/ledger") if "mlflow" in each["path"]])

    return Reads()


def test_many_who_watch_cost_one_read(app: App, key: str, reads: list[str]) -> None:
    job = f"r{key}-1"
    job_curves(app, job)
    once = len(reads)
    assert once
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: job_curves(app, job), range(40)))
    assert len(reads) == once


def test_they_are_read_again_when_they_are_old(app: App, cloud: Stack, key: str, reads: list[str]) -> None:
    job = f"r{key}-1"
    job_curves(app, job)
    once = len(reads)
    cloud.control("POST", "/_local/clock", {"advance": (FRESH + timedelta(seconds=1)).total_seconds()})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: job_curves(app, job), range(8)))
    assert len(reads) == 2 * once, "one of all who came read them"


def test_what_somebody_broke_is_read_anew(app: App, key: str, reads: list[str]) -> None:
    job = f"r{key}-1"
    app.cloud.blobs.write(STATE, layout.curves(job), b"{")
    job_curves(app, job)
    once = len(reads)
    assert once
    job_curves(app, job)
    assert len(reads) == once


def test_no_job_has_no_metrics_and_costs_nothing(app: App, reads: list[str]) -> None:
    assert job_curves(app, "") == ({}, "")
    assert len(reads) == 0
