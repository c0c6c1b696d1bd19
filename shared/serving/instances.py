"""How many instances of which size a deployment has: what the settings ask for, and what a person makes of it.

A person, or autoscale, who has changed what Droptune asked for is taken at their word: the next version gets that too.
Called by the looks of a rollout (shared/run/hands.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Instances:
    """So many machines of a size. `count` is 0, `size` "" where nobody knows."""

    count: int
    size: str

    def __str__(self) -> str:
        return f"{self.count} x {self.size}"


def kept(seen: Instances, asked: Instances, wanted: Instances) -> Instances | None:
    """What the next version gets instead of what is `wanted` by the settings; None where they say it.

    `seen`: what the deployment that serves has now; `asked`: what the settings wanted when it was made. What differs of
    the two somebody has changed, count and size each for itself.
    """
    by_hand = Instances(
        count=seen.count if seen.count not in (0, asked.count) else wanted.count,
        size=seen.size if seen.size.lower() not in ("", asked.size.lower()) else wanted.size,
    )
    same = by_hand.count == wanted.count and by_hand.size.lower() == wanted.size.lower()
    return None if same else by_hand
