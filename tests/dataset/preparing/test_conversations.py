"""The split by conversations: sizes, what is on two sides, what begins another; in any order, and when data grow."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.dataset.preparing import rows as holding
from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.preparing.scan import Input, prepare
from shared.dataset.reading.files import LocalFile
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part, position
from tests.kit.dataset.fuzz import Bytes
from tests.kit.rows import of

type Texts = tuple[str, ...]
"""Questions and answers by turns."""

LONG = bool(os.environ.get("DROPTUNE_LONG"))
EXAMPLES = settings(
    max_examples=500 if LONG else 10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
OPENINGS = ("Hi", "Hello there", "Which class?", "A test", "Help")


def line(texts: Texts) -> bytes:
    return of(*({"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts))) + b"\n"


def prompts(written: bytes) -> Texts:
    """What the documentation calls a conversation; the texts here need no more than this to be normal."""
    messages = json.loads(written)["messages"]
    return tuple("".join(each["content"].lower().split()) for each in messages if each["role"] != "assistant")


def prepared(
    chats: Sequence[Texts], seed: int = 0, others: dict[Part, Sequence[Texts]] | None = None
) -> tuple[Report, dict[Part, list[bytes]]]:
    """The report, and the lines of each part."""
    sinks = {part: BytesIO() for part in PARTS}
    given: dict[Part, Sequence[Texts]] = {"train": chats, **(others or {})}
    files: dict[Part, Input] = {part: Bytes(f"{part}.jsonl", b"".join(map(line, each))) for part, each in given.items()}
    report = prepare(files=files, sinks=sinks, policy=Policy(min_rows=1, seed=seed))
    return report, {part: sink.getvalue().splitlines() for part, sink in sinks.items()}


@st.composite
def mixes(draw: st.DrawFn) -> list[Texts]:
    """Chats of which some share an opening, and some are the same, or the beginning of another one."""
    count = draw(st.integers(12, 200))
    share = draw(st.integers(1, 100))
    same = draw(st.sampled_from((0, 2, 8, 12, 20, 40, 100)))
    few = draw(st.booleans())  # what repeats is one conversation
    random = Random(draw(st.integers(0, 2**32)))
    chats: list[Texts] = []
    for at in range(count):
        opening = random.choice(OPENINGS[: random.randint(1, 5)])
        if random.random() * 100 < share:
            chats.append((opening, f"A{at}.", f"Order {at}?", f"B{at}."))
        else:
            chats.append((f"Question {at}", f"A{at}."))
        if random.random() * 100 < same:
            before = chats[0] if few else random.choice(chats[: 1 + len(chats) // 10])
            chats[-1] = (*before[:-1], f"C{at}")
        elif random.random() < 0.1:
            chats.append((*random.choice(chats), f"Go  ON {at % 3}", f"D{at}"))
    return chats


@EXAMPLES
@given(mixes(), st.integers(0, 2))
def test_what_repeats_crowds_no_part_and_nothing_is_on_two_sides_untold(chats: list[Texts], seed: int) -> None:
    report, out = prepared(chats, seed)
    if report.rejected:
        assert "too few different conversations" in report.rejected
        assert len({prompts(line(each)) for each in chats}) <= 2
        return
    total = sum(map(len, out.values()))
    assert total == len(chats)
    held: tuple[Part, ...] = ("validation", "test")
    for part in held:
        assert abs(100 * len(out[part]) / total - 10) <= 2 or "10 % are asked for: " in report.uneven[part]
    sides = {part: [prompts(each) for each in lines] for part, lines in out.items()}
    assert all(sides.values())
    assert not set(sides["train"]) & {each for part in held for each in sides[part]}
    assert not set(sides["validation"]) & set(sides["test"])
    beginnings = {each[:at] for each in sides["train"] for at in range(1, len(each))}
    leaked = sum(each in beginnings for part in held for each in sides[part])
    assert report.warnings.get("prefix_in_train", 0) == leaked
    assert sum(fault.rule == "prefix_in_train" for fault in report.warned) == leaked
    for fault in report.warned:
        if fault.rule in ("prefix_in_train", "repeated_prompts"):
            told = prompts(line(chats[fault.line - 1]))
            where = "train" if fault.rule == "repeated_prompts" else fault.reason.split()[3].rstrip(",")
            assert told in sides[where]  # type: ignore[index]


@EXAMPLES
@given(mixes(), st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(chats: list[Texts], random: Random) -> None:
    report, out = prepared(chats)
    shuffled = random.sample(chats, len(chats))
    again, other = prepared(shuffled)
    assert {part: sorted(lines) for part, lines in out.items()} == {
        part: sorted(lines) for part, lines in other.items()
    }
    assert (report.uneven, report.warnings) == (again.uneven, again.warnings)


@EXAMPLES
@given(mixes(), mixes())
def test_growth_moves_no_row_that_is_not_told(chats: list[Texts], more: list[Texts]) -> None:
    more = [(f"{first}, please", *others) for first, *others in more]
    grown = [*chats, *more]
    one, before = prepared(chats)
    two, after = prepared(grown)
    if one.rejected or two.rejected or one.adjusted or two.adjusted:
        return  # a cut that was moved is told
    told = {
        prompts(line(grown[fault.line - 1]))
        for report in (one, two)
        for fault in report.warned
        if fault.rule == "repeated_prompts"
    }
    for part in PARTS:
        moved = {prompts(each) for each in before[part]} - {prompts(each) for each in after[part]}
        assert moved <= told


# A share of the rows is one conversation


def crowded(share: int, count: int = 200, *, part: Part = "test") -> list[Texts]:
    """So many percent of the rows have the same prompts, with which they would go to that part."""
    low, high = {"validation": (0, 10), "test": (10, 20), "train": (20, 100)}[part]
    texts = (f"The same {at}" for at in range(1000))
    text = next(each for each in texts if low <= position(each) * 100 >> 64 < high)
    repeated = [(text, f"A{at}") for at in range(share * count // 100)]
    return Random(1).sample([*repeated, *((f"Q{at}", "A") for at in range(count - len(repeated)))], count)


@pytest.mark.parametrize(
    ("share", "held"), [(10, 10_000), (11, 10_000), (60, 10_000), (97, 10_000), (10, 20), (11, 20), (60, 20)]
)
def test_what_repeats_more_often_than_its_part_may_is_trained_on(
    share: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the rows are held back, or are streamed and read once more."""
    monkeypatch.setattr(holding, "HELD_ROWS", held)
    chats = crowded(share)
    report, out = prepared(chats)
    assert not report.rejected
    (text,) = {prompts(line(each)) for each in chats if each[0].startswith("The same")}
    sides = [part for part in PARTS if any(prompts(each) == text for each in out[part])]
    assert sum(map(len, out.values())) == 200
    told = [fault for fault in report.warned if fault.rule == "repeated_prompts"]
    if share == 10:
        assert (sides, told) == (["test"], [])
        return
    assert sides == ["train"]
    (fault,) = told
    assert fault.line == 1 + next(at for at, each in enumerate(chats) if prompts(line(each)) == text)
    rows = share * 2
    assert fault.reason == (
        f"{rows} of 200 rows have its prompts, where test may hold 20 of a conversation: all of them are trained on"
    )
    order = [line(each).strip() for each in chats]
    written = [json.dumps(json.loads(each)).encode() for each in out["train"]]
    assert [order.index(each) for each in written] == sorted(order.index(each) for each in written)
    if share == 60:
        assert report.uneven["test"] == "10 % are asked for: 120 rows repeat a few conversations, and are trained on"


def test_what_no_longer_repeats_too_often_goes_to_its_part_and_was_told() -> None:
    chats = crowded(12)
    one, before = prepared(chats)
    two, after = prepared([*chats, *((f"More {at}", "A") for at in range(200))])
    assert (one.warnings, two.warnings) == ({"repeated_prompts": 1}, {})
    (moved,) = {prompts(each) for each in before["train"]} - {prompts(each) for each in after["train"]}
    assert moved in {prompts(each) for each in after["test"]}
    assert moved == prompts(line(chats[one.warned[0].line - 1]))
    for part in PARTS:
        assert {prompts(each) for each in before[part]} - {prompts(each) for each in after[part]} <= {moved}


def test_of_a_part_that_is_nothing_but_repeats_the_rarest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_ROWS", 20)
    chats = [(f"Q{at % 9}", f"A{at}") for at in range(180)]
    report, out = prepared(chats)
    counts = {part: len({prompts(each) for each in out[part]}) for part in PARTS}
    assert report.rejected or all(counts.values())


# Files that are given


def test_a_row_of_a_given_file_that_begins_one_that_is_trained_on_is_told() -> None:
    chats = [("Hi", "Hello", f"Order {at}?", "Yes.", "Thank you", "Bye") for at in range(12)]
    others: dict[Part, Sequence[Texts]] = {
        "test": [("Other", "A"), ("hi ", "Good day"), ("HI", "x", "Order 3?", "No."), ("Hi", "x", "Order 3", "No.")],
        "validation": [("Hi", "Hello", "Order 5?", "Yes.", "Thank you", "Bye"), ("Hi", "Hello", "Order 12?", "A")],
    }
    report, _ = prepared(chats, others=others)
    assert not report.rejected
    assert report.warnings == {"prefix_in_train": 2, "prompt_in_both": 1}
    assert [(fault.part, fault.line, fault.rule, fault.reason) for fault in report.warned] == [
        ("train", 6, "prompt_in_both", "its conversation is in the validation data too"),
        ("test", 2, "prefix_in_train", "it is the beginning of train.jsonl, line 1, which is trained on"),
        ("test", 3, "prefix_in_train", "it is the beginning of train.jsonl, line 4, which is trained on"),
    ]


@pytest.mark.parametrize("share", [pytest.param(0, marks=pytest.mark.thorough), 40])
def test_several_processes_tell_the_same(share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_ROWS", 20)
    monkeypatch.setattr("shared.dataset.preparing.parallel.HELD_ROWS", 20)
    chats = crowded(share, 400) + [("Q7", "A", f"And {at % 70}?", "B") for at in range(100)]
    chats += [("Q7", "A", f"And {at}?", "B", "More", "C") for at in range(60)]
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(map(line, chats)))
    found: list[Any] = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        report = prepare_files(
            files={"train": LocalFile(path)}, out=out, policy=Policy(), processes=processes, piece=4096, told=5
        )
        found.append((report, {each.name: each.read_bytes() for each in out.iterdir()}))
    assert found[0] == found[1]
    report, _ = prepared(chats)
    assert not report.rejected
    assert report.digest == found[0][0].digest
    assert report.warnings["prefix_in_train"] == found[0][0].warnings["prefix_in_train"] > 0
    assert ("repeated_prompts" in report.warnings) == bool(share)
