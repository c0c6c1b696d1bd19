"""What deployments cost: tells the bill of those that run, and of the ends that Droptune causes.

The bill is told beside what happens, never in its way: where it can't be written now, the next tick of the cleanup sees
what runs and what is gone, and its times are good to a tick. Called by the cleanup, and by who deletes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import datetime

from shared.app import App
from shared.cloud.endpoints import Deployment
from shared.errors import Conflict, Permanent, Transient
from shared.line.prices import Prices
from shared.money.ledger import Cause, Ended, Look, Running
from shared.naming import made_for
from shared.records.bill import Bill
from shared.records.line import Line
from shared.records.store import Unreadable

log = logging.getLogger("droptune.line.metering")


def running(prices: Prices, line: Line, ours: Iterable[Deployment]) -> list[Running]:
    """The line's deployments, as the bill knows them."""
    return [_running(prices, line, each) for each in ours]


def tell_running(app: App, found: Collection[Running], unseen: Collection[str], now: datetime) -> None:
    """Tells the bill what was found from `now` on, of all lines but those that are `unseen`."""
    _record(app, Look(running=tuple(found), kinds=frozenset(("serving",)), unseen=frozenset(unseen)), now)


def remove(app: App, line: Line, deployment: Deployment, cause: Cause, why: str = "") -> None:
    """Asks Azure to delete a deployment of the line's, and tells the bill. Raises what deleting raises."""
    app.cloud.endpoints.remove_deployment(line.endpoint, deployment.name)
    tell_ended(app, line, [deployment], cause, why)


def tell_ended(app: App, line: Line, gone: Iterable[Deployment], cause: Cause, why: str = "") -> None:
    """Tells the bill that Azure is to delete these deployments of the line's now."""
    now = app.cloud.blobs.now()
    try:
        was = running(Prices(app), line, gone)
    except (Transient, Permanent) as error:
        log.warning("the bill is not told now; the next tick sees what is gone: %s", error)
        return
    ended = tuple(
        Ended(kind=each.kind, line=each.line, name=each.name, at=now, cause=cause, why=why, was=each) for each in was
    )
    if ended:
        _record(app, Look(ended=ended, kinds=frozenset()), now)


def _running(prices: Prices, line: Line, each: Deployment) -> Running:
    made, price = made_for(each.name, each.tags), prices.of(each.instance_type)
    return Running(
        kind="serving",
        line=line.id,
        run=made.run if made else "",
        name=each.name,
        instances=each.instances,
        size=each.instance_type,
        price=price.per_hour if price else None,
        currency=price.currency if price else "",
        since=each.made,
    )


def _record(app: App, look: Look, now: datetime) -> None:
    try:
        Bill(app.cloud).record(look, now)
    except (Conflict, Transient, Permanent, Unreadable) as error:
        log.warning("the bill is not told now; the next tick sees what runs: %s", error)
