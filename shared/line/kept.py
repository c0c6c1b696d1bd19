"""What keeps a line's endpoint whatever its use: a pin, a person's word, a tag, somebody else's deployment in use.

People say it by a command, which the record keeps, or by a tag on the endpoint. Each reason says what ends it. Called
by the cleanup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from shared.cloud.endpoints import Deployment, Endpoint
from shared.lifecycle.moment import minute
from shared.line.teardown import told
from shared.naming import OWNER_TAGS, tag
from shared.records.line import Line
from shared.serving.hours import office_hours

KEEP_TAG = "droptune.keep"
"""On an endpoint, or on the deployment that serves: neither is torn down. A day or a time as its value ends that."""
HOURS_TAG = "droptune.hours"
"""On an endpoint: its office hours, in which it is not torn down. What a command says of them comes before it."""


def why_kept(
    line: Line,
    endpoint: Endpoint,
    ours: Mapping[str, Deployment],
    others: Sequence[str],
    now: datetime,
    *,
    rolling_out: bool,
) -> str:
    """Why the line is not torn down whatever its use, and what ends that; "" if it may be."""
    serves = ours.get(line.serving.deployment) if line.serving else None
    if kept := why_people_keep(line, endpoint, serves, now):
        return kept
    if used := [each for each in others if endpoint.traffic.get(each)]:
        return f"{told(used)}, has traffic: to give it none ends that"
    if line.serving is None and endpoint.traffic and not rolling_out:  # which may have to make room first
        names = ", ".join(endpoint.traffic)
        return f"{names} has traffic, though no record says that it serves: to give it none ends that"
    if line.serving and not serves and endpoint.traffic.get(line.serving.deployment):
        lacks = f"deployment {line.serving.deployment}, which serves, lacks tags that it was made with"
        return f"{lacks}: to give it {', '.join(OWNER_TAGS)} again ends that"
    try:
        hours_end(line, endpoint, now)
    except ValueError as error:
        return f"its tag {HOURS_TAG} can't be read: {error}; to mend or remove it ends that"
    return ""


def why_people_keep(line: Line, endpoint: Endpoint, serves: Deployment | None, now: datetime) -> str:
    """Who has said that it stays, by a command or a tag, and what ends that; "" if nobody has. `serves`: if known."""
    if line.pinned_by:
        return f"{line.pinned_by} has pinned it: droptune unpin {line.id} ends that"
    if keep := line.kept_at(now):
        until = f" until {minute(keep.until)}" if keep.until else ""
        why = f" ({keep.why})" if keep.why else ""
        return f"{keep.who} keeps it{until}{why}: droptune keep {line.id} --end ends that"
    if kept := kept_by_tag("the endpoint", endpoint.tags, now):
        return kept
    return kept_by_tag(f"deployment {serves.name}", serves.tags, now) if serves else ""


def hours_end(line: Line, endpoint: Endpoint, now: datetime) -> datetime | None:
    """The end of the office hours that it is in; None outside of them. Raises ValueError for a tag without sense."""
    text = line.hours or (tag(endpoint.tags, HOURS_TAG) or "").strip()
    return office_hours(text).ends(now) if text else None


def kept_by_tag(what: str, tags: Mapping[str, str], now: datetime) -> str:
    """That a tag keeps `what`, until when, and what ends that; "" if none does."""
    value = tag(tags, KEEP_TAG)
    if value is None:
        return ""
    until = day_or_time(value)
    if until is None:
        return f"{what} has the tag {KEEP_TAG}: to remove it ends that"
    return f"{what} has the tag {KEEP_TAG}, until {minute(until)}: to remove it ends that" if now < until else ""


def day_or_time(text: str) -> datetime | None:
    """A day, which is kept whole, or a time, in UTC where it has no zone, as ISO 8601 writes them; None: it is none."""
    text = text.strip()
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
