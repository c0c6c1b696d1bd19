"""When is an endpoint idle: pure rules.

Two phases, as people expect it of a tool that deletes: first a notice, then, after the grace time and if still nobody
called, the deletion. Silence counts only where a positive control shows that the metrics would have told otherwise.
`line/cleanup.py` gathers what is seen and carries out the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of the cleanup."""

    window: timedelta
    grace: timedelta
    minimum_age: timedelta
    shell: timedelta
    whole_endpoint: bool


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What is known of a line's endpoint. `requests` and `control` count over `window` up to now; None: unreadable.

    `kept`: who or what keeps it whatever its use, "" if nothing does.
    """

    since: datetime | None
    emptied: datetime | None = None
    noticed: datetime | None = None
    kept: str = ""
    rolling_out: bool = False
    requests: float | None = None
    control: int | None = None
    refused: bool = False
    """It was to be torn down, and Azure refused: that stands."""


@dataclass(frozen=True)
class Keep:
    """It stays, and a notice is taken back. `wanted`: somebody uses it or wants it, which is more than a doubt."""

    why: str
    wanted: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Notice:
    """Idle: say so now, delete after the grace time."""

    why: str


@dataclass(frozen=True)
class Delete:
    """Its notice has run out: the deployments go, and the endpoint with them when `endpoint` says so."""

    why: str
    endpoint: bool


@dataclass(frozen=True)
class Pending:
    """A notice is running."""

    until: datetime


type Verdict = Keep | Notice | Pending | Delete


def verdict(usage: Usage, policy: Policy, now: datetime) -> Verdict:
    """What the cleanup owes this endpoint at `now`. Anything in doubt is kept: deleting is never a guess."""
    if usage.kept:
        return Keep(usage.kept, wanted=True)
    if usage.rolling_out:
        return Keep("a rollout is under way")
    if usage.emptied:
        if usage.refused or now - usage.emptied >= policy.shell:
            return Delete("the endpoint has been empty for too long", endpoint=True)
        return Keep("it is empty, and costs nothing")
    if usage.since is None:
        return Keep("it serves nothing")
    age = now - usage.since
    again = Delete("it was to be torn down, which was refused", endpoint=policy.whole_endpoint)
    if age < max(policy.minimum_age, policy.window):
        return again if usage.refused else Keep("it is too young to be judged")
    if usage.requests is None or usage.control is None:
        return Keep("its metrics can't be read")
    if usage.control == 0:
        return Keep("its metrics have no points at all, so that silence proves nothing")
    if usage.requests > 0:
        return Keep("it is in use", wanted=True)
    if usage.refused:
        return again
    if usage.noticed is None:
        return Notice(f"no request in {_span(policy.window)}")
    if now < usage.noticed + policy.grace:
        return Pending(usage.noticed + policy.grace)
    return Delete(f"no request since the notice of {usage.noticed:%Y-%m-%d %H:%M} UTC", endpoint=policy.whole_endpoint)


def _span(length: timedelta) -> str:
    hours = length / timedelta(hours=1)
    return f"{hours:.0f} h" if hours >= 1 else f"{length / timedelta(minutes=1):.0f} min"
