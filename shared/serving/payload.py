"""What a chat endpoint is asked and how its answer is read.

The payload is the one that Azure ML's chat models take (mission, step 8). Called by the smoke test, by the gate and by
the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A row of a dataset up to its last answer: what the model is asked. Raises ValueError without a question."""
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in row["messages"]]
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError("a held-out row needs a question and, last, an assistant's answer")
    return turns[:-1]


def expected_of(row: Mapping[str, Any]) -> str:
    """The answer that the row gives."""
    return str(row["messages"][-1]["content"])


def answer_of(response: Any) -> str:
    """The text in an endpoint's response: an object with `output`, a list with one answer, or the text itself.

    Raises ValueError, with the beginning of the response, when there is none.
    """
    match response:
        case str():
            return response
        case [first, *_]:
            return answer_of(first)
        case {"messages": [*_, {"content": str(content)}]}:
            return content
        case dict():
            for key in _ANSWER_KEYS:
                if key in response:
                    return answer_of(response[key])
    raise ValueError(f"the endpoint's response holds no answer: {str(response)[:200]}")
