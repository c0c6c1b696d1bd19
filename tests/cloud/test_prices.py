"""Azure's price list over real HTTP: what is asked, and that no answer takes long, is long, or leads elsewhere."""

from __future__ import annotations

import gzip
import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.cloud import prices as module
from shared.money.price import pick
from shared.settings import SettingError, Settings
from tests.kit.price_list import PriceServer, price_list
from tests.kit.settings import KNOWN, changed

SIZE = "Standard_NC24ads_A100_v4"
NOW = datetime(2026, 11, 30, tzinfo=UTC)
_LOOPBACK = ("localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1")
_strayed: list[Any] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _strayed is None or event not in ("socket.getaddrinfo", "socket.connect"):
        return
    at = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
    host = at[0] if isinstance(at, tuple) else at
    if host not in _LOOPBACK:
        _strayed.append(host)


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _stays_here(cloud_env: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing outside loopback is looked up or connected to, whatever is answered. No proxy hides who is meant."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    global _strayed
    found: list[Any] = []
    _strayed = found
    yield
    _strayed = None
    assert found == []


@pytest.fixture
def server() -> Iterator[PriceServer]:
    with price_list() as made:
        yield made


@pytest.fixture
def asking(cloud_env: Stack, server: PriceServer) -> Iterator[Cloud]:
    made = Cloud(changed(Settings.read(os.environ), PRICE_API=server.url, AZURE_LOCATION="westeurope"))
    yield made
    server.release.set()
    made.close()


def item(price: float, **changes: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0,
        "retailPrice": price,
        "armRegionName": "westeurope",
        "effectiveStartDate": "2022-06-01T00:00:00Z",
        "meterId": f"m{price}",
        "meterName": "NC24ads A100 v4",
        "productName": "Virtual Machines NCads A100 v4 Series",
        "skuName": "NC24ads A100 v4",
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": SIZE,
    } | changes


def price(asking: Cloud) -> Decimal | None:
    found = asking.prices.items([SIZE])
    if SIZE not in found:
        return None
    told = pick(found[SIZE], size=SIZE, region="westeurope", currency="USD", now=NOW)
    return told.per_hour if told else None


def test_the_price_is_found_behind_spot_windows_and_a_second_page(asking: Cloud, server: PriceServer) -> None:
    spot, windows = item(0.7, skuName="NC24ads A100 v4 Spot"), item(9.0, productName="NCads A100 v4 Series Windows")
    server.pages = [[spot, windows, item(2.0, currencyCode="EUR")], [item(3.673)]]
    assert price(asking) == Decimal("3.673")
    first, second = server.asked
    assert first == {
        "currencyCode": ["'USD'"],
        "$filter": [
            f"serviceName eq 'Virtual Machines' and armRegionName eq 'westeurope' and armSkuName eq '{SIZE}' "
            "and priceType eq 'Consumption'"
        ],
    }
    assert second == {"page": ["1"]}


def test_a_size_with_a_quote_stays_a_size(asking: Cloud, server: PriceServer) -> None:
    assert asking.prices.items(["x' or '1' eq '1&$top=1"]) == {"x' or '1' eq '1&$top=1": []}
    assert "armSkuName eq 'x'' or ''1'' eq ''1&$top=1' and" in server.asked[0]["$filter"][0]


def test_each_size_is_asked_for_and_one_failure_is_not_the_others(asking: Cloud, server: PriceServer) -> None:
    server.pages = [[item(1.0)]]
    assert asking.prices.items(["a", "b"]).keys() == {"a", "b"}
    server.status = 503
    assert asking.prices.items(["a", "b"]) == {}
    assert len(server.asked) == 4, "nothing is asked twice: the next tick will"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>down for maintenance</html>", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"Items": {}}', "no list of items"),
        (b'{"Items": [], "NextPageLink": 7}', "no address as its next page"),
        (b"\xff\xfe", "no JSON"),
        (b'{"Items": [' + b"1," * 600_000 + b"1]}", "longer than 1 MB"),
    ],
    ids=["html", "deep", "list", "object", "link", "binary", "long"],
)
def test_garbage_is_no_price(
    asking: Cloud, server: PriceServer, caplog: pytest.LogCaptureFixture, body: bytes, why: str
) -> None:
    server.body = body
    assert price(asking) is None
    assert f"price of {SIZE} is not known" in caplog.text
    assert why in caplog.text


def test_what_unpacks_to_too_much_is_too_much(
    asking: Cloud, server: PriceServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.body = gzip.compress(b" " * 100 * 1024 * 1024)
    server.headers = {"Content-Encoding": "gzip"}
    assert price(asking) is None
    assert "longer than 1 MB" in caplog.text


@pytest.mark.parametrize("to", ["https://prices.example/", "{url}/api/retail/prices?page=0"])
def test_nobody_is_followed_elsewhere(
    asking: Cloud, server: PriceServer, caplog: pytest.LogCaptureFixture, to: str
) -> None:
    server.status, server.headers = 302, {"Location": to.format(url=server.url)}
    server.pages = [[item(1.0)]]
    assert price(asking) is None
    assert "answers 302" in caplog.text
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "link",
    [
        "https://prices.example/api",
        "http://localhost:1/api",
        "//prices.example/api",
        "{url}@prices.example/api",
        "http://prices.example#{url}/",
        "/api/retail/prices?page=1",
        "http://[::1",
    ],
)
def test_a_next_page_elsewhere_is_not_asked_for(
    asking: Cloud, server: PriceServer, caplog: pytest.LogCaptureFixture, link: str
) -> None:
    server.pages, server.next_page = [[item(1.0)], [item(1.0)]], link
    assert price(asking) is None, "half of a list is none"
    assert any(why in caplog.text for why in ("names a next page elsewhere", "is no address"))
    assert len(server.asked) == 1


def test_pages_without_end_end(asking: Cloud, server: PriceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.5)
    server.pages, server.next_page = [[item(1.0)], []], "{url}/api/retail/prices?page=0"
    assert price(asking) is None


def test_an_answer_that_drips_is_not_waited_for(
    asking: Cloud, server: PriceServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    server.pages, server.drips = [[item(1.0)]], True
    began = time.monotonic()
    assert price(asking) is None
    assert time.monotonic() - began < 3
    assert "did not answer within" in caplog.text


def test_nobody_there_is_a_line_in_the_log(asking: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    gone = Cloud(changed(asking.settings, PRICE_API="http://127.0.0.1:9"))
    with caplog.at_level(logging.WARNING):
        assert gone.prices.items([SIZE]) == {}
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "price list at http://127.0.0.1:9: no answer" in caplog.text
    gone.close()


def test_azures_links_to_the_next_page_name_the_port() -> None:
    assert module._origin("https://prices.azure.com:443/api?x") == module._origin("https://prices.azure.com")


@pytest.mark.parametrize("address", ["https://prices.azure.com", "http://127.0.0.1:8080/", "http://[::1]:1"])
def test_the_list_is_asked_over_https_or_on_this_machine(address: str) -> None:
    assert KNOWN["PRICE_API"].read(address) == address.rstrip("/")


@pytest.mark.parametrize(
    "address",
    [
        *("http://prices.azure.com", "http://127.0.0.1.example", "http://localhost@example.com", "ftp://localhost"),
        *("prices.azure.com", "https://prices.azure.com/api", "https://a?b", "https://", "file:///etc/passwd"),
    ],
)
def test_no_other_address_is_taken(address: str) -> None:
    with pytest.raises(SettingError, match=r"PRICE_API=.* is not an https address"):
        KNOWN["PRICE_API"].read(address)


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "1e999999", "three", "3,67"])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"SERVING_PRICE_PER_HOUR=.* is not a price"):
        KNOWN["SERVING_PRICE_PER_HOUR"].read(text)


def test_a_price_of_0_is_one_and_no_price_is_not_known() -> None:
    assert KNOWN["SERVING_PRICE_PER_HOUR"].read("0") == 0
    assert KNOWN["SERVING_PRICE_PER_HOUR"].read("") is None
    assert KNOWN["PRICE_CURRENCY"].read("eur") == "EUR"
