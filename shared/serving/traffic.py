"""Who has which share of an endpoint's traffic, and what becomes of that when somebody's share moves.

A share that a person gave to somebody else never shrinks: only the shares of those who are named move. Percentages are
whole and total 100 or 0, as Azure wants them. Called by `Endpoints.move_traffic`, which every change of the app's goes
through, and by the looks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

WHOLE = 100
"""Percent of an endpoint's traffic."""


def moved(traffic: Mapping[str, int], sources: Collection[str], to: str = "") -> dict[str, int]:
    """The traffic once `to` has what `sources` have, besides its own; all of it where nobody has any.

    Without `to` those who stay take it over, each in proportion to what it has; nobody has any where nobody stays.
    """
    stay = {name: percent for name, percent in traffic.items() if percent and name not in sources and name != to}
    if not to:
        return _grown(stay)
    share = WHOLE - sum(stay.values())
    return stay | ({to: share} if share > 0 else {})


def others(traffic: Mapping[str, int], *expected: str) -> dict[str, int]:
    """Who else has traffic than those who are expected to: a person gave it to them."""
    return {name: percent for name, percent in traffic.items() if percent and name not in expected}


def told(shares: Mapping[str, int]) -> str:
    """Shares in words: `30 % to blue, 5 % to green`."""
    return ", ".join(f"{percent} % to {name}" for name, percent in sorted(shares.items()))


def _grown(shares: Mapping[str, int]) -> dict[str, int]:
    """The same shares in proportion, made to total 100. Nobody's gets smaller."""
    total = sum(shares.values())
    if not total:
        return {}
    whole = {name: percent * WHOLE // total for name, percent in shares.items()}
    by_rest = sorted(shares, key=lambda name: (-(shares[name] * WHOLE % total), name))
    for name in by_rest[: WHOLE - sum(whole.values())]:
        whole[name] += 1
    return whole
