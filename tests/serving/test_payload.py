"""What an endpoint is asked, and how its answers are read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.serving.payload import answer_of, conversation_of, expected_of, opening_of, scoring_payload

ROW = {
    "prompt": "x",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital of Peru?"},
        {"role": "assistant", "content": "Lima"},
    ],
}


def test_the_payload_is_the_notebooks() -> None:
    turns = [{"role": "user", "content": "hello"}]
    assert scoring_payload(turns) == {
        "input_data": {
            "input_string": [{"role": "user", "content": "hello"}],
            "parameters": {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 200},
        },
        "params": {},
    }


def test_a_greedy_question_samples_nothing() -> None:
    parameters = scoring_payload([], greedy=True)["input_data"]["parameters"]
    assert parameters == {"do_sample": False, "max_new_tokens": 200}


def test_a_row_is_asked_without_its_answer() -> None:
    assert conversation_of(ROW) == ROW["messages"][:-1]
    assert expected_of(ROW) == "Lima"


@pytest.mark.parametrize("turns", [[], [{"role": "assistant", "content": "a"}], [{"role": "user", "content": "q"}] * 2])
def test_a_row_without_question_and_answer_is_refused(turns: list[dict[str, str]]) -> None:
    with pytest.raises(ValueError, match="held-out row"):
        conversation_of({"messages": turns})


TOOL_TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Lima?"},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "weather"}}]},
    {"role": "tool", "content": "Fog"},
    {"role": "assistant", "content": "Fog."},
]


@pytest.mark.parametrize("turns", [TOOL_TURNS, TOOL_TURNS[:3], TOOL_TURNS[1:2] + TOOL_TURNS[3:]])
def test_a_row_with_tool_turns_can_not_be_asked_but_its_opening_can(turns: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="tool turns"):
        conversation_of({"messages": turns})
    opening = opening_of({"messages": turns})
    assert opening[-1] == {"role": "user", "content": "Weather in Lima?"}
    assert scoring_payload(opening)
    assert expected_of({"messages": TOOL_TURNS[:3]}) == ""


def test_the_opening_ends_before_the_first_answer() -> None:
    assert opening_of(ROW) == ROW["messages"][:-1]


def test_half_a_character_in_an_answer_is_replaced() -> None:
    """JSON can say it, UTF-8 can't, and the answer is kept in a record."""
    for response in (
        json.loads('{"output": "a\\ud800b"}'),
        {"messages": [{"role": "assistant", "content": "a\ud800b"}]},
    ):
        assert answer_of(response) == "a?b"


@given(st.text())
def test_an_answer_is_found_in_every_form_that_models_give(text: str) -> None:
    forms: list[Any] = [
        text,
        [text],
        {"output": text},
        {"output": [text]},
        [{"output": text}],
        [[{"generated_text": text}]],
        [{"0": text}],
        {"messages": [{"role": "assistant", "content": text}]},
    ]
    assert [answer_of(form) for form in forms] == [text] * len(forms)


@pytest.mark.parametrize("response", [{}, [], None, 3, {"error": "x"}])
def test_a_response_without_an_answer_is_told(response: object) -> None:
    with pytest.raises(ValueError, match="no answer"):
        answer_of(response)
