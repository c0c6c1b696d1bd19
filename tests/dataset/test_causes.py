"""Faults that say the same are told as one, and none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.causes import causes
from shared.dataset.judging.rules import Fault
from shared.dataset.preparing.scan import prepare
from shared.dataset.report import Report
from tests.kit.dataset.fuzz import Bytes
from tests.kit.rows import row


def fault(line: int, reason: str = "at character 5: x", **others: str) -> Fault:
    file, rule = others.get("file", "a.jsonl"), others.get("rule", "not_json")
    return Fault(file=file, part="train", rule=rule, reason=reason, line=line, offset=line)


def test_numbers_make_no_other_cause_but_words_files_and_rules_do() -> None:
    faults = [fault(1), fault(2, "at character 1,234: x"), fault(3, "at character 5: y"), fault(4, rule="not_object")]
    faults += [fault(5, file="b.jsonl"), fault(7)]
    found = causes(faults, {"not_json": 5, "not_object": 1})
    assert [(cause.fault.line, cause.count, cause.others) for cause in found] == [
        (1, 3, "lines 2, 7"),
        (3, 1, ""),
        (4, 1, ""),
        (5, 1, ""),
    ]
    assert found[0].more == "and 2 more like it: lines 2, 7"


def test_what_was_not_kept_counts_where_there_is_but_one_cause() -> None:
    found = causes([fault(at) for at in (1, 2, 3, 5)], {"not_json": 9000})
    assert [(cause.count, cause.others) for cause in found] == [(9000, "lines 2 to 3, 5 ...")]
    (one,) = causes([fault(1, file="a.parquet")], {"not_json": 2})
    assert one.more == "and 1 more like it"


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from("abc")), max_size=40, unique_by=lambda each: each[0]))
def test_every_fault_is_in_one_cause(given: list[tuple[int, str]]) -> None:
    faults = [fault(line, f"at {line}: {what}") for line, what in sorted(given)]
    found = causes(faults, {"not_json": len(faults)})
    assert sum(cause.count for cause in found) == len(faults)
    assert len(found) == len({what for _, what in given})


def test_a_report_keeps_each_place_and_gives_the_causes_beside_them() -> None:
    data = b"".join([row(f"p {at}") + b"\n" for at in range(20)]) + b"{}\n" * 5
    report = prepare(files={"train": Bytes("a.jsonl", data)}, sinks=None)
    told = report.as_dict()
    assert [each["line"] for each in told["faults"]] == [21, 22, 23, 24, 25]
    (cause,) = told["causes"]
    assert (cause["line"], cause["count"], cause["others"]) == (21, 5, "lines 22 to 25")
    assert Report.of(told) == report
