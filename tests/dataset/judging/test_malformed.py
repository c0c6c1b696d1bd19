"""Rows that are no JSON, and text that was damaged: what is told says what to do."""

from __future__ import annotations

import json

import pytest

from shared.dataset.judging.damaged import damage, suspect
from shared.dataset.preparing.scan import prepare
from shared.dataset.report import Report
from tests.kit.dataset.fuzz import Bytes
from tests.kit.rows import row

GOOD = [row(f"prompt {at}").decode() for at in range(20)]


def checked(*lines: str, end: str = "\n", name: str = "a.jsonl") -> Report:
    return prepare(files={"train": Bytes(name, ("\n".join([*GOOD, *lines]) + end).encode())}, sinks=None)


@pytest.mark.parametrize(
    ("line", "end", "why"),
    [
        (GOOD[0] + ",", "\n", "a comma follows the object: remove it"),
        (GOOD[0] + " , ", "", "a comma follows the object: remove it"),
        ("{'messages': []}", "\n", "it is written as Python shows its objects, with single quotes"),
        ('{"messages": None}', "\n", "None is not JSON: write it with json.dumps(row)"),
        ('{"messages": True}', "\n", "True is not JSON: write it with json.dumps(row)"),
        (GOOD[0][:-10], "", "the file ends in the middle of this row: it was cut off"),
        (GOOD[0][:-2], "", "the file ends in the middle of this row: it was cut off"),
        (GOOD[0][:5], "", "the file ends in the middle of this row: it was cut off"),
        ("{", "", "the file ends in the middle of this row: it was cut off"),
        (GOOD[0][:-4], "\n", "the line ends inside a text, or a quote is missing"),
        (GOOD[0][:-2], "\n", "the line ends before the object does"),
        (GOOD[0] + GOOD[1], "\n", "two objects stand on one line"),
        ("<<<<<<< HEAD", "\n", "it is a mark of a merge conflict"),
        ("# rows", "\n", "it is a comment, which JSON has not"),
        ("\x1a", "", "it is an old mark of a file's end (Ctrl-Z): remove it"),
        ('data: {"messages": []}', "\n", "it is no JSON: a row is an object, {...}"),
        ("{messages: []}", "\n", "a key stands without quotes: write each row with json.dumps(row)"),
        ("{\"messages\": [], 'a': 1}", "\n", "a key stands in single quotes: write each row with json.dumps(row)"),
        ("{\u201cmessages\u201d: []}", "\n", "it has typographic quotes in place of plain ones"),
        ('{"messages" []}', "\n", "Expecting ':' delimiter"),
    ],
)
def test_a_row_that_is_no_json_says_what_to_do(line: str, end: str, why: str) -> None:
    (fault,) = checked(line, end=end).faults
    assert (fault.rule, fault.line) == ("not_json", 21)
    assert fault.reason.startswith("not JSON at character ")
    assert fault.reason.partition(": ")[2].startswith(why), fault.reason


ODD = ["NaN", "-Infinity", '{"a": [NaN]}', '{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 2}}]']


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_in_a_key_that_is_not_read_is_no_fault(odd: str) -> None:
    row = GOOD[0].replace("prompt 0", "another")
    for name in ("a.jsonl", "a.json"):
        lines = [*GOOD, f'{row[:-1]}, "score": {odd}}}']
        data = "\n".join(lines) if name == "a.jsonl" else f"[{', '.join(lines)}]"
        report = prepare(files={"train": Bytes(name, data.encode())}, sinks=None)
        assert (report.rejected, report.rows, report.bad_rows) == ("", 21, 0)


@pytest.mark.parametrize("odd", ODD)
def test_it_is_one_in_a_key_that_is_read(odd: str) -> None:
    for line in (
        f'{{"messages": {odd}}}',
        f'{GOOD[0][:-1]}, "system": {odd}}}',
        f'{{"messages": [{{"role": "user", "content": "x", "y": {odd}}}, {{"role": "assistant", "content": "b"}}]}}',
        f'{{"messages": [], {GOOD[0][1:]}',
        f'{GOOD[0][:-1]}, "score": {odd}, "z": "\\ud800"}}',
    ):
        (fault,) = checked(line).faults
        assert fault.rule in ("not_json", "duplicate_keys")


MARKS = {
    "Itâ\x80\x99s": "U+0080",
    "It\u00e2\u20ac\u2122s": "'\u00e2\u20ac\u2122'",
    "caf\u00c3\u00a9": "'\u00c3\u00a9",
    "20\u00c2\u00b0": "'\u00c2\u00b0",
    "It\ufffds": "U+FFFD",
}
WHOLE = [
    "It's",
    "It\u2019s",
    "café",
    "20°",
    "NÃO É",
    "Â",
    "你好，世界",
    "«\u00a0oui\u00a0»",
    "a\u0085b",
    "€ 5",
    "naïve âge",
]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_damaged_text_is_a_warning_with_its_place(ascii_only: bool) -> None:
    texts = [*WHOLE, *MARKS]
    rows = [{"prompt": f"{at} {text}", "completion": "fine"} for at, text in enumerate(texts)]
    lines = [json.dumps(each, ensure_ascii=ascii_only) for each in rows]
    for name, data in (("a.jsonl", "\n".join(lines)), ("a.json", f"[{','.join(lines)}]")):
        report = prepare(files={"train": Bytes(name, data.encode())}, sinks=None)
        assert dict(report.warnings) == {"damaged_text": len(MARKS)}, report.warned
        for fault, shown in zip(report.warned, MARKS.values(), strict=True):
            assert shown in fault.reason
        if name == "a.jsonl":
            assert [fault.line for fault in report.warned] == list(range(len(WHOLE) + 1, len(texts) + 1))


def test_what_is_not_trained_on_may_be_damaged() -> None:
    rows = [{"prompt": f"{at}", "completion": "fine", "source": "It\ufffds"} for at in range(20)]
    report = prepare(files={"train": Bytes("a.jsonl", "\n".join(map(json.dumps, rows)).encode())}, sinks=None)
    assert "damaged_text" not in report.warnings


def test_a_row_is_suspect_where_it_is_damaged() -> None:
    for text in WHOLE:
        assert not damage(text.encode()), text
    for text in MARKS:
        for whole in ("x" * 500 + text, "à ° ﬁ €" * 500 + text + "x" * 500):
            assert suspect(b'{"' + whole.encode())
        assert damage(b"x" + text.encode())
