"""Whose share of the traffic moves: those of the named alone, and nobody else's ever shrinks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.serving.traffic import WHOLE, moved, others, told

NAMES = ("a", "b", "c", "d", "e")


@st.composite
def splits(draw: st.DrawFn) -> dict[str, int]:
    """Traffic as Azure takes it: nobody has any, or it totals 100."""
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), max_size=len(NAMES) - 1)))
    shares = [high - low for low, high in zip([0, *cuts], [*cuts, WHOLE], strict=True)]
    return dict(zip(NAMES, shares, strict=False)) if draw(st.integers(0, 9)) else {}


@given(splits(), st.sets(st.sampled_from(NAMES)), st.sampled_from(("", *NAMES, "new")))
def test_nobody_else_loses_anything(traffic: dict[str, int], sources: set[str], to: str) -> None:
    after = moved(traffic, sources, to)
    assert sum(after.values()) in (0, WHOLE)
    assert all(after.values()), "no zeros"
    for name in NAMES:
        if name not in sources and name != to:
            assert after.get(name, 0) >= traffic.get(name, 0)
            assert bool(after.get(name)) is bool(traffic.get(name)), "nobody gets any who had none"
    assert not [name for name in sources if name != to and after.get(name)]
    assert moved(after, sources, to) == after, "done twice is done once"
    if to:
        stay = {name: percent for name, percent in traffic.items() if percent and name not in (*sources, to)}
        assert {name: percent for name, percent in after.items() if name != to} == stay
        assert sum(after.values()) == WHOLE


def test_examples() -> None:
    assert moved({}, ["old"], "new") == {"new": 100}
    assert moved({"old": 100}, ["old"], "new") == {"new": 100}
    assert moved({"old": 70, "theirs": 30}, ["old"], "new") == {"new": 70, "theirs": 30}
    assert moved({"theirs": 100}, ["old"], "new") == {"theirs": 100}
    assert moved({"old": 70, "x": 20, "y": 10}, ["old"]) == {"x": 67, "y": 33}
    assert moved({"old": 100}, ["old"]) == {}
    assert others({"old": 70, "theirs": 30, "none": 0}, "old") == {"theirs": 30}
    assert told({"b": 30, "a": 5}) == "5 % to a, 30 % to b"
