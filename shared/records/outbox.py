"""Sends the lifecycle events that a record has to tell: kept in the record until they are sent, a crash loses none.

Called by the turn for runs, and by whatever changes a line.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.records.base import Notice
from shared.records.line import Line
from shared.records.run import Run

if TYPE_CHECKING:
    from shared.cloud import Cloud

TOLD_WITHIN = timedelta(days=1)
"""Event Grid itself tries to deliver an event for so long, unless it is told otherwise."""


def tell[T: (Run, Line)](cloud: Cloud, record: T) -> T:
    """Sends the events that the record has to tell; gives it with those that are left, which is still to be saved.

    What a topic that is down did not take is left, for TOLD_WITHIN: a later turn, or the sweep, tries again.
    """
    young, up, left = cloud.blobs.now() - TOLD_WITHIN, True, []
    for notice in record.untold:
        up = up and _sent(cloud, record, notice)
        if not up and notice.at > young:
            left.append(notice)
    return replace(record, untold=tuple(left))


def _sent(cloud: Cloud, record: Run | Line, notice: Notice) -> bool:
    """Sends one event, where there is a topic. False when the topic did not take it."""
    data: dict[str, Any] = {"dataset": record.folder, "endpoint": record.endpoint, "reason": notice.why}
    if isinstance(record, Run):
        subject = f"runs/{record.id}"
        data |= {"run": record.id, "attempt": record.attempt, "line": record.line}
        data |= {"phase": record.phase, "model": record.model}
    else:
        subject = f"lines/{record.id}"
        data |= {"line": record.id}
    return cloud.topic.publish(notice.type, subject, data, id=notice.id, time=notice.at)
