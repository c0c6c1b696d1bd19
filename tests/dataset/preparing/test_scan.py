"""A dataset prepared: what is written where, what is refused, and what the report says."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import Iterator
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from shared.dataset.judging.rules import RULES, Facts
from shared.dataset.preparing.scan import HELD_ROWS, Input, prepare
from shared.dataset.preparing.tally import Digest
from shared.dataset.reading.files import Limits, Records
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part
from tests.kit.dataset.conversations import exact
from tests.kit.dataset.fuzz import Bytes
from tests.kit.rows import messages, of, row, rows

type Rows = list[bytes] | bytes | Input

ANY = Policy(min_rows=1)
DROP = Policy(min_rows=1, on_bad_rows="drop", max_bad_percent=100)
HELD_OUT = {"validation": [row("held out") + b"\n"], "test": [row("held out too") + b"\n"]}


def run(train: Rows, **others: Any) -> tuple[Report, dict[Part, list[bytes]]]:
    """Prepares rows, or files; what is no part's name is an option of `prepare`."""
    given: dict[Part, Rows] = {"train": train}
    given |= {part: others.pop(part) for part in PARTS if part in others}
    files: dict[Part, Input] = {}
    for part, each in given.items():
        data = b"".join(each) if isinstance(each, list) else each
        files[part] = Bytes(f"{part}.jsonl", data) if isinstance(data, bytes) else data
    sinks = {part: BytesIO() for part in PARTS}
    report = prepare(files=files, sinks=sinks, **{"policy": ANY, **others})
    return report, {part: sink.getvalue().splitlines() for part, sink in sinks.items()}


def written(lines: list[bytes]) -> list[str | bytes]:
    return [exact(line.strip()) for line in lines]


def prompts(lines: list[bytes]) -> set[str]:
    return {json.loads(line)["messages"][0]["content"] for line in lines}


def bad(report: Report) -> list[tuple[str, int, str]]:
    return [(fault.part, fault.line, fault.rule) for fault in report.faults]


def warned(report: Report) -> list[tuple[str, int, str]]:
    return [(fault.part, fault.line, fault.rule) for fault in report.warned]


# What is written where


def test_files_that_are_given_are_taken_as_they_are() -> None:
    report, out = run(rows(3), validation=rows(2, 10), test=rows(1, 20))
    assert out == {"train": written(rows(3)), "validation": written(rows(2, 10)), "test": written(rows(1, 20))}
    assert report.splits == report.rows_of == {"train": 3, "validation": 2, "test": 1}
    assert report.files == {part: f"{part}.jsonl" for part in PARTS}
    assert report.cut == ()
    assert not report.rejected
    assert report.summary == "6 rows: 3 train, 2 validation, 1 test"


def test_what_is_missing_is_cut_from_train() -> None:
    report, out = run(rows(500))
    assert report.cut == ("validation", "test")
    assert report.splits == {part: len(lines) for part, lines in out.items()}
    assert report.rows_of == {"train": 500}
    assert sorted(line for lines in out.values() for line in lines) == sorted(map(bytes, written(rows(500))))  # type: ignore[arg-type]
    assert 25 < report.splits["test"] < 80
    assert 25 < report.splits["validation"] < 80
    assert not report.adjusted


def test_one_missing_file() -> None:
    report, out = run(rows(500), test=rows(4, 900))
    assert report.cut == ("validation",)
    assert out["test"] == written(rows(4, 900))
    assert 25 < report.splits["validation"] < 80


def test_rows_keep_their_order() -> None:
    _, out = run(rows(500))
    order = written(rows(500))
    for lines in out.values():
        assert [order.index(line) for line in lines] == sorted(order.index(line) for line in lines)


def test_percentages_of_the_policy() -> None:
    report, _ = run(rows(1000), policy=Policy(validation_percent=40, test_percent=1))
    assert 330 < report.splits["validation"] < 470
    assert 1 <= report.splits["test"] < 30


def test_another_seed_cuts_other_rows() -> None:
    splits = [run(rows(500), policy=Policy(seed=seed))[1]["test"] for seed in (0, 1, 1)]
    assert splits[0] != splits[1]
    assert splits[1] == splits[2]


@pytest.mark.parametrize("count", [3, 4, 5, 12])
def test_in_a_small_set_the_cuts_are_moved_until_no_part_is_empty(count: int) -> None:
    report, out = run(rows(count))
    assert all(out.values())
    assert not report.rejected
    crowded, _ = run(rows(count), policy=Policy(min_rows=1, validation_percent=50, test_percent=50))
    assert crowded.adjusted
    assert not crowded.rejected


def test_a_large_set_is_split_like_a_small_one() -> None:
    """It is not held back, and where each row goes is the same."""
    count = HELD_ROWS + 10
    _, large = run([row(str(number), "x") + b"\n" for number in range(count)])
    _, small = run([row(str(number), "x") + b"\n" for number in range(1000)])
    for part in PARTS:
        assert prompts(small[part]) <= prompts(large[part])
    assert sum(map(len, large.values())) == count


def test_without_sinks_the_same_is_reported() -> None:
    files: dict[Part, Input] = {"train": Bytes("train.jsonl", b"".join([*rows(50), b"{\n"]))}
    assert prepare(files=files, sinks=None) == prepare(files=files, sinks={part: BytesIO() for part in PARTS})


# Bad rows and the policy


def test_a_bad_row_rejects_a_dataset() -> None:
    report, _ = run([*rows(99), b"{\n"])
    assert report.rejected == report.summary
    assert report.rejected.startswith("1 of 100 rows is bad (1 not_json); first: train.jsonl, line 100: not JSON at ch")
    assert report.rejected.endswith(RULES["not_json"].cure)
    assert report.dropped == 0


def test_bad_rows_may_be_left_out() -> None:
    report, out = run([*rows(50), b"{\n", b"[]\n", *rows(48, 50)], policy=Policy(on_bad_rows="drop"))
    assert not report.rejected
    assert (report.rows, report.bad_rows, report.dropped) == (100, 2, 2)
    assert report.by_rule == {"not_json": 1, "not_object": 1}
    assert bad(report) == [("train", 51, "not_json"), ("train", 52, "not_object")]
    assert sum(map(len, out.values())) == 98
    assert report.summary.endswith("; 2 bad rows were left out")


@pytest.mark.parametrize(("most", "refused"), [(5.0, False), (4.9, True), (0, True), (100, False)])
def test_no_more_than_so_many_bad_rows_are_left_out(most: float, refused: bool) -> None:
    policy = Policy(on_bad_rows="drop", max_bad_percent=most)
    report, _ = run([*rows(95), *[b"{\n"] * 5], policy=policy)
    assert bool(report.rejected) == refused
    if refused:
        assert f"; 5 % is more than max_bad_percent ({most:g} %); first: train.jsonl, line 96" in report.rejected


def test_bad_rows_of_all_files_count_together() -> None:
    policy = Policy(on_bad_rows="drop", max_bad_percent=10, min_rows=1)
    report, _ = run(rows(26), validation=[*rows(1, 100), b"{\n"], test=[*rows(1, 200), b"[]\n"], policy=policy)
    assert not report.rejected
    assert report.bad_rows == 2
    assert bad(report) == [("validation", 2, "not_json"), ("test", 2, "not_object")]


def test_all_bad_rows_are_counted_and_the_first_told() -> None:
    broken = [b"{\n", b'{"messages": []}\n'] * 30
    report, _ = run([*rows(5), *broken], validation=rows(1, 50), test=[b"{\n", *rows(1, 60)], told=7)
    assert (report.rows, report.bad_rows) == (68, 61)
    assert report.by_rule == {"not_json": 31, "empty_messages": 30}
    assert bad(report) == [("train", line, "not_json" if line % 2 == 0 else "empty_messages") for line in range(6, 13)]
    assert "61 of 68 rows are bad (31 not_json, 30 empty_messages)" in report.rejected


def test_a_block_of_nothing_but_tiny_bad_rows() -> None:
    data = b"1\n" * 100_000 + row() + b"\n" + b'{"question": "q", "answer": "a"}\n' * 2000
    tracemalloc.start()
    report = prepare(files={"train": Bytes("train.jsonl", data)}, sinks=None, told=10)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.by_rule == {"not_object": 100_000, "mixed_formats": 2000}
    assert [fault.line for fault in report.faults] == [*range(1, 11), 100_002]
    assert report.bad_rows == 102_000
    assert most < 24 << 20


def test_nothing_need_be_told() -> None:
    report, _ = run([*rows(5), b"{\n", *rows(2)], told=0)
    assert report.rejected == "1 of 8 rows is bad (1 not_json)"
    assert report.faults == report.warned == ()
    assert report.warnings == {"duplicate_row": 2, "too_many_duplicates": 1}


def test_a_file_that_mixes_formats_is_refused_whatever_the_policy() -> None:
    other = b'{"prompt": "a", "completion": "b"}\n'
    report, _ = run([*rows(500), other, *rows(500, 500)], policy=DROP)
    assert report.rejected.startswith("1 of 1,001 rows is bad (1 mixed_formats); first: train.jsonl, line 501: the row")
    assert bad(report) == [("train", 501, "mixed_formats")]


def test_each_file_may_have_its_own_format() -> None:
    asked = [b'{"question": "%d?", "answer": "b"}\n' % number for number in range(3)]
    report, out = run(rows(5), test=asked)
    assert not report.rejected
    assert report.formats == {"train": "messages", "test": "question_answer"}
    assert out["test"] == [exact(each.strip()) for each in asked]


def test_what_breaks_the_file_off_rejects_it_whatever_the_policy() -> None:
    packed = gzip.compress(b"".join(rows(2000)))
    report, _ = run(Bytes("train.jsonl.gz", packed[: len(packed) // 2]), policy=DROP)
    assert report.by_rule == {"not_gzip": 1}
    assert report.rejected.startswith(f"train.jsonl.gz, line {report.rows + 1}: it ends in the middle")
    assert "cut off" in report.rejected
    assert 0 < report.rows < 2000
    assert report.bad_rows == 0


def test_tool_turns_go_by_the_base_model() -> None:
    said = of(*messages(), {"role": "tool", "content": "4"}, {"role": "assistant", "content": "Four."}) + b"\n"
    assert run([*rows(5), said])[0].by_rule == {"tool_turn": 1}
    assert not run([*rows(5), said], facts=Facts(tools=True))[0].rejected


@pytest.mark.parametrize("text", ["x" * 3000, "x" + "\n" * 1500])
def test_a_row_that_came_as_an_object_and_is_over_the_limit_as_it_is_written(text: str) -> None:
    class Hub:
        name = "owner/set/train"
        size = 1

        def records(self, limits: Limits) -> Iterator[Records]:
            yield Records(rows=[{"messages": messages(each)} for each in ("a", text, "b")], numbers=range(1, 4))

    report = prepare(files={"train": Hub()}, sinks=None, limits=Limits(row=2000))
    assert [(fault.rule, fault.place) for fault in report.faults] == [("row_too_large", "owner/set/train, row 2")]


def test_a_row_over_the_limit() -> None:
    report, _ = run([*rows(5), row("x" * 1000) + b"\n"], limits=Limits(row=500))
    assert bad(report) == [("train", 6, "row_too_large")]


# The set as a whole


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("data", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file(part: Part, data: bytes) -> None:
    report, _ = run(**{"train": rows(20), **HELD_OUT, part: data})  # type: ignore[arg-type]
    assert report.by_rule == {"empty_file": 1}
    assert report.rejected == f"{part}.jsonl: the file has no rows. {RULES['empty_file'].cure}"


def test_an_empty_array_and_an_empty_table() -> None:
    sink = BytesIO()
    pq.write_table(pa.table({"messages": pa.array([], pa.string())}), sink)
    for file in (Bytes("a.json", b"[]"), Bytes("a.parquet", sink.getvalue()), Bytes("a.csv", b"prompt,completion\n")):
        assert run(file)[0].by_rule == {"empty_file": 1}


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_held_out_file_without_a_good_row(part: str) -> None:
    report, _ = run(**{"train": rows(20), **HELD_OUT, part: [b"{\n", b"[]\n"]}, policy=DROP)
    assert report.by_rule == {"no_test_rows": 1, "not_json": 1, "not_object": 1}
    assert f"not one row of the {part} file is good" in report.rejected


def test_too_few_rows() -> None:
    report, _ = run(rows(9), policy=Policy())
    assert report.by_rule == {"too_few_rows": 1}
    assert report.rejected.startswith("train.jsonl: 9 good rows to train on; min_rows is 10. ")
    assert not run(rows(10), policy=Policy())[0].rejected
    assert not run(rows(9), policy=Policy(min_rows=9))[0].rejected


def test_too_few_rows_after_bad_ones_were_left_out() -> None:
    report, _ = run([*rows(9), b"{"], policy=Policy(on_bad_rows="drop", max_bad_percent=50))
    assert report.rejected.startswith("1 of 10 rows is bad (1 not_json); train.jsonl: 9 good rows to train on; ")


def test_rows_are_counted_before_the_split_and_without_bad_and_held_out_ones() -> None:
    policy = Policy(on_bad_rows="drop", max_bad_percent=100)
    assert not run([*rows(10), b"{\n"], policy=policy)[0].rejected
    assert run([*rows(9), b"{\n"], policy=policy)[0].by_rule == {"not_json": 1, "too_few_rows": 1}
    assert run(rows(9), policy=policy, test=rows(50, 100))[0].by_rule == {"too_few_rows": 1}


@pytest.mark.parametrize(("distinct", "others"), [(1, {}), (2, {}), (1, {"test": rows(1, 50)})])
@pytest.mark.parametrize("times", [8, HELD_ROWS // 2 + 1])
def test_too_few_prompts_to_split(distinct: int, others: dict[str, Any], times: int) -> None:
    report, _ = run(rows(distinct) * times, **others)
    assert report.by_rule["too_few_prompts"] == 1
    assert "the rows have too few different conversations to cut " in report.rejected


def test_the_set_is_judged_when_its_rows_are_in_order() -> None:
    assert run([*rows(1), b"{\n"], policy=Policy())[0].by_rule == {"not_json": 1}
    assert run([*rows(1), b"{\n"], policy=DROP)[0].by_rule == {"not_json": 1, "too_few_prompts": 1}


# Warnings: told, and written all the same


def test_copies_are_told_with_the_row_before() -> None:
    lines = [*rows(40), *rows(1, 3), *rows(1), *rows(1, 3)]
    report, out = run(lines, **HELD_OUT)
    assert not report.rejected
    assert len(out["train"]) == 43
    assert report.duplicates == 3
    assert report.warnings == {"duplicate_row": 3}
    assert warned(report) == [("train", line, "duplicate_row") for line in (41, 42, 43)]
    assert [fault.reason for fault in report.warned] == [
        "the same row as train.jsonl, line 4",
        "the same row as train.jsonl, line 1",
        "the same row as train.jsonl, line 4",
    ]


def test_a_copy_is_the_same_conversation_however_it_is_written() -> None:
    one = (
        b'{"id": 1, "messages": [{"content": "H\\u0069", "role": "user"}, {"role": "assistant", "content": "Hello"}]}\n'
    )
    report, _ = run([*rows(20), row() + b"\n", one, row(x=1) + b"\n", row("hi") + b"\n"], **HELD_OUT)
    assert [(fault.line, fault.reason[-2:]) for fault in report.warned if fault.rule == "duplicate_row"] == [
        (22, "21"),
        (23, "21"),
    ]


def test_lines_of_copies_count_blank_and_bad_ones() -> None:
    report, _ = run([b"\n", *rows(20), b"{\n", b"\n", *rows(1)], policy=DROP, **HELD_OUT)
    assert [(fault.line, fault.reason) for fault in report.warned] == [(24, "the same row as train.jsonl, line 2")]


def test_copies_in_different_files_are_no_copies_but_share_a_prompt() -> None:
    report, _ = run(rows(20), test=rows(1), validation=rows(1, 50))
    assert report.duplicates == 0
    assert warned(report) == [("train", 1, "prompt_in_both")]


@pytest.mark.parametrize(("copies", "many"), [(9, False), (10, False), (11, True)])
def test_too_many_copies(copies: int, many: bool) -> None:
    report, _ = run(rows(100 - copies) + rows(copies), **HELD_OUT)
    assert report.duplicates == copies
    assert ("too_many_duplicates" in report.warnings) == many
    assert not report.rejected
    if many:
        assert report.warned[-1].reason == "11 of 100 good rows are copies of others"


def test_the_first_copies_are_told_and_all_counted() -> None:
    report, _ = run(rows(20) * 3, told=25, **HELD_OUT)
    assert report.warnings["duplicate_row"] == 40
    assert [fault.line for fault in report.warned] == list(range(21, 46))
    both, _ = run(rows(20) * 3, told=25, test=rows(20), validation=HELD_OUT["validation"])
    assert len(both.warned) == 25
    assert both.warnings == {"prompt_in_both": 60, "duplicate_row": 40, "too_many_duplicates": 1}


def test_a_prompt_in_two_splits() -> None:
    report, out = run(
        [*rows(20), row("Asked in TEST?") + b"\n"],
        validation=[row("asked  in test?") + b"\n", row("b") + b"\n"],
        test=[row("c") + b"\n", row("asked in test?") + b"\n"],
    )
    assert not report.rejected
    assert report.splits == {"train": 21, "validation": 2, "test": 2}
    assert [(fault.part, fault.line, fault.reason) for fault in report.warned] == [
        ("train", 21, "its conversation is in the test data too"),
        ("train", 21, "its conversation is in the validation data too"),
        ("validation", 1, "its conversation is in the test data too"),
    ]
    assert report.warnings == {"prompt_in_both": 3}
    assert len(out["train"]) == 21


def test_rows_over_the_context_are_named() -> None:
    long = row("long", "x" * 4000) + b"\n"
    report, out = run([*rows(20), long, *rows(20, 20), long[:-1]], facts=Facts(context=900), **HELD_OUT)
    assert not report.rejected
    assert len(out["train"]) == 42
    assert report.warnings["over_context"] == 2
    over = [fault for fault in report.warned if fault.rule == "over_context"]
    assert [fault.line for fault in over] == [21, 42]
    assert [fault.offset for fault in over] == [len(b"".join(rows(20))), len(b"".join(rows(40))) + len(long)]
    assert over[0].reason == "about 1,020 tokens, and the base model's context holds 900"
    assert over[0].excerpt.startswith('{"messages":[{"role":"user","content":"long"}')
    assert "over_context" not in run([*rows(20), long], facts=Facts(context=1020), **HELD_OUT)[0].warnings
    longer = row("longer", "x" * 5000) + b"\n"
    just, _ = run([*rows(20), long, longer], facts=Facts(context=1020), **HELD_OUT)
    assert [fault.line for fault in just.warned if fault.rule == "over_context"] == [22]
    assert "over_context" not in run([*rows(20), long], **HELD_OUT)[0].warnings


def test_a_row_much_longer_than_the_others() -> None:
    long = row("long", "x" * 14_000) + b"\n"
    report, _ = run([*rows(30), long, *rows(30, 30)], **HELD_OUT)
    assert report.warnings == {"long_rows": 1}
    assert (report.warned[0].line, report.warned[0].offset) == (31, len(b"".join(rows(30))))
    assert report.warned[0].reason == "about 3,520 tokens, where half of the rows have less than 32"
    assert report.longest == 3520
    assert not run([*rows(30), row("long", "x" * 12_000) + b"\n"], **HELD_OUT)[0].warnings


def test_warnings_come_in_the_order_of_the_rows_whatever_the_chunks() -> None:
    long = "x" * 500
    data = b"".join(
        row(f"{number}", long if number % 3 == 0 else "x") + (b"\n\n" if number % 5 == 0 else b"\n")
        for number in range(60)
    )
    test = [row(str(number)) + b"\n" for number in range(0, 60, 2)]
    found = [
        run(Bytes("train.jsonl", data, pieces), test=test, facts=Facts(context=100))[0]
        for pieces in ((1 << 20,), (100,), (7, 1000))
    ]
    assert found[0] == found[1] == found[2]
    lines = [fault.line for fault in found[0].warned if fault.rule in ("over_context", "prompt_in_both")]
    assert lines == sorted(lines)
    assert len(lines) == 50


# Kinds of files


def kinds(lines: list[bytes]) -> list[Bytes]:
    """The same rows in all kinds of files."""
    data = b"".join(lines)
    values = [json.loads(line) for line in lines]
    columns: list[Any] = [value["messages"] for value in values]
    table = BytesIO()
    pq.write_table(pa.table({"messages": pa.array(columns)}), table, row_group_size=7)
    text = StringIO()
    text.write("messages\r\n")
    for column in columns:
        text.write('"' + json.dumps(column).replace('"', '""') + '"\r\n')
    return [
        Bytes("data.jsonl", data),
        Bytes("DATA.JSONL", b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")),
        Bytes("data.jsonl.gz", gzip.compress(data)),
        Bytes("data.json", json.dumps(values, indent=1).encode()),
        Bytes("data.parquet", table.getvalue()),
        Bytes("data.csv", text.getvalue().encode()),
    ]


def test_the_same_rows_in_another_kind_of_file_are_the_same_dataset() -> None:
    reports = [run(file)[0] for file in kinds(rows(40))]
    assert {report.rejected for report in reports} == {""}
    assert len({report.digest for report in reports}) == 1
    assert len({json.dumps([report.splits, report.turns, report.tokens]) for report in reports}) == 1
    assert {report.formats["train"] for report in reports} == {"messages"}


def test_copies_in_a_parquet_file_are_told_by_row_group_and_row() -> None:
    report, _ = run(kinds([*rows(20), *rows(1, 9)])[4], **HELD_OUT)
    (copy,) = report.warned
    assert (copy.line, copy.row_group, copy.row) == (21, 2, 7)
    assert copy.reason == "the same row as data.parquet, row group 1, row 3"


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5])
def test_progress_adds_up_to_the_size(at: int) -> None:
    file = kinds(rows(500))[at]
    read: list[int] = []
    run(file, progress=read.append)
    assert sum(read) == file.size


class Hub:
    """A Table: rows that come as objects."""

    name = "some/set"
    size = 1000

    def __init__(self, rows: list[dict[str, Any]], fails: bool = False) -> None:
        self._rows = rows
        self._fails = fails

    def records(self, limits: Limits) -> Iterator[Records]:
        assert limits.row > 0
        for at, each in enumerate(self._rows, 1):
            yield Records(rows=[each], numbers=[at])
        if self._fails:
            raise OSError("the hub is gone")


def test_rows_of_a_hub() -> None:
    report, out = run(Hub([{"messages": messages(str(number))} for number in range(20)]))
    assert not report.rejected
    assert report.rows == sum(map(len, out.values())) == 20
    assert report.files == {"train": "some/set"}


def test_what_reading_raises_comes_through() -> None:
    with pytest.raises(OSError, match="the hub is gone"):
        run(Hub([{"messages": messages(str(number))} for number in range(20)], fails=True))


# The digest


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.data())
def test_the_digest_of_pieces_is_that_of_the_whole(hashes: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(hashes)))
    again = data.draw(st.integers(cut, len(hashes)))
    array = np.array(hashes, np.uint64)
    first, second, third = (Digest.of(each) for each in (array[:cut], array[cut:again], array[again:]))
    assert first.joined(second).joined(third) == first.joined(second.joined(third)) == Digest.of(array)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_another_order_is_another_digest(hashes: list[int], order: random.Random) -> None:
    shuffled = order.sample(hashes, len(hashes))
    same = Digest.of(np.array(hashes, np.uint64)) == Digest.of(np.array(shuffled, np.uint64))
    assert same == (hashes == shuffled)


def test_the_digest_tells_what_was_prepared() -> None:
    digest = run(rows(50))[0].digest
    assert digest == run([line.replace(b'"role"', b' "role"') for line in rows(50)])[0].digest
    assert digest == run([*rows(25), b"{\n", *rows(25, 25)], policy=DROP)[0].digest
    for other in (rows(51), rows(49), rows(50)[::-1], [*rows(49), row("other") + b"\n"], rows(50) + rows(1)):
        assert digest != run(other)[0].digest
    assert digest != run(rows(50), policy=Policy(seed=1))[0].digest  # the same rows in other parts
    parts = run(rows(5), test=rows(1, 50), validation=rows(1, 60))[0].digest
    assert parts != run(rows(5), test=rows(1, 60), validation=rows(1, 50))[0].digest


# What else is told


def test_turns_and_tokens() -> None:
    long = of(*messages("a", "x" * 400), *messages("b", "c")) + b"\n"
    report, _ = run([*rows(10), long], **HELD_OUT)
    assert report.turns == {2: 12, 4: 1}
    assert sum(report.tokens.values()) == 13
    size = len(bytes(exact(long.strip())))  # type: ignore[arg-type]
    assert report.longest == size // 4
    assert max(report.tokens) > report.longest >= max(report.tokens) // 2


def test_first_rows_are_those_of_the_training_and_shortened() -> None:
    report, out = run([row("ä" * 5000) + b"\n", *rows(40)], **HELD_OUT)
    assert report.first_rows[1:] == tuple(line.decode() for line in out["train"][1:3])
    assert report.first_rows[0] == out["train"][0].decode()[:500]
    cut, out = run(Bytes("train.jsonl", b"".join(rows(40)), (100,)))
    assert list(cut.first_rows) == [line.decode() for line in out["train"][:3]]


def test_the_report_is_json() -> None:
    report, _ = run([*rows(2), b"[]\n"])
    assert Report.of(json.loads(json.dumps(report.as_dict()))) == report


def test_memory_does_not_grow_with_the_file() -> None:
    class Nowhere:
        def write(self, data: bytes, /) -> None:
            pass

    class Endless(Bytes):
        def chunks(self) -> Iterator[bytes]:
            for number in range(self.size):
                yield b"".join(row(f"{number} {each}", "x" * 4000) + b"\n" for each in range(64))

    def peak(count: int) -> int:
        tracemalloc.start()
        held_out = Bytes("b.jsonl", rows(1)[0])
        files: dict[Part, Input] = {
            "train": Endless("a.jsonl", bytes(count)),
            "validation": held_out,
            "test": held_out,
        }
        report = prepare(files=files, sinks=dict.fromkeys(PARTS, Nowhere()))
        assert report.rows == 64 * count + 2
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(80) < peak(20) + 400_000  # 16 bytes for each of 3,840 rows, and the measurement's own
