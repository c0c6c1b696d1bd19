"""Tool calls, as they are written: one form in all rows, so that the training's reader finds one type in each place."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from shared.dataset.judging.calls import calls_of
from shared.dataset.judging.rules import Facts
from tests.kit.dataset.conversations import ASSISTANT, CALL, TOOL, USER, exact
from tests.kit.rows import of

WRITTEN = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}


def called(value: object) -> Any:
    found = calls_of(value)
    return found if isinstance(found, str) else json.loads(msgspec.json.encode(found))


@pytest.mark.parametrize(
    "call",
    [
        WRITTEN,
        WRITTEN | {"function": {"name": "f", "arguments": {"n": 1}}},
        {"function": {"arguments": {"n": 1}, "name": "f"}, "id": "1"},
        {"name": "f", "arguments": {"n": 1}, "id": "1"},
        WRITTEN | {"index": 0, "x": None, "y": "", "z": {}},
    ],
)
def test_all_forms_of_a_call_are_written_as_one(call: dict[str, Any]) -> None:
    assert called([call]) == [WRITTEN]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n": 1, "at": "x"}, '{"n": 1, "at": "x"}'),
        (
            {"n": 10**30, "é": [1.5, None, {"a": True}]},
            '{"n": 1000000000000000000000000000000, "é": [1.5, null, {"a": true}]}',
        ),
        ("", "{}"),
        (' {"a" : 1}', ' {"a" : 1}'),
        ('{"n":1e999}', '{"n":1e999}'),
        ({}, "{}"),
        (None, "{}"),
        ([1], "[1]"),
    ],
)
def test_arguments_are_written_as_text_and_a_text_to_the_letter(arguments: object, text: str) -> None:
    assert called([{"function": {"name": "f", "arguments": arguments}}])[0]["function"]["arguments"] == text


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ({"name": "f"}, "its tool_calls are an object, not a list"),
        ([1], "call 1 is a number, not an object"),
        ([WRITTEN, {}], "call 2 has no function"),
        ([{"function": "f"}], "call 1 has a function that is a text"),
        ([{"name": "f", "arguments": "{broken"}], "call 1 has arguments that are no JSON: '{broken'"),
        ([{"name": "f", "arguments": "7"}], "call 1 has arguments that are the JSON of a number, not of an object"),
        ([{"function": {"arguments": {}}}], "call 1 has no name"),
        ([{"function": {"name": 7}}], "call 1 has a name that is a number"),
        ([WRITTEN | {"id": 7}], "call 1 has an id that is a number; write it as a text"),
        ([WRITTEN | {"type": "retrieval"}], "call 1 has the type 'retrieval', not function"),
        ([{"function": {"name": "f", "arguments": 7}}], "call 1 has arguments that are a number, not an object"),
        ([{"function": {"name": "f", "arguments": {"x": float("inf")}}}], "call 1 has a number in its arguments that"),
        ([{"function": {"name": "f", "arguments": {"x": float("nan")}}}], "call 1 has a number in its arguments that"),
        ([{"function": {"name": "f", "arguments": {"x": b"x"}}}], "call 1 has arguments that JSON has no form for"),
        ([WRITTEN | {"weight": 0}], "call 1 has the key 'weight', for which there is no place"),
        ([{"function": {"name": "f", "strict": True}}], "call 1 has the key 'strict', for which there is no place"),
        ([{"name": "f", "arguments": {}, "signature": "x"}], "call 1 has the key 'signature', for which"),
    ],
)
def test_what_has_no_such_form_is_told(calls: object, told: str) -> None:
    found = called(calls)
    assert isinstance(found, str)
    assert found.startswith(told)


def test_a_number_that_overflows_is_never_learned_as_null() -> None:
    call = CALL | {"tool_calls": [{"function": {"name": "f", "arguments": {"x": 7}}}]}
    row = of(USER, call, TOOL, ASSISTANT)
    for number in (b"1e999", b"-1e999", b"9" * 5000):
        assert exact(row.replace(b"7", number), facts=Facts(tools=True)) == "tool_call", number[:9]
    assert b"%d" % 2**80 in exact(row.replace(b"7", b"%d" % 2**80), facts=Facts(tools=True))


@pytest.mark.parametrize("key", ["tool_call_id", "name"])
def test_what_names_a_call_is_a_text(key: str) -> None:
    assert exact(of(USER, CALL, TOOL | {key: 7}, ASSISTANT), facts=Facts(tools=True)) == "tool_call"
    assert exact(of(USER, CALL, TOOL | {key: None}, ASSISTANT), facts=Facts(tools=True)) != "tool_call"


def test_calls_may_come_as_a_text_of_json() -> None:
    """As columns of texts have them."""
    as_text = CALL | {"tool_calls": json.dumps(CALL["tool_calls"])}
    tools = Facts(tools=True)
    assert exact(of(USER, as_text, TOOL, ASSISTANT), facts=tools) == exact(of(USER, CALL, TOOL, ASSISTANT), facts=tools)
    assert exact(of(USER, CALL | {"tool_calls": "look it up"}, TOOL, ASSISTANT), facts=tools) == "tool_call"
