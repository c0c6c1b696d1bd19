"""What an hour of a size costs here: a setting says it, else what PRICE_SOURCE told last.

What was told is kept in one blob, which the tick of the cleanup refreshes and everybody else only reads: no run and no
page waits for a price. An outage leaves the old prices, with their dates. What nobody has told is None.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

import msgspec

from shared.app import App
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.lifecycle.moment import Moment
from shared.money.price import Price, listed, missing, pick
from shared.records.base import from_json
from shared.records.layout import PRICES, STATE

log = logging.getLogger("droptune.line.prices")

STALE = timedelta(days=1)
PAUSE = timedelta(hours=1)
"""How long nobody is asked again who did not answer."""
MOST_SIZES = 20
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Told:
    """The price of a size as it was told last, None in doubt; when that was, None for never; when it was asked."""

    asked: Moment
    at: Moment | None = None
    price: Price | None = None

    def due(self, now: datetime) -> bool:
        """Whether it is to be asked again."""
        return now - self.asked >= PAUSE and (self.at is None or now - self.at >= STALE)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """All that was told, by size in lower case, and by whom: it holds for this source, region and currency alone."""

    source: str
    region: str
    currency: str
    file: str = ""
    told: dict[str, Told] = field(default_factory=dict)


class Prices:
    """The prices as they are known now. Reads the blob once, and only where no setting says the price."""

    def __init__(self, app: App) -> None:
        self._app = app

    def of(self, size: str, *, training: bool = False) -> Price | None:
        """The price of an instance of `size` an hour, or with `training` of a node of the GPU cluster; None: unknown.

        FINETUNE_PRICE_PER_HOUR and SERVING_PRICE_PER_HOUR each speak for their own size alone. Raises Transient.
        """
        settings = self._app.settings
        given = settings.prices.node if training else settings.prices.serving
        if given is not None and size.casefold() == self._named(training=training).casefold():
            return Price(per_hour=Decimal(given), currency=settings.prices.currency, source="setting")
        told = self._kept.told.get(size.casefold()) if settings.prices.source != "off" else None
        return told.price if told else None

    def unknown(self, size: str, *, training: bool = False) -> str:
        """That its price is not known, and what gives it."""
        setting = "FINETUNE_PRICE_PER_HOUR" if training else "SERVING_PRICE_PER_HOUR"
        is_set = size.casefold() == self._named(training=training).casefold()
        return missing(size, setting=setting if is_set else "", source=self._app.settings.prices.source)

    def _named(self, *, training: bool) -> str:
        return self._app.settings.training.gpu_size if training else self._app.settings.serving.size

    @cached_property
    def _kept(self) -> Kept:
        return _read(self._app)[0]


def price_of(app: App, size: str, *, training: bool = False) -> Price | None:
    """As `Prices.of`, for who asks once."""
    return Prices(app).of(size, training=training)


def refresh(app: App, sizes: Iterable[str] = ()) -> None:
    """Asks for the prices that are not known, or not of the last day: of the settings' sizes and of `sizes`.

    Raises nothing: a price is never worth a tick.
    """
    try:
        match app.settings.prices.source:
            case "api":
                _ask(app, sizes)
            case "file":
                _read_file(app)
    except Conflict:
        log.info("the prices changed meanwhile: left for the next tick")
    except (Transient, Permanent) as error:
        log.warning("the prices stay as they are: %s", error)
    except Exception:
        log.exception("the prices stay as they are")


def _ask(app: App, sizes: Iterable[str]) -> None:
    settings, now = app.settings, app.cloud.blobs.now()
    own = (settings.serving.size, settings.training.gpu_size, settings.training.cpu_size)
    kept, etag = _read(app)
    spelled = {size.casefold(): size for size in (*sizes, *own) if size}
    never = Told(asked=now - STALE)
    due = [size for key, size in spelled.items() if kept.told.get(key, never).due(now)][:MOST_SIZES]
    if not due:
        return
    items = app.cloud.prices.items(due)
    told = dict(kept.told)
    for size in due:
        after = replace(kept.told.get(size.casefold(), never), asked=now)  # an outage leaves the price that was
        if size in items:
            price = pick(items[size], size=size, region=kept.region, currency=kept.currency, now=now)
            if price is None:
                said = "%s has %d items for %s in %s (%s), and no single price among them: it is not known"
                log.warning(said, settings.prices.address, len(items[size]), size, kept.region, kept.currency)
            after = replace(after, at=now, price=price)
        told[size.casefold()] = after
    newest = sorted(told, key=lambda key: told[key].asked)[-MOST_SIZES:]
    _write(app, replace(kept, told={key: told[key] for key in newest}), etag)


def _read_file(app: App) -> None:
    settings = app.settings.prices
    kept, etag = _read(app)
    found = app.cloud.blobs.head(STATE, settings.file)
    if found is None:
        log.warning("no prices: PRICE_SOURCE=file, and there is no blob %s/%s (PRICE_FILE)", STATE, settings.file)
        if kept.told:
            _write(app, replace(kept, file="", told={}), etag)
        return
    if found.etag == kept.file:
        return
    if found.size > MOST_BYTES:
        raise Permanent(f"blob {STATE}/{settings.file} is no list of prices: it is longer than 1 MB")
    data, _ = app.cloud.blobs.read(STATE, settings.file, found.etag)
    try:
        prices = listed(json.loads(data, parse_float=Decimal), currency=settings.currency, as_of=found.last_modified)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"blob {STATE}/{settings.file}: {error}") from None
    now = app.cloud.blobs.now()
    told = {size: Told(asked=now, at=found.last_modified, price=price) for size, price in prices.items()}
    _write(app, replace(kept, file=found.etag, told=told), etag)


def _read(app: App) -> tuple[Kept, str | None]:
    settings = app.settings
    nothing = Kept(
        source=settings.prices.source, region=settings.workspace.location.casefold(), currency=settings.prices.currency
    )
    try:
        data, etag = app.cloud.blobs.read(STATE, PRICES)
    except NotFound:
        return nothing, None
    try:
        kept = from_json(data, Kept)
    except ValueError:
        log.exception("%s/%s can't be read: it is made anew", STATE, PRICES)
        return nothing, etag
    same = (kept.source, kept.region, kept.currency) == (nothing.source, nothing.region, nothing.currency)
    return (kept if same else nothing), etag


def _write(app: App, kept: Kept, etag: str | None) -> None:
    app.cloud.blobs.write(STATE, PRICES, msgspec.json.encode(kept), if_match=etag, if_none_match=etag is None)
