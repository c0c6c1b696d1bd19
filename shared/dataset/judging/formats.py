"""The chat formats that datasets come in, and how each becomes a list of messages.

A file has one format: that of its first row that shows one. A format is shown by its keys, whatever they hold; a key
whose value is null (in CSV: an empty cell) counts as not there. Called by `checker`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.dataset.judging.rules import Bad, kind, parse

# ShareGPT's names for who speaks, as the sets that are around spell them.
SHAREGPT_ROLES: Mapping[str, str] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
LISTS = ("conversations", "conversation")
SPEAKERS = ("from", "role")
SAYINGS = ("value", "content", "text")


@dataclass(frozen=True, kw_only=True)
class Format:
    """A chat format. `list_keys`: where its list of messages is; or `question` and `answer`: keys of two texts."""

    name: str
    list_keys: tuple[str, ...] = ()
    question: str = ""
    more: str = ""
    answer: str = ""

    def shown_by(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has the format's keys."""
        if self.list_keys:
            return any(row.get(key) is not None for key in self.list_keys)
        return row.get(self.question) is not None and row.get(self.answer) is not None


MESSAGES = Format(name="messages", list_keys=("messages",))
SHAREGPT = Format(name="sharegpt", list_keys=LISTS)
FORMATS = (
    MESSAGES,
    SHAREGPT,
    Format(name="alpaca", question="instruction", more="input", answer="output"),
    Format(name="prompt_completion", question="prompt", answer="completion"),
    Format(name="prompt_response", question="prompt", answer="response"),
    Format(name="question_answer", question="question", answer="answer"),
)
BY_NAME = {each.name: each for each in FORMATS}
_KEYS = frozenset(key for each in FORMATS for key in (*each.list_keys, each.question) if key)


def shown(row: Mapping[str, Any]) -> Format | None:
    """The format that a row shows; of several the first in FORMATS."""
    if _KEYS.isdisjoint(row):  # a file may have a million rows that show none
        return None
    return next((each for each in FORMATS if each.shown_by(row)), None)


def conversation(row: Mapping[str, Any], chosen: Format | None) -> Sequence[object] | Bad:
    """The row's messages, not judged yet: dicts with role and content if all is well. `chosen`: the file's format."""
    if chosen is None or not chosen.shown_by(row):
        other = shown(row) if chosen is not None else None
        if chosen is not None and other is not None:
            return "mixed_formats", f"the row is in the format {other.name}, the rows before it are in {chosen.name}"
        if chosen is not None and not chosen.list_keys:
            lacking = [key for key in (chosen.question, chosen.answer) if row.get(key) is None]
            return "no_messages", f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no value"
        for key in ("messages", *LISTS):
            if key in row:
                return "no_messages", f"{key} is {kind(row[key])}"
        keys = ", ".join(reprlib.repr(key)[1:-1] for key in list(row)[:10])
        return "no_messages", f"its keys are: {keys or '-'}"
    if chosen.list_keys:
        return _listed(row, chosen)
    return _asked(row, chosen)


def _listed(row: Mapping[str, Any], chosen: Format) -> Sequence[object] | Bad:
    key = next(key for key in chosen.list_keys if row.get(key) is not None)
    value = _cell(row[key])
    if not isinstance(value, list):
        return "no_messages", f"{key} is {kind(value)}"
    if chosen is MESSAGES:
        return value
    found = [_said(each) for each in value]
    system = row.get("system")
    if system not in (None, "") and not any(isinstance(each, dict) and each.get("role") == "system" for each in found):
        found.insert(0, {"role": "system", "content": system})  # as OpenChat and LLaMA-Factory have it
    return found


def _cell(value: object) -> object:
    """A list that was written as a text into a cell of a CSV file, or into a column of texts; else what it was."""
    if not isinstance(value, str):
        return value
    parsed = parse(value.encode("utf-8", "surrogatepass"))
    return parsed[0] if len(parsed) == 1 else value


def _said(turn: object) -> object:
    """A turn of ShareGPT as a message; what it lacks, the message lacks."""
    if not isinstance(turn, dict):
        return turn
    message: dict[str, Any] = {}
    speaker = next((turn[key] for key in SPEAKERS if turn.get(key) is not None), None)
    if speaker is not None:
        message["role"] = SHAREGPT_ROLES.get(speaker, speaker) if isinstance(speaker, str) else speaker
    said = next((turn[key] for key in SAYINGS if turn.get(key) is not None), None)
    if said is not None or any(key in turn for key in SAYINGS):
        message["content"] = said
    return message | {key: turn[key] for key in ("tool_calls", "tool_call_id", "name", "function_call") if key in turn}


def _asked(row: Mapping[str, Any], chosen: Format) -> Sequence[object]:
    question, answer = row[chosen.question], row[chosen.answer]
    both = isinstance(question, list) and isinstance(answer, list)
    if both and not chosen.more:  # both sides as messages, as TRL has it; Alpaca's are texts
        return [*question, *answer]
    system, history = row.get("system"), row.get("history")
    found: list[object] = []
    if system not in (None, ""):
        found.append({"role": "system", "content": system})
    if chosen.more:
        more = row.get(chosen.more)
        if more not in (None, "") and isinstance(question, str):
            question = f"{question}\n\n{more}" if question and isinstance(more, str) else more
        pairs = [] if history in (None, "") else _cell(history)
        for pair in pairs if isinstance(pairs, list) else [pairs]:  # what is no pair is judged as a message
            if isinstance(pair, list) and len(pair) == 2:
                found += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
            else:
                found.append(pair)
    return [*found, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]
