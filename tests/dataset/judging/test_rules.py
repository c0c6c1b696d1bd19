"""Every rule on single rows, judged the exact way; and how a breach is told."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from shared.dataset.judging.roles import judge_roles
from shared.dataset.judging.rules import ROLES, RULES, Facts, Fault, Message, Severity, judge, kind, parse
from tests.kit.dataset.conversations import ASSISTANT, BAD, BAD_ROWS, CALL, GOOD, OTHERWISE, SYSTEM, TOOL, USER, exact
from tests.kit.rows import messages, of, row

# Filters and reports of people rest on these: one may come, none may go or be renamed.
IDS = """
not_utf8 not_json not_object row_too_large duplicate_keys wrong_columns mixed_formats no_messages empty_messages
message_not_object unknown_role blank_content control_character tool_turn no_assistant no_question last_not_assistant
system_not_first repeated_role
not_gzip not_zstd not_json_lines not_parquet not_json_array not_csv too_large_decompressed too_compressed empty_file
too_few_rows too_few_prompts no_test_rows map_unmatched ignore_unmatched
duplicate_row prompt_in_both over_context damaged_text too_many_duplicates long_rows
"""


def reason(data: bytes) -> str:
    """What is said to be wrong with a row."""
    parsed = parse(data)
    if len(parsed) == 2:
        return parsed[1]
    judged = judge(parsed[0]["messages"], Facts())
    assert isinstance(judged, tuple)
    return judged[1]


@pytest.mark.parametrize(("rule", "data"), BAD_ROWS)
def test_a_bad_row_is_named(rule: str, data: bytes) -> None:
    assert exact(data) == rule


@pytest.mark.parametrize("data", GOOD)
def test_a_good_row_is_good(data: bytes) -> None:
    written = exact(data)
    assert isinstance(written, bytes)
    given, found = (json.loads(each, parse_int=float)["messages"] for each in (data, written))
    given = json.loads(given) if isinstance(given, str) else given
    assert [(each["role"], each["content"]) for each in found] == [(each["role"], each["content"]) for each in given]
    assert exact(written) == written


@pytest.mark.parametrize(("data", "said"), OTHERWISE)
def test_a_good_row_that_is_written_otherwise(data: bytes, said: list[tuple[str, str]]) -> None:
    written = exact(data)
    assert isinstance(written, bytes)
    assert [(each["role"], each["content"]) for each in json.loads(written)["messages"]] == said
    assert exact(written) == written


def test_the_ids_of_rules_are_stable() -> None:
    assert set(IDS.split()) <= set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_explained(rule: str) -> None:
    each = RULES[rule]
    assert each.severity in get_args(Severity.__value__)
    assert each.cure.endswith(".")
    assert "\n" not in each.cure
    assert each.about.endswith(".")
    assert rule == rule.lower()


def test_every_rule_about_rows_has_a_bad_row_in_these_tests() -> None:
    seen_elsewhere = {"row_too_large", "wrong_columns", "secret", "personal_data_refused"}
    errors = {name for name, rule in RULES.items() if rule.scope == "row" and rule.severity == "error"}
    assert errors == set(BAD) | seen_elsewhere


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"x": "a\xff"}', "byte 9 of the row is not UTF-8"),
        (b"{,}", "not JSON at character 2: "),
        (row(x=float("nan")), "not JSON: NaN is not JSON"),
        (b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
        (b'{"a": 1, "b": {"c": 1, "c": 1}, "a": 3}', "the key 'c' is there twice"),
        (of(), "there are no messages"),
        (of(USER, "x"), "message 2 is a text"),
        (of(None), "message 1 is null"),
        (of(USER, {"role": "narrator", "content": "x"}), "the role of message 2 is 'narrator'"),
        (of({"role": "human", "content": "x"}), "the role of message 1 is 'human', which is called user in messages"),
        (of(SYSTEM, ASSISTANT), "no message is the user's (roles: assistant, system)"),
        (of({"content": "x"}), "the role of message 1 is missing"),
        (of({"role": None, "content": "x"}), "the role of message 1 is None"),
        (of(USER, {"role": "assistant"}), "the content of message 2 (assistant) is missing"),
        (of(USER, {"role": "assistant", "content": {}}), "the content of message 2 (assistant) is an object: write"),
        (of({"role": "user", "content": "\n"}), "the content of message 1 (user) is blank"),
        (row("ab\x08c"), "message 1 has U+0008 at character 3"),
        (of(USER, TOOL), "message 2 is a tool's, which the base model's chat template has no form for"),
        (of(USER, CALL), "message 2 calls a tool, which the base model's chat template has no form for"),
        (of(SYSTEM, USER), "no message is the assistant's (roles: system, user)"),
        (of(ASSISTANT), "the only message is the assistant's"),
        (of(USER, SYSTEM, ASSISTANT), "message 2 is a system message"),
        (of(SYSTEM, USER, USER, ASSISTANT), "messages 2 and 3 are both of the role user"),
        (of(USER, ASSISTANT, USER), "the last message is of the role user"),
    ],
)
def test_reasons_say_what_is_wrong_and_where(data: bytes, said: str) -> None:
    assert reason(data).startswith(said)


def test_a_long_value_is_shortened_in_a_reason() -> None:
    assert len(reason(of({"role": "x" * 10_000, "content": "hi"}))) < 100
    assert len(reason(b'{"%s": 1, "%s": 2}' % (b"x" * 10_000, b"x" * 10_000))) < 100


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1.5, "b": [true, null]}', {"a": 1.5, "b": [True, None]}),
        (b"9" * 5000, float("inf")),
        (b"[3, -12345678901234567890]", [3, -12345678901234567890]),
        (b"1e999", float("inf")),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (b'{"a": {"b": 1}, "c": {"b": 1}}', {"a": {"b": 1}, "c": {"b": 1}}),
    ],
)
def test_json_is_read_as_it_is(data: bytes, value: Any) -> None:
    assert repr(parse(data)) == repr((value,))  # 3 is not 3.0


def test_a_row_that_is_not_utf8_is_told_as_such_whatever_else_it_is() -> None:
    assert exact(row().decode().encode("utf-16")) == "not_utf8"
    assert exact(b"{\xff") == "not_utf8"


@pytest.mark.parametrize(
    "roles",
    ["user assistant", "system user assistant", "assistant user assistant", "user tool assistant"],
)
def test_roles_that_are_in_order(roles: str) -> None:
    assert judge_roles(tuple(roles.split())) is None


def test_tools_turns_may_follow_each_other_and_no_others() -> None:
    assert judge_roles(("user", "assistant", "tool", "tool", "assistant")) is None
    for role in ROLES:
        if role != "tool":
            assert judge_roles(("user", "assistant", role, role, "assistant")) is not None


# Tool turns, where the base model takes them


def with_tools(*turns: Any) -> list[Any] | str:
    judged = judge(turns, Facts(tools=True))
    return judged[0] if isinstance(judged, tuple) else [(each.role, each.content) for each in judged]


def test_tool_turns_are_kept_where_the_chat_template_takes_them() -> None:
    data = of(USER, CALL, TOOL | {"tool_call_id": "1", "name": "f", "else": 2}, ASSISTANT)
    written = exact(data, facts=Facts(tools=True))
    assert isinstance(written, bytes)
    asked = CALL | {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    assert json.loads(written)["messages"] == [USER, asked, TOOL | {"tool_call_id": "1", "name": "f"}, ASSISTANT]


def test_a_call_may_have_a_text_and_a_result_may_be_empty() -> None:
    said = with_tools(USER, CALL | {"content": "Let me look."}, TOOL | {"content": ""}, ASSISTANT)
    assert said == [("user", "user"), ("assistant", "Let me look."), ("tool", ""), ("assistant", "assistant")]


@pytest.mark.parametrize(
    ("rule", "turns"),
    [
        ("blank_content", [USER, TOOL | {"content": None}, ASSISTANT]),
        ("not_text", [USER, TOOL | {"content": [1]}, ASSISTANT]),
        ("not_text", [USER, CALL | {"content": 1}, TOOL, ASSISTANT]),
        ("control_character", [USER, CALL, TOOL | {"content": "\x00"}, ASSISTANT]),
        ("control_character", [USER, CALL | {"content": "\x1b"}, TOOL, ASSISTANT]),
        ("tool_turn", [USER | {"tool_calls": [1]}, ASSISTANT]),
        ("last_not_assistant", [USER, ASSISTANT | {"function_call": {"name": "f", "arguments": "{}"}}, TOOL]),
        ("tool_call", [USER, ASSISTANT | {"function_call": {"arguments": "{}"}}]),
        ("last_not_assistant", [USER, CALL, TOOL]),
        ("repeated_role", [USER, CALL, ASSISTANT]),
        ("unknown_role", [USER, {"role": "function", "content": "x"}, ASSISTANT]),
    ],
)
def test_the_other_rules_hold_for_tool_turns_too(rule: str, turns: list[Any]) -> None:
    assert with_tools(*turns) == rule


def test_no_tools_no_tool_messages() -> None:
    judged = judge(messages(), Facts(tools=True))
    assert not isinstance(judged, tuple)
    assert all(isinstance(each, Message) for each in judged)


# How a breach is told


def test_a_fault_knows_its_cure_and_its_place() -> None:
    line = Fault(file="a.jsonl", part="train", rule="not_json", reason="", line=7, offset=90)
    assert line.place == "a.jsonl, line 7"
    assert line.cure == RULES["not_json"].cure
    assert line.severity == "error"
    row_of_hub = Fault(file="owner/set/train", part="train", rule="no_messages", reason="", line=7)
    assert row_of_hub.place == "owner/set/train, row 7"
    whole = Fault(file="a.jsonl", part="train", rule="too_few_rows", reason="", line=1)
    assert whole.place == "a.jsonl"
    row_of_group = Fault(file="a.parquet", part="test", rule="duplicate_row", reason="", line=1007, row_group=0, row=7)
    assert row_of_group.place == "a.parquet, row group 0, row 7"
    assert row_of_group.severity == "warning"


def test_values_in_words() -> None:
    values: list[object] = [{}, [], "", True, 1, 1.5, None]
    assert list(map(kind, values)) == [
        "an object",
        "a list",
        "a text",
        "a boolean",
        "a number",
        "a number",
        "null",
    ]
