"""What `GET /api/cost` says: sums over the bill, by line, run or day. Reads storage alone. Called by views.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from shared.api.cost_schema import CostRow, CostTotal, CostView
from shared.app import App
from shared.errors import Permanent
from shared.logs import visible
from shared.money.sums import ASSUMPTION, KEYS, Sum, amount, period, sums
from shared.records.bill import Bill
from shared.records.store import readable

NAMED = 50
"""Lines or runs whose folder is looked up, those that cost most first: each is a read."""


def cost(app: App, wanted: Mapping[str, str]) -> CostView:
    """What a period cost; `wanted`: `for` (this month) and `by` (line). Raises Permanent, in a sentence."""
    now = app.cloud.blobs.now()
    by = wanted.get("by", "") or "line"
    if by not in KEYS:
        raise Permanent(f"by is {visible(by, 40)!r}: it must be {', '.join(KEYS)}")
    try:
        asked = period(wanted.get("for", ""), now)
    except ValueError as error:
        raise Permanent(f"for is {visible(wanted.get('for', ''), 40)!r}: {error}") from None
    bill = Bill(app.cloud)
    account = bill.account(asked, now)
    found = sums(account.pieces, by)
    folders = _folders(app, found, by)
    return CostView(
        period=asked.name,
        start=None if asked.name == "all" else asked.start,
        until=max(asked.start, min(asked.end, now)),
        by=by,
        rows=[_row(each, folders.get(each.key, "")) for each in found],
        totals=_totals(found),
        assumption=ASSUMPTION,
        seen=account.seen,
        unreadable=[*account.unreadable, *bill.unreadable(now)],
    )


def _row(each: Sum, folder: str) -> CostRow:
    return CostRow(
        key=each.key,
        folder=folder,
        kind=each.kind,
        size=each.size,
        currency=each.currency,
        amount=_money(each.micros),
        saved=_money(each.saved),
        instance_seconds=amount(each.microseconds),
        saved_instance_seconds=amount(each.saved_microseconds),
    )


def _totals(found: Iterable[Sum]) -> list[CostTotal]:
    """One a currency, and one of what has no price; never one of several currencies."""
    groups: dict[tuple[bool, str], list[Sum]] = {}
    for each in found:
        groups.setdefault((each.micros is None, each.currency), []).append(each)
    return [
        CostTotal(
            currency=currency,
            amount=None if unknown else amount(sum(each.micros or 0 for each in group)),
            saved=None if unknown else amount(sum(each.saved or 0 for each in group)),
            instance_seconds=amount(sum(each.microseconds for each in group)),
            saved_instance_seconds=amount(sum(each.saved_microseconds for each in group)),
        )
        for (unknown, currency), group in sorted(groups.items(), key=lambda each: each[0])
    ]


def _money(micros: int | None) -> Decimal | None:
    return None if micros is None else amount(micros)


def _folders(app: App, found: Iterable[Sum], by: str) -> dict[str, str]:
    """The folder of each line or run, as far as its record still says it."""
    if by == "day":
        return {}
    dearest = sorted(found, key=lambda each: (each.micros or 0, each.microseconds), reverse=True)
    folders: dict[str, str] = {}
    for key in list(dict.fromkeys(each.key for each in dearest))[:NAMED]:
        if by == "line":
            line = readable(app.lines, key)
            folders[key] = line.record.folder if line else ""
        else:
            run = readable(app.runs, key)
            folders[key] = run.record.source.folder if run else ""
    return folders
