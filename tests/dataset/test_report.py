"""The report: said in a sentence, stored as JSON, read again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.dataset.judging.rules import RULES, Fault
from shared.dataset.report import Report

BAD = Fault(file="a.jsonl", part="train", rule="not_json", reason="cut off", line=3, offset=99, excerpt='{"mess')
WARNED = Fault(file="a.parquet", part="test", rule="duplicate_row", reason="the same", line=9, row_group=1, row=2)
REPORT = Report(
    rejected="",
    rows=1_234,
    bad_rows=2,
    by_rule={"not_json": 2},
    faults=(BAD, replace(BAD, line=5)),
    warnings={"duplicate_row": 1},
    warned=(WARNED,),
    dropped=2,
    rows_of={"train": 1_200, "test": 34},
    splits={"train": 1_098, "validation": 100, "test": 34},
    cut=("validation",),
    adjusted=False,
    files={"train": "a.jsonl", "test": "a.parquet"},
    formats={"train": "messages", "test": "alpaca"},
    turns={2: 1_000, 4: 232},
    tokens={64: 1_232},
    longest=63,
    duplicates=1,
    first_rows=('{"messages":[]}',),
    digest="00ff",
)


def test_a_sentence_for_the_history() -> None:
    assert REPORT.summary == "1,234 rows: 1,098 train, 100 validation, 34 test; 2 bad rows were left out"
    assert replace(REPORT, dropped=0).summary == "1,234 rows: 1,098 train, 100 validation, 34 test"
    one = replace(REPORT, rows=1, dropped=1, splits={"train": 1})
    assert one.summary == "1 row: 1 train; 1 bad row was left out"
    assert replace(REPORT, rejected="2 of 1,234 rows are bad").summary == "2 of 1,234 rows are bad"


def test_it_is_plain_json_and_can_be_read_back() -> None:
    told = json.loads(json.dumps(REPORT.as_dict()))
    assert Report.of(told) == REPORT


def test_it_says_what_to_do_about_what_it_found() -> None:
    told = REPORT.as_dict()
    assert told["cures"] == {rule: RULES[rule].cure for rule in ("not_json", "duplicate_row")}
    assert told["faults"][0] == {
        "file": "a.jsonl",
        "part": "train",
        "rule": "not_json",
        "reason": "cut off",
        "line": 3,
        "offset": 99,
        "row_group": None,
        "row": None,
        "excerpt": '{"mess',
    }


@pytest.mark.parametrize("told", [None, [], {}, "x", {"rows": "many"}])
def test_what_is_no_report_is_refused(told: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec words it
        Report.of(told)
