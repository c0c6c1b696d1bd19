"""When is an endpoint idle: pure rules.

Two phases, as people expect it of a tool that deletes: first a notice, then, after the grace time and if still nobody
called, the deletion. Silence counts only where a positive control shows that the metrics would have told otherwise,
and METRICS_LAG is waited out after the grace, since a request of the last minutes may not show yet.
`line/cleanup.py` gathers what is seen and carries out the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.lifecycle.moment import minute


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of the cleanup. `lag`: how late metrics may come; `trickle`: requests an hour that are no use."""

    window: timedelta
    grace: timedelta
    minimum_age: timedelta
    shell: timedelta
    whole_endpoint: bool
    lag: timedelta = timedelta(0)
    trickle: float = 0.0
    reports: bool = False
    """Nothing goes; people hear what would."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What is known of a line's endpoint. `line`: its id, for the commands that are told.

    `requests`, `busiest` (the most of them in an hour), `last` (when one was seen last) and `control` are of `window`
    up to now, or of the time since the notice where that is longer; None: unreadable, of `last`: there was none.
    `kept`: who or what keeps it whatever its use, and what ends that; "" if nothing does. `hours`: the end of the
    office hours that it is in, None outside of them. `noticed`: since when people know that it is idle.
    """

    line: str = ""
    since: datetime | None
    emptied: datetime | None = None
    noticed: datetime | None = None
    kept: str = ""
    hours: datetime | None = None
    rolling_out: bool = False
    requests: float | None = None
    busiest: float = 0.0
    last: datetime | None = None
    control: int | None = None
    refused: bool = False
    """It was to be torn down, and Azure refused: that stands."""


@dataclass(frozen=True)
class Keep:
    """It stays, and a notice is taken back. `wanted`: somebody uses it or wants it, which is more than a doubt.

    `until`: when that is judged anew, where a time is known.
    """

    why: str
    until: datetime | None = None
    wanted: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Notice:
    """Idle: say so now, delete at `until`."""

    why: str
    until: datetime


@dataclass(frozen=True)
class Pending:
    """A notice is running, up to `until`."""

    why: str
    until: datetime


@dataclass(frozen=True)
class Delete:
    """Its notice has run out: the deployments go, and the endpoint with them when `endpoint` says so."""

    why: str
    endpoint: bool


type Verdict = Keep | Notice | Pending | Delete


def verdict(usage: Usage, policy: Policy, now: datetime) -> Verdict:
    """What the cleanup owes this endpoint at `now`. Anything in doubt is kept: deleting is never a guess.

    Each says what would change it, and when, as far as a time is known.
    """
    if usage.kept:
        return Keep(usage.kept, wanted=True)
    if usage.rolling_out:
        return Keep("a rollout is under way: it is judged once that has ended")
    if usage.emptied:
        return _of_empty(usage, policy, now)
    if usage.since is None:
        return Keep(f"it serves nothing: an upload or droptune revive {usage.line} changes that")
    again = "it was to be torn down, which was refused: it goes as soon as Azure lets it, unless somebody calls it"
    old = usage.since + max(policy.minimum_age, policy.window)
    if now < old:
        if usage.refused:
            return _gone(usage, policy, again)
        return Keep(f"it serves since {minute(usage.since)}, and is judged from {minute(old)} on", old)
    if usage.requests is None or usage.control is None:
        return Keep("its metrics can't be read: it is judged at the next look at which they can")
    if usage.control == 0:
        told = f"its deployment has no metrics at all in half of the last {_span(policy.window)}"
        return Keep(f"{told}, so that silence proves nothing: it is judged once they come again")
    if usage.busiest > policy.trickle or (usage.requests > 0 and not policy.trickle):
        return _used(usage, policy, now)
    if usage.refused:
        return _gone(usage, policy, again)
    going = (usage.noticed or now) + policy.grace + policy.lag
    goes = "CLEANUP_MODE=report tears nothing down; with delete it would go" if policy.reports else "it goes"
    silent = f"{_silence(usage, policy)}: {goes} at {minute(going)} unless somebody calls it; {_keeps(usage)}"
    if usage.noticed is None:
        return Notice(silent, going)
    if now < going:
        return Pending(silent, going)
    return _gone(usage, policy, f"no request since the notice of {minute(usage.noticed)}")


def _of_empty(usage: Usage, policy: Policy, now: datetime) -> Verdict:
    assert usage.emptied is not None, "asked for one that is empty"  # noqa: S101 - for the type checker
    until = usage.emptied + policy.shell
    if usage.refused or now >= until:
        return Delete("the endpoint has been empty for too long", endpoint=True)
    brings = f"droptune revive {usage.line} brings it back"
    return Keep(f"it is empty, and costs nothing; its address goes at {minute(until)}, and {brings} before", until)


def _used(usage: Usage, policy: Policy, now: datetime) -> Keep:
    most = max(usage.requests or 0, usage.busiest)
    many = f"{most:,.0f} request{'s' if most >= 1.5 else ''}" if most >= 1 else "a request"  # they are averages
    told = f"it is in use: {many} in {_span(policy.window)}"
    if usage.last is not None:
        told += f", the last at {minute(usage.last)}"
    idle = (usage.last or now) + policy.window
    return Keep(f"{told}; without more it is idle from {minute(idle)} on", idle, wanted=True)


def _gone(usage: Usage, policy: Policy, why: str) -> Verdict:
    """What is due goes, but not in office hours."""
    if usage.hours is None:
        return Delete(why, endpoint=policy.whole_endpoint)
    return Pending(f"{why}; it goes after office hours, at {minute(usage.hours)}; {_keeps(usage)}", usage.hours)


def _silence(usage: Usage, policy: Policy) -> str:
    if usage.requests:
        return f"at most {usage.busiest:.3g} requests an hour in {_span(policy.window)}, which count as none"
    return f"no request in {_span(policy.window)}"


def _keeps(usage: Usage) -> str:
    return f"droptune keep {usage.line} keeps it"


def _span(length: timedelta) -> str:
    """A length of time in words, to the hour or, below one, to the minute."""
    hours = length / timedelta(hours=1)
    return f"{hours:.0f} h" if hours >= 1 else f"{length / timedelta(minutes=1):.0f} min"
