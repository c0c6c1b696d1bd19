"""The split: stable, whatever the order, no prompt on two sides, and no part empty where that can be."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.split import LINE, Cut, Part, fitted, fixed, position

BOTH: tuple[Part, ...] = ("validation", "test")
parts: st.SearchStrategy[tuple[Part, ...]] = st.sampled_from([BOTH, BOTH[:1], BOTH[1:]])
positions = st.sets(st.integers(0, LINE - 1), max_size=40)
prompts = st.text(st.characters() | st.sampled_from(" \n\u00a0ßſKﬁé\u0301İ각\u1100\u1161"), max_size=12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What  is\tDroptune?\n", "what is droptune?"),
        ("ﬁne", "FINE"),
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301"),
        ("\u1112\u1161\u11ab", "한"),
        ("x²", "X2"),
        ("a\u00a0b\u3000c", "abc"),
        ("\x1cA", "a"),
        ("Ⅷ", "viii"),
        ("℡", "tel"),
    ],
)
def test_a_position_is_the_prompts_own(one: str, other: str) -> None:
    assert position(one) == position(other)
    assert position(one, seed=3) == position(other, seed=3)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("a", "á"), ("a.", "a"), ("", "a"), ("日本", "本日"), ("ı", "i")]
)
def test_other_prompts_have_other_positions(one: str, other: str) -> None:
    assert position(one) != position(other)


def normal(prompt: str) -> str:
    return "".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", prompt).casefold()).split())


@given(prompts, st.integers(0, 3))
def test_the_short_way_is_the_long_one(prompt: str, seed: int) -> None:
    assert position(prompt, seed) == xxhash.xxh3_64_intdigest(normal(prompt).encode("utf-8", "surrogatepass"), seed)


@given(prompts, prompts)
def test_prompts_share_a_position_only_if_they_are_the_same_when_normal(one: str, other: str) -> None:
    assert (position(one) == position(other)) == (normal(one) == normal(other))


def test_half_a_surrogate_pair_has_a_position_too() -> None:
    assert position("\ud800") != position("\ud801")


def test_percentages() -> None:
    counts = Counter(fixed(BOTH, (20, 5)).part(position(f"prompt {number}")) for number in range(20_000))
    assert 3_700 < counts["validation"] < 4_300
    assert 850 < counts["test"] < 1_150


def test_another_seed_is_another_split() -> None:
    cut = fixed(BOTH, (10, 10))
    tests = [{number for number in range(2000) if cut.part(position(str(number), seed)) == "test"} for seed in (0, 1)]
    assert len(tests[0] & tests[1]) < 0.3 * len(tests[0])


def test_the_zones() -> None:
    cut = fixed(BOTH, (10, 20))
    one, other = LINE // 10, LINE * 30 // 100
    assert [cut.part(at) for at in (0, one - 1, one, other - 1, other, LINE - 1)] == [
        *["validation"] * 2,
        *["test"] * 2,
        *["train"] * 2,
    ]
    assert Cut(parts=(), ends=()).part(0) == "train"


def test_the_largest_zones_there_can_be_leave_none_for_training() -> None:
    assert fixed(BOTH, (50, 50)).part(LINE - 1) == "test"
    assert fixed(("test",), (50,)).part(LINE // 2) == "train"


@given(parts, positions)
def test_no_zone_is_empty_if_there_are_positions_enough(missing: tuple[Part, ...], there: set[int]) -> None:
    cut = fitted(fixed(missing, (10,) * len(missing)), dict.fromkeys(there, 1))
    if len(there) <= len(missing):
        assert cut is None
        return
    assert cut
    assert {cut.part(each) for each in there} == {"train", *missing}


@given(parts, positions)
def test_the_cuts_are_moved_only_if_they_must(missing: tuple[Part, ...], there: set[int]) -> None:
    usual = fixed(missing, (10,) * len(missing))
    if {usual.part(each) for each in there} == {"train", *missing}:
        cut = fitted(usual, dict.fromkeys(there, 1))
        assert cut
        assert all(cut.part(each) == usual.part(each) for each in there)


@given(st.sets(st.integers(0, LINE - 1), min_size=3, max_size=40), st.integers(1, 50), st.integers(1, 50))
def test_zones_that_take_all_leave_a_prompt_for_training(there: set[int], one: int, other: int) -> None:
    cut = fitted(fixed(BOTH, (one, other)), dict.fromkeys(there, 1))
    assert cut
    assert {cut.part(each) for each in there} == {"train", *BOTH}
