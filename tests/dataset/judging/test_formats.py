"""Every chat format and its variants, as messages; how a format is found out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.dataset.judging.content import text_of_parts
from shared.dataset.judging.formats import BY_NAME, FORMATS, SAYINGS, SHAREGPT_ROLES, SPEAKERS, conversation, shown
from tests.kit.dataset.conversations import ASSISTANT, SAME, SYSTEM, USER

ASKED = {"user": "Hi", "assistant": "Hello"}


def turns(row: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Who says what in a row of whatever format."""
    found = conversation(row, shown(row))
    assert not isinstance(found, tuple), found
    return [(each.get("role"), each.get("content")) if isinstance(each, dict) else (None, each) for each in found]


def refused(row: dict[str, Any], chosen: str | None = None) -> tuple[str, str]:
    """The rule that it breaks, and what is said of it."""
    found = conversation(row, BY_NAME[chosen] if chosen else shown(row))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("name", SAME)
def test_a_format_is_known_by_its_keys_and_becomes_messages(name: str) -> None:
    found = shown(SAME[name])
    assert found is not None
    assert found.name == name
    assert turns(SAME[name]) == [("user", "Hi"), ("assistant", "Hello")]


def test_all_formats_are_here() -> None:
    assert [each.name for each in FORMATS] == list(SAME)


# ShareGPT


@pytest.mark.parametrize(("speaker", "role"), SHAREGPT_ROLES.items())
def test_names_of_speakers(speaker: str, role: str) -> None:
    assert turns({"conversations": [{"from": speaker, "value": "x"}]}) == [(role, "x")]


def test_the_spellings_that_are_around() -> None:
    assert {"human", "gpt", "chatgpt", "bing", "bard", "system", "tool", "function", "observation"} <= set(
        SHAREGPT_ROLES
    )


@pytest.mark.parametrize("key", ["conversations", "conversation"])
@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize("saying", SAYINGS)
def test_names_of_keys(key: str, speaker: str, saying: str) -> None:
    assert turns({key: [{speaker: "human", saying: "a", "weight": 1}]}) == [("user", "a")]  # what is left is noted


def test_of_two_keys_the_one_that_is_there_counts() -> None:
    turn = {"from": None, "role": "gpt", "value": None, "text": "a"}
    assert turns({"conversations": None, "conversation": [turn]}) == [("assistant", "a")]


def test_an_unknown_speaker_keeps_its_name_for_the_report() -> None:
    assert turns({"conversations": [{"from": "narrator", "value": "a"}, {"from": 1, "value": "b"}]}) == [
        ("narrator", "a"),
        (1, "b"),
    ]


def test_what_a_turn_lacks_the_message_lacks() -> None:
    said = conversation({"conversations": [{"value": "a"}, {"from": "gpt"}, {"from": "gpt", "value": None}]}, None)
    assert isinstance(said, tuple)  # no format was chosen
    found = conversation(row := {"conversations": [{"value": "a"}, {"from": "gpt"}]}, shown(row))
    assert list(found) == [{"content": "a"}, {"role": "assistant"}]
    assert turns({"conversations": ["x", None]}) == [(None, "x"), (None, None)]


def test_tool_calls_come_along() -> None:
    row = {"conversations": [{"from": "gpt", "value": "", "tool_calls": [1]}, {"from": "tool", "tool_call_id": "7"}]}
    assert list(conversation(row, shown(row))) == [
        {"role": "assistant", "content": "", "tool_calls": [1]},
        {"role": "tool", "tool_call_id": "7"},
    ]


@pytest.mark.parametrize("key", ["tool_calls", "tool_call_id", "name", "function_call"])
def test_what_else_a_turn_has_is_judged_and_never_dropped(key: str) -> None:
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", key: "kept"}]}
    found = conversation(row, shown(row))
    assert not isinstance(found, tuple)
    assert found[-1] == {"role": "assistant", "content": "b", key: "kept"}


def test_a_system_text_beside_the_list() -> None:
    both = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert turns({"system": "Be kind.", "conversations": both})[0] == ("system", "Be kind.")
    assert turns({"system": "", "conversations": both})[0] == ("user", "a")
    assert turns({"system": None, "conversations": both})[0] == ("user", "a")
    own = [{"from": "system", "value": "own"}, *both]
    assert turns({"system": "Be kind.", "conversations": own})[0] == ("system", "Be kind.\n\nown")
    assert turns({"system": "own", "conversations": own})[0] == ("system", "own")
    assert len(turns({"system": "Be kind.", "conversations": own})) == 3


# Alpaca


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, "Add."),
        ({"input": ""}, "Add."),
        ({"input": None}, "Add."),
        ({"input": "1, 2"}, "Add.\n\n1, 2"),
        ({"input": "1,\n2"}, "Add.\n\n1,\n2"),
        ({"text": "Below is an instruction"}, "Add."),
    ],
)
def test_an_instruction_and_its_input(more: dict[str, Any], asked: Any) -> None:
    assert turns({"instruction": "Add.", "output": "3"} | more) == [("user", asked), ("assistant", "3")]


def test_of_a_question_without_an_answer_that_is_told() -> None:
    chosen = BY_NAME["prompt_completion"]
    told = "blank_content", "completion has no value: fill it in, or remove the row"
    assert conversation({"prompt": "a", "completion": None}, chosen) == told
    assert conversation({"prompt": "a", "completion": None}, None) == told
    assert conversation({"prompt": "a"}, chosen, [], {"completion": "Antwort"})[1] == told[1].replace(
        "completion", "Antwort"
    )
    assert conversation({"id": 1}, chosen) == ("no_messages", "prompt and completion have no value")


def test_all_that_is_asked_may_be_in_the_input() -> None:
    assert turns({"instruction": "", "input": "2 + 2?", "output": "4"}) == [("user", "2 + 2?"), ("assistant", "4")]


def test_system_and_history_come_first() -> None:
    row = {
        "instruction": "And now?",
        "output": "Now.",
        "system": "Be brief.",
        "history": [["When?", "Soon."], ["Why?", "So."]],
    }
    assert turns(row) == [
        ("system", "Be brief."),
        ("user", "When?"),
        ("assistant", "Soon."),
        ("user", "Why?"),
        ("assistant", "So."),
        ("user", "And now?"),
        ("assistant", "Now."),
    ]


@pytest.mark.parametrize("history", [[], None, ""])
def test_no_history(history: Any) -> None:
    assert turns({"instruction": "a", "output": "b", "history": history}) == [("user", "a"), ("assistant", "b")]


def test_a_history_as_json_in_a_text() -> None:
    row = {"instruction": "a", "output": "b", "history": '[["When?", "Soon."]]'}
    assert turns(row)[:2] == [("user", "When?"), ("assistant", "Soon.")]


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ([["When?", "Soon."], ["only one"]], ("message_not_object", "turn 2 of history is a list of 1")),
        ("When? Soon.", ("message_not_object", "turn 1 of history is a text")),
        ({"When?": "Soon."}, ("unknown_role", "turn 1 of history has no role and no content")),
        ([{"role": "USER", "message": "Hi"}], ("blank_content", "turn 1 of history has no content")),
        (5, ("message_not_object", "turn 1 of history is a number")),
        ("null", ("message_not_object", "turn 1 of history is null")),
    ],
)
def test_a_history_of_something_else_is_not_passed_over(history: Any, found: tuple[str, str]) -> None:
    row = {"instruction": "a", "output": "b", "history": history}
    forms = 'write the turns as pairs, [[question, answer], ...], or as messages, [{"role": ..., "content": ...}, ...]'
    assert refused(row) == (found[0], f"{found[1]}: {forms}")


# Two texts


@pytest.mark.parametrize("keys", [("prompt", "completion"), ("prompt", "response"), ("question", "answer")])
def test_a_system_text_goes_before_a_pair(keys: tuple[str, str]) -> None:
    assert turns({keys[0]: "a", keys[1]: "b", "system": "s"}) == [("system", "s"), ("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize("keys", [("prompt", "completion"), ("prompt", "response"), ("question", "answer")])
def test_both_sides_may_be_messages(keys: tuple[str, str]) -> None:
    assert turns({keys[0]: [SYSTEM, USER], keys[1]: [ASSISTANT]}) == [
        ("system", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
    ]


def test_one_side_may_be_messages() -> None:
    assert turns({"prompt": [USER], "completion": "b"}) == [("user", "user"), ("assistant", "b")]
    assert turns({"prompt": "a", "completion": [ASSISTANT]}) == [("user", "a"), ("assistant", "assistant")]


# Lists that were written into a cell


@pytest.mark.parametrize("name", ["messages", "sharegpt"])
def test_a_list_as_json_in_a_text(name: str) -> None:
    ((key, value),) = SAME[name].items()
    assert turns({key: json.dumps(value)}) == [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize("text", ["", "x", "{}", "[", '[{"a": 1, "a": 2}]', '["\\ud800"]', "\ud800"])
def test_a_text_that_is_no_list(text: str) -> None:
    assert refused({"messages": text}) == (
        "no_messages",
        "messages is a text" if text != "{}" else "messages is an object",
    )


# Which format

SOME = ("messages", "sharegpt", "alpaca", "prompt_response", "question_answer", "query_response")


@pytest.mark.parametrize("first", SOME)
@pytest.mark.parametrize("second", SOME)
def test_of_two_formats_in_a_row_the_first_of_the_list_is_shown(first: str, second: str) -> None:
    found = shown({**SAME[second], **SAME[first]})
    assert found is not None
    assert found.name == min(first, second, key=list(SAME).index)


@pytest.mark.parametrize("first", SOME)
@pytest.mark.parametrize("second", SOME)
def test_a_row_in_another_format_than_those_before_it(first: str, second: str) -> None:
    if first == second:
        return
    rule, reason = refused(SAME[second], first)
    assert rule == "mixed_formats"
    assert reason == f"the row is in the format {second}, the rows before it are in {first}"
    both = SAME[second] | SAME[first]  # nothing is missing: it is read as those before it
    assert conversation(both, BY_NAME[first]) == conversation(SAME[first], BY_NAME[first])


def test_a_null_is_not_there() -> None:
    row = {"messages": None, "conversations": None, "prompt": "a", "completion": None, "response": "b"}
    found = shown(row)
    assert found is not None
    assert found.name == "prompt_response"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "its keys are: -"),
        ({"words": "a", "class": 1}, "its keys are: words, class"),
        ({"messages": None}, "messages is null"),
        ({"messages": {}}, "messages is an object"),
        ({"messages": 7}, "messages is a number"),
        ({"conversations": True}, "conversations is a boolean"),
    ],
)
def test_a_row_without_a_conversation(row: dict[str, Any], reason: str) -> None:
    assert refused(row) == ("no_messages", reason)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi", "chosen": "a", "rejected": "b"}, "map: {response: chosen}, and ignore: [rejected]"),
        ({"prompt": "Hi", "chosen": [USER, ASSISTANT], "rejected": []}, "map: {messages: chosen}, and ignore:"),
        ({"prompt": [USER], "chosen": [ASSISTANT], "rejected": []}, "map: {response: chosen}, and ignore:"),
        ({"prompt": "Hi", "response_j": "a", "response_k": "b"}, "map: {response: response_j}"),
        ({"chosen_messages": [USER, ASSISTANT], "rejected_messages": []}, "map: {messages: chosen_messages}"),
        ({"chosen": "\n\nHuman: Hi", "rejected": "b"}, "write the turns in chosen as messages"),
        (
            {"input": {"messages": [USER]}, "preferred_output": [ASSISTANT], "non_preferred_output": []},
            "put the messages of input, and then those of preferred_output, into one list, messages",
        ),
    ],
)
def test_the_cure_of_preference_data_names_the_keys_of_the_row(row: dict[str, Any], said: str) -> None:
    rule, told = refused(row)
    assert (rule, said in told) == ("other_kind", True), told


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"conversation_id": "0", "role": "user", "content": "Hi"}, "each row is one message"),
        ({"message_id": "0", "parent_id": None, "text": "Hi", "role": "prompter"}, "each row is one message"),
        ({"title": "Hi", "create_time": 1, "mapping": {"a": {"message": None}}}, "ChatGPT's export"),
    ],
)
def test_common_exports_are_told_by_what_is_to_be_done(row: dict[str, Any], said: str) -> None:
    rule, told = refused(row)
    assert (rule, said in told) == ("no_messages", True), told


def test_keys_are_called_as_the_file_has_them() -> None:
    own = {
        "response": "chosen",
        "words": "Wörter",
        "system": "systemInstruction",
        "answer": "Answer",
        "history": "past",
    }
    assert conversation({"words": "a", "b": 1}, None, [], own)[1] == "its keys are: Wörter, b"
    assert "rename chosen" not in str(conversation({"response": "\n\nHuman: Hi", "rejected": "b"}, None, [], own))
    assert "preference data" in str(conversation({"response": "\n\nHuman: Hi", "rejected": "b"}, None, [], own))
    row: dict[str, Any] = {"question": "Q", "answer": "A", "system": 1}
    assert str(conversation(row, shown(row), [], own)[1]).startswith("systemInstruction is a number")
    row = {"question": "Q", "answer": 1}
    assert str(conversation(row, shown(row), [], own)[1]).startswith("Answer is a number")
    row = {"question": "Q", "answer": "A", "history": "x"}
    assert str(conversation(row, shown(row), [], own)[1]).startswith("turn 1 of past is a text")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"text": ["a"], "answer_start": [8]}, "an object: write instead the text in its key text"),
        ({"role": "system", "parts": [{"text": "a"}]}, "an object: write instead the text in its key parts"),
        ({"title": ["t"], "sentences": [["a"]]}, "an object: write instead the text in its key sentences"),
        ({"city": "Paris", "n": 1}, "an object: write it as a text, its JSON in quotes (json.dumps)"),
        ({"text": 1}, "an object: write it as a text, its JSON in quotes (json.dumps)"),
    ],
)
def test_of_an_object_the_text_in_it_is_meant(value: dict[str, Any], said: str) -> None:
    assert refused({"question": "Q", "answer": value}) == ("not_text", f"answer is {said}")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "refusal", "refusal": "No."}, ("not_text", ": write instead the text in its key refusal")),
        ({"type": "odd", "n": 1}, ("not_text", "which is no text")),
        ({"type": "tool_use", "id": "1", "name": "a", "input": {}}, ("tool_call", "role tool")),
    ],
)
def test_parts_that_are_no_texts(part: dict[str, Any], told: tuple[str, str]) -> None:
    found = text_of_parts([part], [])
    assert (found[0], found[1].endswith(told[1])) == (told[0], True), found


def test_lists_of_messages_on_both_sides_may_be_written_as_texts() -> None:
    asked, answer = [{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]
    assert turns({"prompt": json.dumps(asked), "completion": json.dumps(answer)}) == [
        ("user", "Hi"),
        ("assistant", "Hello"),
    ]
    rule, told = refused({"prompt": str(asked), "completion": str(answer)})
    assert (rule, "prompt and completion are lists in Python's form" in told) == ("no_messages", True)
    # Who asks about a conversation gives it as a text.
    assert turns({"prompt": json.dumps(asked), "completion": "polite"}) == [
        ("user", json.dumps(asked)),
        ("assistant", "polite"),
    ]


@pytest.mark.parametrize("row", [{"prompt": "Hi", "response": "Hello"}, {"messages": [USER, ASSISTANT]}])
def test_rows_within_a_row_are_told(row: dict[str, Any]) -> None:
    rule, told = refused({"version": 1, "data": [row] * 30})
    assert (rule, "30 rows in one, in the key data" in told, "a line of its own" in told) == ("other_kind", True, True)


def test_many_and_long_keys_are_shortened() -> None:
    assert len(refused({f"{number}{'x' * 1000}": 1 for number in range(1000)})[1]) < 500


def test_answers_beside_a_conversation_are_preference_data() -> None:
    """As LLaMA-Factory's sets have it."""
    asked = {"conversations": [{"from": "human", "value": "Hi"}]}
    answers = {"chosen": {"from": "gpt", "value": "Hello"}, "rejected": {"from": "gpt", "value": "No"}}
    rule, told = refused(asked | answers)
    assert (rule, "at the conversation's end" in told) == ("other_kind", True)
    assert turns(asked) == [("user", "Hi")]
    rule, told = refused({"chosen_messages": [1], "rejected_messages": [2]})
    assert (rule, "preference data" in told) == ("other_kind", True)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "value": "Hi"}, "Hi"),
        ({"type": "text", "text": "Hi", "value": None}, "Hi"),
        ({"type": "text", "text": "", "value": "Hi"}, ""),
        ({"value": "Hi"}, ""),
    ],
)
def test_the_text_of_a_part_may_be_called_its_value(part: dict[str, Any], text: str) -> None:
    notes: list[Any] = []
    assert text_of_parts([part], notes) == text
    assert bool(notes) == (not text)  # what is not read is told
