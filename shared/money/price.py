"""What an hour of a machine costs, and what that makes of deployments: pure rules.

A price is told by a setting, by Azure's public price list or by a file (line/prices.py looks there). What nobody tells
is None here, never 0: a machine that costs nothing has a price, of 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from shared.lifecycle.moment import Moment
from shared.settings import MOST_AN_HOUR

CENT = Decimal("0.01")
_OTHERS = re.compile(
    r"\bspot\b|\blow\s*priority\b|\bwin(dows)?\b|cloud\s*services|dedicated\s*host|\bexpired\b", re.IGNORECASE
)
"""What in an item's names makes it the price of something else that runs on the same size."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """`per_hour`: of one instance or node, in `currency` (ISO 4217). `as_of`: when it was told; None: a setting's."""

    per_hour: Decimal
    currency: str
    source: Literal["setting", "api", "file"]
    as_of: Moment | None = None


# Azure's price list --------------------------------------------------------------------------------------------------


def pick(items: Iterable[Any], *, size: str, region: str, currency: str, now: datetime) -> Price | None:
    """The price of a machine of `size` in `region` among the items of Azure's price list, or None.

    None in any doubt: where no item fits, where two that fit differ, and where one that fits can't be read. No rule
    would choose between them, and a number that is too low makes a budget of no use. Items in another currency don't
    fit: amounts of two currencies can't be added.
    """
    found = fitting(items, size=size, region=region, currency=currency, now=now)
    if len(found) != 1 or None in found:
        return None
    (per_hour,) = (each for each in found if each is not None)
    return Price(per_hour=per_hour, currency=currency, source="api", as_of=now)


def fitting(items: Iterable[Any], *, size: str, region: str, currency: str, now: datetime) -> frozenset[Decimal | None]:
    """The prices that fit, each once; None among them stands for those that can't be read.

    Azure lists under one size what is billed by other rules, too (Spot, Low Priority, Windows, Cloud Services,
    dedicated hosts, meters that have expired), and next to a meter's price those that it had and will have. [D]
    learn.microsoft.com/rest/api/cost-management/retail-prices; the list has `type` where the filter says priceType.
    A price of 0 is a placeholder there.
    """
    wanted = {
        "serviceName": "virtual machines",
        "type": "consumption",
        "unitOfMeasure": "1 hour",
        "armSkuName": size.casefold(),
        "armRegionName": region.casefold(),
        "currencyCode": currency.casefold(),
    }
    latest = dict[str, datetime]()
    prices = dict[str, set[Decimal | None]]()
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or any(_text(item, key) != value for key, value in wanted.items()):
            continue
        names = " / ".join(str(item.get(key) or "") for key in ("productName", "skuName", "meterName"))
        if item.get("tierMinimumUnits", 0) != 0 or _OTHERS.search(names):
            continue
        begins, price = _time(item.get("effectiveStartDate")), _amount(item.get("retailPrice"))
        ends = _time(item["effectiveEndDate"]) if item.get("effectiveEndDate") else datetime.max.replace(tzinfo=UTC)
        meter = _text(item, "meterId") or str(number)
        if begins is None or ends is None:
            prices.setdefault(f"{meter} {number}", set()).add(None)
        elif begins <= now <= ends and price != 0:
            if begins > latest.get(meter, begins):  # the one before it has no end yet
                prices[meter].clear()
            if begins >= latest.setdefault(meter, begins):
                latest[meter] = begins
                prices.setdefault(meter, set()).add(price)
    return frozenset[Decimal | None]().union(*prices.values())


def _text(item: Mapping[str, Any], key: str) -> str:
    return str(item.get(key) or "").strip().casefold()


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if value != value or not 0 <= value < MOST_AN_HOUR:  # before it is turned into text, which may be endless
        return None
    amount = Decimal(str(value))
    return amount if amount.is_finite() else None


# A file --------------------------------------------------------------------------------------------------------------


def listed(found: Any, *, currency: str, as_of: datetime) -> dict[str, Price]:
    """The prices of a file, which says a price for each size, by size in lower case. Raises ValueError."""
    items = found.items() if isinstance(found, Mapping) else None
    if items is None:
        raise ValueError('it is no JSON object of prices by size, as in {"Standard_NC24ads_A100_v4": 3.67}')
    prices = dict[str, Price]()
    for size, value in items:
        per_hour = _amount(value)
        if per_hour is None:
            raise ValueError(f"{size[:60]!r} has no number of 0 or more, as in 3.67")
        prices[size.casefold()] = Price(per_hour=per_hour, currency=currency, source="file", as_of=as_of)
    return prices


# Words and sums ------------------------------------------------------------------------------------------------------


def missing(size: str, *, setting: str, source: str) -> str:
    """That the price of `size` is not known, and what gives it; `setting`: the one that would, "" if none does."""
    lacks, given = f"price of {size} not known", f"{setting} gives it, or " if setting else ""
    match source:
        case "api":
            return f"{lacks}: {given}Azure's price list, which has told none so far and is asked again by the cleanup"
        case "file":
            return f"{lacks}: {given}the file that PRICE_FILE names"
        case _:
            return f"{lacks}: {given}PRICE_SOURCE=api"


def money(amount: Decimal, currency: str) -> str:
    """An amount as people are told it: to the cent, with its currency."""
    return f"less than 0.01 {currency}" if 0 < amount < CENT else f"{amount:,.2f} {currency}"


def running_costs(*, instances: int, price: Price | None, unknown: str) -> str:
    """What deployments cost that stand day and night, in words; `unknown`: what is said where their price is not."""
    if price is None or not instances:
        return f"its instances, day and night ({unknown if price is None else 'how many is not known'})"
    return f"{money(price.per_hour * instances * 24, price.currency)} a day"


def money_saved(emptied: datetime, until: datetime, *, instances: int, price: Price | None) -> Decimal | None:
    """What the deployments would have cost from `emptied` to `until`, in the currency of the price; None: not known."""
    if price is None or not instances:
        return None
    return max(Decimal(0), Decimal((until - emptied) // timedelta(seconds=1)) / 3600 * instances * price.per_hour)
