"""`GET /api/cost`: what the bill in real storage comes to, in exact amounts, and clear words for what is no period."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from benchmarks.counting import requests_of
from shared.api import views
from shared.app import App
from shared.money.ledger import Cause, Ended, Look, Running
from shared.records import layout
from shared.records.bill import Bill
from shared.records.layout import BILL, STATE
from shared.records.line import Line
from shared.records.run import Run

HOUR = timedelta(hours=1)


@pytest.fixture
def bill(app: App) -> Bill:
    """One in which nothing is yet."""
    for blob in list(app.cloud.blobs.list(STATE, BILL)):
        app.cloud.blobs.delete(STATE, blob.name)
    return Bill(app.cloud)


def found(app: App, **wanted: str) -> Any:
    status, body = views.cost(app, wanted)
    assert status == 200, body
    return json.loads(body)


def test_rows_and_totals_are_exact_named_and_apart(
    app: App, bill: Bill, key: str, make_line: Callable[..., Line], make_run: Callable[..., Run]
) -> None:
    line, run = make_line(), make_run()
    now = app.cloud.blobs.now().astimezone(UTC)
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - 50 * HOUR
    served = Running(
        kind="serving", line=line.id, run=run.id, name=f"{run.id}-1", instances=2, size="A100",
        price=Decimal("3.673"), currency="EUR", since=start,
    )  # fmt: skip
    job = replace(served, kind="training", name=f"{run.id}-2", instances=1, price=Decimal("0.1"), currency="USD")
    odd = replace(served, line="lgone", run="rgone", name="odd", size="H100", price=None, currency="")
    ends = tuple(
        Ended(kind=each.kind, line=each.line, name=each.name, at=start + HOUR, cause=cause, was=each)
        for each, cause in ((served, Cause.IDLE), (job, Cause.DONE), (odd, Cause.FAILED))
    )
    bill.record(Look(ended=ends), now)
    said = found(app, **{"for": "last month"})
    assert said["period"] == f"{start:%Y-%m}"
    assert (said["by"], said["seen"], said["version"]) == ("line", 0, 1)
    assert datetime.fromisoformat(said["until"]) <= now
    mine = {
        "key": line.id,
        "folder": line.folder,
        "size": "",
        "saved_instance_seconds": "0.000000",
        "saved": "0.000000",
    }
    saved = {"saved": "359.954000", "saved_instance_seconds": "352800.000000"}
    assert said["rows"] == [
        mine | {"kind": "serving", "currency": "EUR", "amount": "7.346000", "instance_seconds": "7200.000000"} | saved,
        mine | {"kind": "training", "currency": "USD", "amount": "0.100000", "instance_seconds": "3600.000000"},
        {
            "key": "lgone", "folder": "", "kind": "serving", "size": "H100", "currency": "", "amount": None,
            "saved": None, "instance_seconds": "7200.000000", "saved_instance_seconds": "0.000000",
        },
    ]  # fmt: skip
    assert [(each["currency"], each["amount"], each["saved"]) for each in said["totals"]] == [
        ("EUR", "7.346000", "359.954000"),
        ("USD", "0.100000", "0.000000"),
        ("", None, None),
    ]
    assert "30 days at most" in said["assumption"]
    by_run = found(app, **{"for": "last month", "by": "run"})
    assert {(each["key"], each["folder"]) for each in by_run["rows"]} == {(run.id, line.folder), ("rgone", "")}
    assert by_run["totals"] == said["totals"]
    by_day = found(app, **{"for": "all", "by": "day"})
    assert by_day["start"] is None
    assert f"{start:%Y-%m-%d}" in {each["key"] for each in by_day["rows"]}
    assert found(app, **{"for": f"{start:%Y-%m-%d}"})["totals"][0]["amount"] == "7.346000"
    assert found(app)["period"] == f"{now:%Y-%m}"


def test_nothing_is_no_error(app: App, bill: Bill) -> None:
    said = found(app, **{"for": "all"})
    assert (said["rows"], said["totals"], said["unreadable"]) == ([], [], [])
    assert found(app, **{"for": "2999-01"})["rows"] == []


def test_a_month_that_cant_be_read_is_told(app: App, bill: Bill) -> None:
    name = layout.bill(f"{app.cloud.blobs.now():%Y-%m}")
    app.cloud.blobs.write(STATE, name, b"[]")
    [told] = found(app)["unreadable"]
    assert f"state/{name} can't be read" in told
    bill.record(Look(), app.cloud.blobs.now())
    [told] = found(app)["unreadable"]
    assert told.startswith(f"state/{name} could not be read, and was made anew at ")
    assert told in [need["what"] for need in json.loads(views.status(app)[1])["needs"]]
    for blob in list(app.cloud.blobs.list(STATE, layout.damaged(BILL))):
        app.cloud.blobs.delete(STATE, blob.name)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            {"for": "yesterday"},
            "for is 'yesterday': that is no time to sum up: it must be 'this month', 'last month', ",
        ),
        ({"for": "2026-02-30"}, "for is '2026-02-30': "),
        ({"for": "x\x1b[2J" + "y" * 500}, r"for is 'x\\x1b[2J"),
        ({"by": "week"}, "by is 'week': it must be line, run, day"),
    ],
)
def test_what_is_no_period_and_no_group_is_refused_in_a_sentence(app: App, wanted: dict[str, str], told: str) -> None:
    status, body = views.cost(app, wanted)
    assert status == 409
    error = json.loads(body)["error"]
    assert error.startswith(told)
    assert len(error) < 300
    assert "\x1b" not in error


def test_it_asks_azure_nothing_and_reads_no_more_than_it_needs(app: App, bill: Bill) -> None:
    app.cloud.blobs.now()
    with requests_of(app) as count:
        found(app)
    assert count.requests <= 3, "two lists, and the time where a second has passed"
