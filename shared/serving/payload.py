"""What a chat endpoint is asked and how its answer is read.

The payload is the one that Azure ML's chat models take (mission, step 8). Called by the smoke test, by the gate and by
the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

SAMPLED = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 200}
GREEDY = {"do_sample": False, "max_new_tokens": 200}
_ANSWER_KEYS = ("output", "answer", "result", "generated_text", "0")

type Message = Mapping[str, str]


def scoring_payload(conversation: Sequence[Message], *, greedy: bool = False) -> dict[str, Any]:
    """The request body for one conversation. `greedy` asks for the one most likely answer, the same every time."""
    parameters = dict(GREEDY if greedy else SAMPLED)
    return {
        "input_data": {"input_string": [dict(turn) for turn in conversation], "parameters": parameters},
        "params": {},
    }


def conversation_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row of a dataset up to its last answer: what the model is asked.

    Raises ValueError without a question, and for turns that are more than text: an endpoint takes no tools.
    """
    turns = row["messages"]
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError("a held-out row needs a question and, last, an assistant's answer")
    if not all(map(_is_text, turns)):
        raise ValueError("a held-out row with tool turns can't be asked")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns[:-1]]


def opening_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row up to its first answer: what can be asked of any row, one with tool turns too."""
    turns = takewhile(lambda turn: turn["role"] != "assistant" and _is_text(turn), row["messages"])
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def expected_of(row: Mapping[str, Any]) -> str:
    """The answer that the row gives; "" where that is a tool call alone."""
    return str(row["messages"][-1].get("content") or "")


def answer_of(response: Any) -> str:
    """The text in an endpoint's response: an object with `output`, a list with one answer, or the text itself.

    It is Unicode: half a surrogate pair, which JSON may hold and nothing can be made of, is a question mark.
    Raises ValueError, with the beginning of the response, when there is none.
    """
    match response:
        case str():
            return response.encode(errors="replace").decode()
        case [first, *_]:
            return answer_of(first)
        case {"messages": [*_, {"content": str(content)}]}:
            return answer_of(content)
        case dict():
            for key in _ANSWER_KEYS:
                if key in response:
                    return answer_of(response[key])
    raise ValueError(f"the endpoint's response holds no answer: {str(response)[:200]}")


def normal(text: str) -> str:
    """The text as two texts are compared: neither white space nor case counts."""
    return " ".join(text.casefold().split())


def _is_text(turn: Mapping[str, Any]) -> bool:
    return isinstance(turn.get("content"), str) and turn["role"] != "tool" and not turn.get("tool_calls")
