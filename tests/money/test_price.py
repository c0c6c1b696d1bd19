"""Which of the items of Azure's price list is the price of an hour, and the money that it makes."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.money.price import Price, listed, missing, money, money_saved, pick, running_costs

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SIZE, REGION = "Standard_NC24ads_A100_v4", "westeurope"
ITEM: dict[str, Any] = {
    "currencyCode": "USD",
    "tierMinimumUnits": 0,
    "retailPrice": Decimal("3.673"),
    "unitPrice": Decimal("3.673"),
    "armRegionName": REGION,
    "location": "EU West",
    "effectiveStartDate": "2022-06-01T00:00:00Z",
    "meterId": "m1",
    "meterName": "NC24ads A100 v4",
    "productName": "Virtual Machines NCads A100 v4 Series",
    "skuName": "NC24ads A100 v4",
    "serviceName": "Virtual Machines",
    "unitOfMeasure": "1 Hour",
    "type": "Consumption",
    "armSkuName": SIZE,
}
PRICE = Price(per_hour=Decimal("3.673"), currency="USD", source="api", as_of=NOW)
HALF = {"retailPrice": Decimal("1.8"), "meterId": "m2"}
"""Cheaper, and another meter's: whoever takes it for the price is noticed."""
OTHERS: dict[str, dict[str, Any]] = {
    "spot by its name": {"skuName": "NC24ads A100 v4 Spot"},
    "spot by its meter": {"meterName": "NC24ads A100 v4 Spot"},
    "low priority": {"skuName": "NC24ads A100 v4 Low Priority"},
    "low priority by its meter": {"meterName": "NC24ads A100 v4 low priority"},
    "windows": {"productName": "Virtual Machines NCads A100 v4 Series Windows"},
    "windows in short": {"productName": "Virtual Machines NCads A100 v4 Srs Win"},
    "cloud services": {"productName": "NCads A100 v4 Series CloudServices"},
    "a dedicated host": {"productName": "NCads A100 v4 Series Dedicated Host"},
    "an expired meter": {"meterName": "NC24ads A100 v4 Expired"},
    "a reservation": {"type": "Reservation", "reservationTerm": "1 Year"},
    "for development": {"type": "DevTestConsumption"},
    "by the month": {"unitOfMeasure": "1/Month"},
    "another size": {"armSkuName": "Standard_NC48ads_A100_v4"},
    "another region": {"armRegionName": "northeurope"},
    "another service": {"serviceName": "Azure Machine Learning"},
    "another currency": {"currencyCode": "EUR"},
    "from so many hours on": {"tierMinimumUnits": 100},
    "not yet": {"effectiveStartDate": "2027-01-01T00:00:00Z"},
    "not any more": {"effectiveEndDate": "2026-10-31T00:00:00Z"},
    "a placeholder": {"retailPrice": 0},
}


def picked(*items: Any, size: str = SIZE, region: str = REGION) -> Price | None:
    return pick(items, size=size, region=region, currency="USD", now=NOW)


def test_the_price_of_a_size_whatever_its_case() -> None:
    assert picked(ITEM) == PRICE
    assert picked(ITEM, size=SIZE.upper(), region="WestEurope") == PRICE
    assert picked(ITEM | {"retailPrice": 3.673}) == PRICE, "a float as it is written"


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_billed_by_other_rules_is_not_the_price(what: str) -> None:
    other = ITEM | HALF | OTHERS[what]
    assert picked(other) is None
    assert picked(ITEM, other) == picked(other, ITEM) == PRICE


def test_two_that_differ_are_no_price() -> None:
    assert picked(ITEM, ITEM | HALF) is None
    assert picked(ITEM, ITEM | {"meterId": "m2"}) == PRICE, "the same twice is no doubt"


def test_what_a_meter_costs_now_and_not_what_it_did() -> None:
    before = ITEM | {"retailPrice": Decimal(5), "effectiveStartDate": "2020-01-01T00:00:00Z"}
    after = ITEM | {"retailPrice": Decimal(1), "effectiveStartDate": "2026-12-01T00:00:00Z"}
    for items in itertools.permutations([before, ITEM, after]):
        assert picked(*items) == PRICE


@pytest.mark.parametrize(
    "broken",
    [
        {"retailPrice": None},
        {"retailPrice": "3.673"},
        {"retailPrice": True},
        {"retailPrice": -1},
        {"retailPrice": Decimal("NaN")},
        {"retailPrice": 10**4000},
        {"effectiveStartDate": "soon"},
        {"effectiveStartDate": None},
        {"effectiveEndDate": "later"},
    ],
    ids=str,
)
def test_one_that_fits_and_cant_be_read_is_a_doubt(broken: dict[str, Any]) -> None:
    assert picked(ITEM | broken) is None
    assert picked(ITEM, ITEM | {"meterId": "m2"} | broken) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ITEM, "x"]), inner, max_size=9),
    max_leaves=20,
)
mutated = st.dictionaries(st.sampled_from([*ITEM]), anything, max_size=2).map(lambda changes: ITEM | changes)
close = st.sampled_from([ITEM | HALF | each for each in OTHERS.values()])


@example([ITEM, {"retailPrice": False}])
@given(st.lists(anything | mutated | close | st.just(ITEM), max_size=8).flatmap(st.permutations))
def test_whatever_the_list_says_it_is_a_price_without_doubt_or_none(items: list[Any]) -> None:
    found = picked(*items)
    assert found == picked(*reversed(items)), "their order means nothing"
    if found:
        assert found.per_hour > 0
        said = [each.get("retailPrice") for each in items if isinstance(each, dict)]
        numbers = [each for each in said if isinstance(each, int | float | Decimal) and not isinstance(each, bool)]
        assert found.per_hour in [Decimal(str(each)) for each in numbers]


# A file --------------------------------------------------------------------------------------------------------------


def test_a_file_says_a_price_for_each_size() -> None:
    found = listed({SIZE: Decimal("3.1"), "free": 0}, currency="EUR", as_of=NOW)
    assert found[SIZE.lower()] == Price(per_hour=Decimal("3.1"), currency="EUR", source="file", as_of=NOW)
    assert found["free"].per_hour == 0, "a price of 0 that somebody has set is one"


@pytest.mark.parametrize(
    ("file", "why"), [([], "no JSON object"), ({SIZE: "3.1"}, SIZE), ({SIZE: -1}, "0 or more"), ({SIZE: None}, SIZE)]
)
def test_a_file_that_cant_be_read_says_what_is_wrong(file: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        listed(file, currency="EUR", as_of=NOW)


# Words and sums ------------------------------------------------------------------------------------------------------


def test_an_amount_carries_its_currency() -> None:
    assert money(Decimal("1234.5"), "EUR") == "1,234.50 EUR"
    assert money(Decimal("0.001"), "USD") == "less than 0.01 USD", "what costs is not told as 0"
    assert money(Decimal(0), "USD") == "0.00 USD"


def test_what_a_day_costs_and_what_is_missing_where_nobody_knows() -> None:
    price = Price(per_hour=Decimal("1.5"), currency="EUR", source="setting")
    assert running_costs(instances=2, price=price, unknown="?") == "72.00 EUR a day"
    unknown = missing(SIZE, setting="SERVING_PRICE_PER_HOUR", source="off")
    assert unknown == f"price of {SIZE} not known: SERVING_PRICE_PER_HOUR gives it, or PRICE_SOURCE=api"
    assert running_costs(instances=2, price=None, unknown=unknown) == f"its instances, day and night ({unknown})"
    assert "PRICE_FILE" in missing(SIZE, setting="", source="file")
    assert "Azure's price list, which has told none so far" in missing(SIZE, setting="", source="api")


def test_what_was_saved_is_hours_times_instances_times_price_or_not_known() -> None:
    price, later = Price(per_hour=Decimal("4.1"), currency="USD", source="setting"), NOW + timedelta(hours=3)
    assert money_saved(NOW, later, instances=2, price=price) == Decimal("24.6")
    assert money_saved(later, NOW, instances=2, price=price) == 0
    assert money_saved(NOW, later, instances=2, price=None) is None
    assert money_saved(NOW, later, instances=0, price=price) is None, "as many as nobody knows"
