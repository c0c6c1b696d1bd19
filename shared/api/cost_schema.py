"""The shapes of `GET /api/cost`; those of all other routes are in schema.py. Made in cost.py.

Amounts and times are exact decimal numbers, which JSON has as texts. An amount is null where no price is known.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from shared.api.schema import VERSION, Shape


class CostRow(Shape, frozen=True, kw_only=True):
    """What one line, run or day (`key`) cost, of one `kind`, `serving` or `training`, in one currency.

    `amount`: with six places; `saved`: what teardowns of the cleanup saved, by the view's `assumption`. Both are null
    where the price is unknown, and then `size` says of which machines. `instance_seconds`: for how long instances, or
    nodes of a job, ran; `saved_instance_seconds`: for how long those that are torn down would have. `folder`: of the
    line's or run's dataset, "" where that is not known any more, or among very many.
    """

    key: str
    folder: str = ""
    kind: str
    size: str = ""
    currency: str = ""
    amount: Decimal | None
    saved: Decimal | None
    instance_seconds: Decimal
    saved_instance_seconds: Decimal


class CostTotal(Shape, frozen=True, kw_only=True):
    """All rows of one currency; or, with an amount of null, all whose price is unknown."""

    currency: str = ""
    amount: Decimal | None
    saved: Decimal | None
    instance_seconds: Decimal
    saved_instance_seconds: Decimal


class CostView(Shape, frozen=True, kw_only=True):
    """What a period cost, up to `until`; `start` is null for `all`. `by`: what the keys of the rows are.

    `seen`: how many intervals have a time that is only good to a tick of the cleanup, for others began or ended them.
    `unreadable`: which months are in no sum, or not whole, and why.
    """

    version: int = VERSION
    period: str
    start: datetime | None = None
    until: datetime
    by: str
    rows: list[CostRow]
    totals: list[CostTotal]
    assumption: str = ""
    seen: int = 0
    unreadable: list[str]
