"""`droptune cost`: what people, spreadsheets and programs get of what was spent."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from cli.__main__ import main
from shared.api.cost_schema import CostRow, CostTotal, CostView
from tests.kit.looked_at import AT, app, on_terminal, serving

SAVED = "what the cleanup tore down, had it gone on: 30 days at most"


def row(key: str, kind: str = "serving", amount: str | None = "1234.567891", **changes: Any) -> CostRow:
    known = Decimal(amount) if amount is not None else None
    base = CostRow(
        key=key,
        kind=kind,
        currency="EUR" if amount else "",
        amount=known,
        saved=None if known is None else Decimal("0.000000"),
        instance_seconds=Decimal("172800.000000"),
        saved_instance_seconds=Decimal("0.000000"),
    )
    return msgspec.structs.replace(base, **changes)


def total(amount: str | None, currency: str = "EUR", saved: str = "0", hours: int = 48) -> CostTotal:
    return CostTotal(
        currency=currency,
        amount=None if amount is None else Decimal(amount),
        saved=None if amount is None else Decimal(saved),
        instance_seconds=Decimal(hours * 3600),
        saved_instance_seconds=Decimal(0),
    )


COST = CostView(
    period="2026-11",
    start=AT.replace(day=1, hour=0),
    until=AT,
    by="line",
    rows=[
        row("l4u7tq2xw5rjeyhd", folder="faq", saved=Decimal("2500.000000")),
        row("l4u7tq2xw5rjeyhd", "training", "0.001000", folder="faq", instance_seconds=Decimal("42.500000")),
        row("ltwo", folder="same", currency="USD", amount="3.00"),
        row("lthree", folder="same", size="H100", amount=None, instance_seconds=Decimal("18000.000000")),
    ],
    totals=[total("1234.568891", saved="2500"), total("3", "USD"), total(None, "", hours=5)],
    assumption=SAVED,
    seen=2,
    unreadable=["2026-10 is in no sum: state/bill/2026-10.json can't be read"],
)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with serving():
        yield


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def said(
    capsys: pytest.CaptureFixture[str], *arguments: str, found: CostView = COST, path: str = "cost?by=line"
) -> str:
    with app({path: found}) as url:
        assert main(["cost", *arguments, "--url", url]) == 0
    return capsys.readouterr().out


def test_people_see_what_was_spent_on_what_and_what_is_in_no_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == (
        """\
What was spent in 2026-11, up to 2026-11-22 10:00:00
  faq          serving     1,234.57 EUR  48.0 h  saved 2,500.00 EUR
  faq          training  under 0.01 EUR    42 s
  ltwo same    serving         3.00 USD  48.0 h
  lthree same  serving         no price   5.0 h  of H100
  in all    1,234.57 EUR, 48.0 h of instances
  saved     2,500.00 EUR: what the cleanup tore down, had it gone on: 30 days at most
  in all    3.00 USD, 48.0 h of instances
  no price  5.0 h of instances are in no sum
note: 2 intervals have a time that is good to a tick of the cleanup: others began, changed or ended it
note: 2026-10 is in no sum: state/bill/2026-10.json can't be read
"""
    )


def test_a_terminal_of_80_columns_has_room_for_it() -> None:
    with app({"cost?by=line": COST}) as url:
        code, out = on_terminal("cost", "--url", url, NO_COLOR="1")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "saved 2,500.00 EUR" in out


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["--for", "last month"], "cost?for=last+month&by=line"),
        (["--for", "2026-11", "--by", "run"], "cost?for=2026-11&by=run"),
        (["--by", "day"], "cost?by=day"),
    ],
)
def test_what_is_asked_for_reaches_the_app(arguments: list[str], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, *arguments, path=path).startswith("What was spent in 2026-11")


def test_all_has_no_beginning_and_nothing_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    empty = msgspec.structs.replace(COST, period="all", start=None, rows=[], totals=[], seen=0, unreadable=[])
    assert said(capsys, "--for", "all", found=empty, path="cost?for=all&by=line") == (
        "What was spent since the bill began, up to 2026-11-22 10:00:00\n  nothing that the bill knows of\n"
    )


def test_csv_has_exact_amounts_and_nothing_where_none_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    odd = row("=cmd()", folder='+1,"2"', amount="0.000001")
    with app({"cost?by=line": msgspec.structs.replace(COST, rows=[*COST.rows, odd])}) as url:
        assert main(["cost", "--csv", "--url", url]) == 0
    out, error = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [each["amount"] for each in rows] == ["1234.567891", "0.001000", "3.00", "", "0.000001"]
    assert [each["saved"] for each in rows] == ["2500.000000", "0.000000", "0.000000", "", "0.000000"]
    assert [each["currency"] for each in rows] == ["EUR", "EUR", "USD", "", "EUR"]
    assert rows[1]["instance_seconds"] == "42.500000"
    assert {each["period"] for each in rows} == {"2026-11"}
    assert (rows[-1]["key"], rows[-1]["folder"]) == ("'=cmd()", '\'+1,"2"'), "no formula for a spreadsheet"
    assert error == "droptune: 2026-10 is in no sum: state/bill/2026-10.json can't be read\n"


def test_json_has_an_unknown_amount_as_null(capsys: pytest.CaptureFixture[str]) -> None:
    found = msgspec.json.decode(said(capsys, "--json"))
    assert [each["amount"] for each in found["rows"]] == ["1234.567891", "0.001000", "3.00", None]
    assert msgspec.convert(found, CostView, strict=False) == COST


def test_numbers_that_nobody_has_end_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    worst = [row("l1", amount=amount) for amount in ("1E+999999999", "1E-999999999", "NaN", "Infinity", "-5")]
    found = msgspec.structs.replace(COST, rows=worst)
    for arguments in ((), ("--csv",)):
        assert len(said(capsys, *arguments, found=found)) < 2000


def test_two_forms_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--csv", "--json", "--url", "http://127.0.0.1:1"]) == 2
    assert capsys.readouterr() == ("", "droptune: --csv and --json are two forms of the same: give one of them\n")
