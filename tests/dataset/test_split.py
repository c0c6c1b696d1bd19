"""The split: stable, whatever the order, no prompt on two sides, and no part empty where that can be."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.split import SHARE, Cut, Part, fitted, fixed, place

BOTH: tuple[Part, ...] = ("test", "validation")
parts = st.sampled_from([BOTH, BOTH[:1], BOTH[1:]])
places = st.sets(st.integers(0, 2**64 - 1), max_size=40)


def test_a_place_is_the_prompts_own() -> None:
    assert place("What  is\tDroptune?\n") == place("what is droptune?")
    assert place("ﬁne") == place("FINE")
    assert place("a") != place("b")


def test_a_tenth_each() -> None:
    cut = fixed(BOTH)
    counts = Counter(cut.part(place(f"prompt {number}")) for number in range(20_000))
    assert 1800 < counts["test"] < 2200
    assert 1800 < counts["validation"] < 2200


def test_the_zones() -> None:
    cut = fixed(BOTH)
    assert [cut.part(at) for at in (0, SHARE - 1, SHARE, 2 * SHARE - 1, 2 * SHARE, 2**64 - 1)] == [
        *["test"] * 2,
        *["validation"] * 2,
        *["train"] * 2,
    ]
    assert Cut(parts=(), ends=()).part(0) == "train"


@given(parts, places)
def test_no_zone_is_empty_if_there_are_places_enough(missing: tuple[Part, ...], there: set[int]) -> None:
    cut = fitted(missing, there)
    if len(there) <= len(missing):
        assert cut is None
        return
    assert cut
    assert {cut.part(each) for each in there} == {"train", *missing}


@given(parts, places)
def test_the_cuts_are_moved_only_if_they_must(missing: tuple[Part, ...], there: set[int]) -> None:
    usual = fixed(missing)
    if {usual.part(each) for each in there} == {"train", *missing}:
        cut = fitted(missing, there)
        assert cut
        assert all(cut.part(each) == usual.part(each) for each in there)
