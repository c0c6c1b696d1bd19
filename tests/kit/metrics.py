"""Metrics in one number each, for tests that ask for no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.cloud.metrics import Metrics


def many_requests(metrics: Metrics, ids: Sequence[str], start: datetime, end: datetime) -> dict[str, float | None]:
    """About how many requests each endpoint had. 0.0: no points; None: could not be read."""
    found = metrics.request_series(ids, start, end)
    return {id_: None if each is None else each.sum for id_, each in found.items()}


def cpu_points(metrics: Metrics, ids: Sequence[str], start: datetime, end: datetime) -> dict[str, int]:
    """How many CPU points each deployment has; 0 where it can't be read."""
    return {id_: each.points if each else 0 for id_, each in metrics.cpu_series(ids, start, end).items()}
