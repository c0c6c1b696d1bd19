"""Every rule on rows, however the file is chunked."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset import rules
from shared.dataset.rules import RULES, Fault, Row, check
from tests.dataset.conversations import ASSISTANT, BAD, SYSTEM, USER, bad_rows, good_rows, messages, of, pieces, row


def only(data: bytes) -> Row | Fault:
    (found,) = check([data])
    return found


def fault(data: bytes) -> Fault:
    found = only(data)
    assert isinstance(found, Fault)
    return found


@pytest.mark.parametrize(("rule", "data"), [(rule, data) for rule, rows in BAD.items() for data in rows])
def test_a_bad_row_is_named(rule: str, data: bytes) -> None:
    found = fault(data)
    assert found.rule == rule
    assert found.reason
    assert found.cure == RULES[rule]
    assert found.line == 1


def test_reasons_say_what_is_wrong() -> None:
    assert fault(b'{"prompt": "a", "completion": "b"}').reason == "its keys are: prompt, completion"
    assert fault(of(USER, {"role": "bot", "content": "x"})).reason == "the role of message 2 is 'bot'"
    assert fault(of(USER, {"role": "assistant"})).reason == "the content of message 2 (assistant) is missing"
    assert fault(of(USER, SYSTEM, ASSISTANT)).reason == "message 2 is a system message"
    assert fault(b"{,}").reason.startswith("not JSON at character 2")
    assert fault(b"{" * 5).excerpt == "{{{{{"


def test_a_good_row_is_made_canonical() -> None:
    found = only(json.dumps({"prompt_id": "1", "messages": [m | {"name": "x"} for m in messages("Hï", "y")]}).encode())
    assert found == Row(
        line=1,
        prompt="Hï",
        data='{"messages":[{"role":"user","content":"Hï"},{"role":"assistant","content":"y"}]}'.encode(),
    )


@pytest.mark.parametrize(
    "data",
    [
        of(SYSTEM, USER, ASSISTANT),
        of(USER, ASSISTANT, {"role": "tool", "content": "42"}, ASSISTANT),
        of(SYSTEM, ASSISTANT),
        row("x" * 100_000),
        b'{"n": ' + b"9" * 5000 + b", " + row()[1:],
    ],
)
def test_rows_that_are_fine(data: bytes) -> None:
    assert isinstance(only(data), Row)


def test_the_prompt_is_the_first_users() -> None:
    prompts = [found.prompt for found in check([of(SYSTEM, USER, ASSISTANT) + b"\n" + of(SYSTEM, ASSISTANT)])]  # type: ignore[union-attr]
    assert prompts == ["user", "system"]


def test_deep_nesting_is_a_fault() -> None:
    assert fault(b'{"x": ' + b"[" * 200_000).rule == "not_json"
    assert fault(b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}").rule == "not_json"


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file(data: bytes) -> None:
    assert fault(data).rule == "empty_file"


def test_marks_and_line_ends_are_tolerated() -> None:
    found = list(check([b"\xef\xbb\xbf" + row("a") + b"\r\n" + row("b") + b"\r\n\r\n  \n\n"]))
    assert [each.prompt for each in found if isinstance(each, Row)] == ["a", "b"]
    assert len(found) == 2


def test_empty_lines_in_between_are_one_fault() -> None:
    first, gap, second = check([row() + b"\n\n \r\n" + row() + b"\n\n"])
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert isinstance(gap, Fault)
    assert (gap.rule, gap.line, gap.offset, gap.reason) == ("blank_line", 2, len(row()) + 1, "2 lines are empty")
    assert second.line == 4


def test_utf_16_is_told_as_such() -> None:
    assert fault(row().decode().encode("utf-16")).rule == "not_utf8"


def test_a_row_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ROW_LIMIT", 1000)
    exact = row("x" * (1000 - len(row(""))))
    over = row("x" * (1001 - len(row(""))))
    data = exact + b"\n" + over + b"\n" + over * 5 + b"\n" + row() + b"\n" + over
    for size in (1, 7, 999, 1000, 1001, 5000, len(data)):
        found = list(check(pieces(data, [size] * (len(data) // size))))
        assert [each.rule if isinstance(each, Fault) else "" for each in found] == [
            "",
            *["row_too_large"] * 2,
            "",
            "row_too_large",
        ]
        assert found[1] == Fault(
            part="train",
            line=2,
            offset=1001,
            rule="row_too_large",
            reason="the row has 1001 bytes",
            excerpt=over[:160].decode(),
        )


def test_memory_does_not_grow_with_the_file() -> None:
    def endless(size: int) -> Iterator[bytes]:
        for _ in range(size):
            yield b"x" * 1024 * 1024

    tracemalloc.start()
    found = list(check(endless(64)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each.rule for each in found if isinstance(each, Fault)] == ["row_too_large"]
    assert peak < 4 * rules.ROW_LIMIT


lines = st.lists(good_rows.map(lambda data: ("", data)) | bad_rows, min_size=1, max_size=8)


@given(lines, st.lists(st.integers(0, 60), max_size=30), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_each_row_is_judged_on_its_own_whatever_the_chunks(
    rows: list[tuple[str, bytes]], sizes: list[int], end: bytes, last: bool
) -> None:
    data = end.join(text for _, text in rows) + (end if last else b"")
    found = list(check(pieces(data, sizes), part="test"))
    assert [each.rule if isinstance(each, Fault) else "" for each in found] == [rule for rule, _ in rows]
    assert [each.line for each in found] == list(range(1, len(rows) + 1))
    for each, (_, text) in zip(found, rows, strict=True):
        if isinstance(each, Fault):
            assert data[each.offset :].startswith(text)
            assert each.part == "test"
        else:
            assert only(each.data) == Row(line=1, prompt=each.prompt, data=each.data)
            assert json.loads(each.data) == {"messages": json.loads(text)["messages"]}


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_faults(data: bytes) -> None:
    found = list(check([data]))
    assert found
    assert all(isinstance(each, Row) or each.rule in RULES for each in found)
