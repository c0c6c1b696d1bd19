"""A dataset prepared: what is written where, and what the report says."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset import prepare as module
from shared.dataset.prepare import PARTS, prepare
from shared.dataset.report import Report
from shared.dataset.split import place
from tests.dataset.conversations import good_rows, row


def run(train: Iterable[bytes], **others: Any) -> tuple[Report, dict[str, list[bytes]]]:
    sinks = {part: BytesIO() for part in PARTS}
    report = prepare(train=train, sinks=sinks, **others)
    return report, {part: sink.getvalue().splitlines() for part, sink in sinks.items()}


def rows(count: int, start: int = 0) -> list[bytes]:
    return [row(f"prompt {number}", f"answer {number}") + b"\n" for number in range(start, start + count)]


def prompts(lines: list[bytes]) -> set[str]:
    return {json.loads(line)["messages"][0]["content"] for line in lines}


def test_files_that_are_given_are_taken_as_they_are() -> None:
    report, out = run(rows(3), validation=rows(2, 10), test=rows(1, 20))
    assert report.splits == {"train": 3, "validation": 2, "test": 1}
    assert report.cut == ()
    assert report.bad_rows == 0
    assert prompts(out["validation"]) == {"prompt 10", "prompt 11"}
    assert prompts(out["test"]) == {"prompt 20"}
    assert report.summary == "6 rows: 3 train, 2 validation, 1 test"


def test_what_is_missing_is_cut_from_train() -> None:
    report, out = run(rows(500))
    assert report.cut == ("test", "validation")
    assert report.splits == {part: len(lines) for part, lines in out.items()}
    assert sum(report.splits.values()) == report.rows == 500
    assert 25 < report.splits["test"] < 80
    assert 25 < report.splits["validation"] < 80


def test_one_missing_file() -> None:
    report, out = run(rows(500), test=rows(4, 900))
    assert report.cut == ("validation",)
    assert report.splits["test"] == 4
    assert 25 < report.splits["validation"] < 80
    assert out["test"] == [line.strip().replace(b": ", b":").replace(b", ", b",") for line in rows(4, 900)]


def test_bad_rows_are_counted_and_the_first_told() -> None:
    bad = [b"{\n", b'{"messages": []}\n'] * 30
    report, _ = run([*rows(5), *bad], validation=rows(1), test=[b""], faults_told=7)
    assert report.rows == 66
    assert report.bad_rows == 61
    assert report.by_rule == {"not_json": 30, "empty_messages": 30, "empty_file": 1}
    assert len(report.faults) == 7
    assert (report.faults[0].part, report.faults[0].rule) == ("test", "empty_file")
    assert (report.faults[1].part, report.faults[1].line) == ("train", 6)
    assert "61 of 66 rows are bad (30 not_json" in report.summary


def test_the_report_is_json() -> None:
    report, _ = run([*rows(2), b"[]\n"])
    told = json.loads(json.dumps(report.as_dict()))
    assert told["faults"][0]["line"] == 3
    assert told["by_rule"] == {"not_object": 1}
    assert told["cures"]["not_object"].startswith("Write each row as an object")
    assert json.loads(told["first_rows"][0])["messages"][0]["content"].startswith("prompt")


def test_first_rows_are_shortened() -> None:
    report, _ = run([row("ä" * 5000)], validation=rows(1), test=rows(1))
    assert len(report.first_rows[0]) == 500


@pytest.mark.parametrize("distinct", [0, 1, 2])
def test_too_few_prompts_to_split_is_told(distinct: int) -> None:
    report, _ = run([line for line in rows(distinct) for _ in range(4)])
    assert report.bad_rows == 1
    assert list(report.by_rule) == (["too_few_prompts"] if distinct else ["empty_file"])


def test_bad_rows_are_told_before_a_bad_split() -> None:
    report, _ = run([*rows(1), b"{\n"])
    assert list(report.by_rule) == ["not_json"]


def test_a_large_set_of_few_prompts_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_ROWS", 5)
    report, _ = run(rows(1) * 20)
    assert report.by_rule == {"too_few_prompts": 1}


@given(st.lists(good_rows, min_size=1, max_size=30), st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_split_property(lines: list[bytes], order: random.Random, held: int) -> None:
    """No prompt on two sides; the same split in every order; no empty part if there are three prompts and few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_ROWS", held)
        report, out = run([line + b"\n" for line in lines])
        shuffled = order.sample(lines, len(lines))
        _, again = run([line + b"\n" for line in shuffled])
    assert {part: sorted(found) for part, found in out.items()} == {
        part: sorted(found) for part, found in again.items()
    }
    sides = {part: {place(prompt) for prompt in prompts(found)} for part, found in out.items()}
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["validation"]
    assert not sides["validation"] & sides["test"]
    distinct = len(set.union(*sides.values()))
    if len(lines) <= held:
        assert (report.bad_rows == 0) == (distinct >= 3)
    if not report.bad_rows:
        assert all(out.values())


def test_the_digest_is_of_the_content() -> None:
    first, _ = run(rows(50))
    spaced, _ = run([line.replace(b'"role"', b' "role"') for line in rows(50)])
    other, _ = run(rows(51))
    assert first.digest == spaced.digest != other.digest


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 1024 * 1024)

    class Nowhere:
        def write(self, data: bytes, /) -> None:
            pass

    def chunks(count: int) -> Iterator[bytes]:
        for number in range(count):
            yield b"".join(row(f"prompt {number} {each}", "x" * 4000) + b"\n" for each in range(16))

    def peak(count: int) -> int:
        tracemalloc.start()
        report = prepare(train=chunks(count), sinks=dict.fromkeys(PARTS, Nowhere()))
        assert report.rows == 16 * count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(400) < peak(40) + 500_000
