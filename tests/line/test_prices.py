"""Where the price of an hour comes from, how long it is kept, and what a line says where nobody has told it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.line.cleanup import cleanup
from shared.line.prices import PAUSE, STALE, Prices, price_of, refresh
from shared.money.price import Price
from shared.records.base import Order
from shared.records.layout import PRICES, STATE
from shared.records.line import Empty, Line, Removed, Serving
from tests.kit.clouds import later
from tests.kit.ours import HERE
from tests.kit.price_list import PriceServer, price_list
from tests.kit.settings import changed

SIZE = "Standard_NC24ads_A100_v4"
FILE = "price-list.json"


def item(price: float, size: str = SIZE) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0,
        "retailPrice": price,
        "armRegionName": "westeurope",
        "effectiveStartDate": "2022-06-01T00:00:00Z",
        "meterName": size,
        "productName": "Virtual Machines Series",
        "skuName": size,
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": size,
    }


@pytest.fixture
def server() -> Iterator[PriceServer]:
    with price_list() as made:
        made.pages = [[item(3.673)]]
        yield made


@pytest.fixture
def priced(app: App, server: PriceServer) -> Iterator[App]:
    """An app that asks the server, and has asked nothing yet."""
    app.cloud.blobs.delete(STATE, PRICES)
    settings = changed(app.settings, PRICE_SOURCE="api", PRICE_API=server.url, AZURE_LOCATION="westeurope")
    made = App.of(settings)
    yield made
    made.cloud.close()
    app.cloud.blobs.delete(STATE, PRICES)
    app.cloud.blobs.delete(STATE, FILE)


def with_prices(app: App, **values: object) -> App:
    """The same app, told otherwise."""
    return replace(app, settings=changed(app.settings, **values))


def known(app: App, size: str = SIZE) -> Decimal | None:
    found = price_of(app, size)
    return found.per_hour if found else None


def test_the_tick_asks_once_a_day_and_all_others_read(priced: App, cloud: Stack, server: PriceServer) -> None:
    assert price_of(priced, SIZE) is None, "nobody asks but the tick"
    assert server.asked == []
    refresh(priced)
    told = price_of(priced, SIZE.lower())
    assert told
    assert (told.per_hour, told.currency, told.source) == (Decimal("3.673"), "USD", "api")
    assert told.as_of
    assert abs(told.as_of - priced.cloud.blobs.now()) < timedelta(minutes=1)
    asked = len(server.asked)
    refresh(priced)
    later(priced, cloud, STALE - timedelta(hours=1))
    refresh(priced)
    assert len(server.asked) == asked
    server.pages = [[item(4.0)]]
    later(priced, cloud, timedelta(hours=1, seconds=1))
    refresh(priced)
    assert known(priced) == 4


def test_an_outage_leaves_the_old_price_with_its_date(priced: App, cloud: Stack, server: PriceServer) -> None:
    refresh(priced)
    before = price_of(priced, SIZE)
    assert before
    server.status = 503
    later(priced, cloud, STALE)
    refresh(priced)
    asked = len(server.asked)
    assert price_of(priced, SIZE) == before
    refresh(priced)
    assert len(server.asked) == asked, "not at every tick"
    server.status = 200
    later(priced, cloud, PAUSE)
    refresh(priced)
    after = price_of(priced, SIZE)
    assert after
    assert after.as_of
    assert before.as_of
    assert after.as_of > before.as_of


def test_a_doubt_is_no_price(priced: App, cloud: Stack, server: PriceServer, caplog: pytest.LogCaptureFixture) -> None:
    refresh(priced)
    server.pages = [[item(3.0), item(4.0)]]
    later(priced, cloud, STALE)
    refresh(priced)
    assert known(priced) is None
    assert f"2 items for {SIZE} in westeurope (USD), and no single price" in caplog.text
    assert "Azure's price list, which has told none so far" in Prices(priced).unknown(SIZE)


def test_a_setting_comes_first_and_speaks_for_its_own_size(priced: App, server: PriceServer) -> None:
    server.pages = [[item(3.673), item(9.0, "Standard_ND96")]]
    refresh(priced, ["Standard_ND96"])
    told = with_prices(priced, SERVING_PRICE_PER_HOUR=Decimal(0), PRICE_CURRENCY="USD")
    assert price_of(told, SIZE.lower()) == Price(per_hour=Decimal(0), currency="USD", source="setting")
    assert known(told, "standard_nd96") == 9
    node = price_of(told, SIZE, training=True)
    assert node
    assert node.source == "api", "another setting's"
    own = with_prices(priced, FINETUNE_PRICE_PER_HOUR=Decimal(2), PRICE_SOURCE="off")
    assert price_of(own, SIZE, training=True) == Price(per_hour=Decimal(2), currency="USD", source="setting")
    assert price_of(own, SIZE) is None
    assert Prices(own).unknown(SIZE) == (
        f"price of {SIZE} not known: SERVING_PRICE_PER_HOUR gives it, or PRICE_SOURCE=api"
    )
    assert Prices(own).unknown("Standard_ND96") == "price of Standard_ND96 not known: PRICE_SOURCE=api"


def test_what_was_told_in_another_currency_or_region_is_no_price(priced: App) -> None:
    refresh(priced)
    assert known(priced)
    assert known(with_prices(priced, PRICE_CURRENCY="EUR")) is None
    assert known(with_prices(priced, AZURE_LOCATION="northeurope")) is None
    assert known(with_prices(priced, PRICE_SOURCE="off")) is None
    assert known(with_prices(priced, PRICE_SOURCE="file")) is None


def test_switched_off_nobody_is_asked(priced: App, server: PriceServer) -> None:
    refresh(with_prices(priced, PRICE_SOURCE="off"))
    assert server.asked == []


def test_a_file_tells_prices_until_it_says_others(
    priced: App, server: PriceServer, caplog: pytest.LogCaptureFixture
) -> None:
    filed = with_prices(priced, PRICE_SOURCE="file", PRICE_CURRENCY="EUR")
    refresh(filed)
    assert f"there is no blob state/{FILE} (PRICE_FILE)" in caplog.text
    priced.cloud.blobs.write(STATE, FILE, json.dumps({SIZE: 3.1}).encode())
    refresh(filed)
    head, told = priced.cloud.blobs.head(STATE, FILE), price_of(filed, SIZE)
    assert head
    assert told == Price(per_hour=Decimal("3.1"), currency="EUR", source="file", as_of=head.last_modified)
    for broken in (b"{", b"[]", json.dumps({SIZE: "three"}).encode(), b" " * 2_000_000):
        priced.cloud.blobs.write(STATE, FILE, broken)
        caplog.clear()
        refresh(filed)
        assert f"blob state/{FILE}" in caplog.text
        assert price_of(filed, SIZE) == told
    priced.cloud.blobs.write(STATE, FILE, json.dumps({SIZE: 0}).encode())
    refresh(filed)
    assert known(filed) == 0
    priced.cloud.blobs.delete(STATE, FILE)
    refresh(filed)
    assert known(filed) is None
    assert server.asked == []


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"source": "api"}'])
def test_a_kept_list_that_cant_be_read_is_made_anew(priced: App, broken: bytes) -> None:
    priced.cloud.blobs.write(STATE, PRICES, broken)
    assert known(priced) is None
    refresh(priced)
    assert known(priced)


def test_the_cleanup_asks_and_no_price_stops_it(
    priced: App, server: PriceServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cleanup(priced)
    assert known(priced)
    priced.cloud.blobs.delete(STATE, PRICES)
    monkeypatch.setattr(priced.cloud.prices, "items", lambda _: 1 / 0)
    cleanup(priced)
    assert "the prices stay as they are" in caplog.text
    assert server.asked


# What a line says ----------------------------------------------------------------------------------------------------


def shown(app: App, line: Line) -> dict[str, Any]:
    status, body = views.line(app, line.id)
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.fixture
def gone(priced: App, key: str) -> Iterator[Line]:
    """A line whose two instances were torn down ten hours ago."""
    now = priced.cloud.blobs.now()
    served = Serving(run="r1", deployment="r1-1", model="m:1", fingerprint="f", since=now, order=Order(uploaded=now))
    line = Line(
        id=f"l{key}",
        folder=key,
        base_model="Phi-4",
        endpoint=f"e-{key}",
        installation=HERE,
        state=Empty(since=now - timedelta(hours=10)),
        latest=served,
        instances=2,
    )
    priced.lines.create(line)
    yield line
    loaded = priced.lines.load(line.id)
    assert loaded
    priced.lines.save(replace(loaded.record, state=Removed(since=now)), loaded.etag)


def test_a_line_says_its_price_and_what_was_saved_in_its_currency(priced: App, gone: Line) -> None:
    refresh(priced)
    found = shown(priced, gone)
    assert found["saved"] == pytest.approx(10 * 2 * 3.673, abs=0.1)
    price = found["price"]
    assert (price["per_hour"], price["currency"], price["source"]) == (3.673, "USD", "api")
    assert price["as_of"]
    assert found["unpriced"] == ""


def test_without_a_price_it_is_not_known_and_never_0(priced: App, gone: Line) -> None:
    found = shown(priced, gone)
    assert (found["saved"], found["price"]) == (None, None)
    assert "SERVING_PRICE_PER_HOUR gives it" in found["unpriced"]
    free = shown(with_prices(priced, SERVING_PRICE_PER_HOUR=Decimal(0)), gone)
    assert (free["saved"], free["price"]["per_hour"]) == (0.0, 0.0)
