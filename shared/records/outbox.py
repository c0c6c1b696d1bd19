"""Sends the events of a record's outbox: kept in the record until they are sent, a crash loses none.

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

SENT_WITHIN = timedelta(days=1)
"""Event Grid itself tries to deliver an event for so long, unless it is told otherwise."""


def send_events[T: (Run, Line)](cloud: Cloud, record: T) -> T:
    """Sends the events in the record's outbox; gives it with those that are left, which is still to be saved.

    What a topic that is down did not take is left, for SENT_WITHIN: a later turn, or the sweep, tries again.
    """
    young, up, left = cloud.blobs.now() - SENT_WITHIN, True, []
    for notice in record.outbox:
        up = up and _sent(cloud, record, notice)
        if not up and notice.at > young:
            left.append(notice)
    return replace(record, outbox=tuple(left))


def _sent(cloud: Cloud, record: Run | Line, notice: Notice) -> bool:
    """Sends one event, where there is a topic. False when the topic did not take it."""
    data: dict[str, Any] = {"reason": notice.why}
    if isinstance(record, Run):
        subject, attempt = f"runs/{record.id}", record.attempt
        data |= {"dataset": record.source.folder, "endpoint": attempt.deployed.endpoint if attempt.deployed else ""}
        data |= {"run": record.id, "attempt": attempt.number, "line": record.line}
        data |= {"phase": record.phase, "model": attempt.model}
    else:
        subject = f"lines/{record.id}"
        data |= {"dataset": record.folder, "endpoint": record.endpoint, "line": record.id}
    return cloud.topic.publish(notice.type, subject, data, id=notice.id, time=notice.at)
