"""The chat formats that datasets come in, and how each becomes a list of messages.

A file has one format: that of its first row that shows one. A format is shown by its keys, whatever they hold; a key
whose value is null (in CSV: an empty cell) counts as not there. What a row or a turn has beyond the keys of its format
is handed on as `notes`, for `keys` to judge. Called by `checker`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.dataset.judging.content import not_text, text_of_parts
from shared.dataset.judging.keys import Found, empty, plain
from shared.dataset.judging.rules import ROLES, Bad, kind, parse
from shared.dataset.safety.search import in_short

# ShareGPT's names for who speaks, as the sets that are around spell them. Capital letters count as small ones.
SHAREGPT_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
# Those of `messages`, as OpenAI and Cohere have them.
MESSAGE_ROLES: Mapping[str, str] = {
    **{role: role for role in ROLES},
    "developer": "system",
    "chatbot": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "function": "tool",
}
CALL = "function_call"
"""LLaMA-Factory's name for who calls a tool; OpenAI's old key for the call."""
LISTS = ("conversations", "conversation")
SPEAKERS = ("from", "role")
SAYINGS = ("value", "content", "text")
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction")
CONTEXT, HISTORY = "context", "history"
QUESTIONS = ("instruction", "prompt", "question", "query", "input", "user")
ANSWERS = ("output", "completion", "response", "answer", "assistant")
_TOOL_KEYS = ("tool_calls", "tool_call_id", "name", CALL)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A chat format. `list_keys`: where its list of messages is; or `question` and `answer`: keys of two texts, and of
    those that go with the question in `more`, in their order, the question among them."""

    name: str
    list_keys: tuple[str, ...] = ()
    question: str = ""
    answer: str = ""
    more: tuple[str, ...] = ()

    def shown_by(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has the format's keys."""
        if self.list_keys:
            return any(row.get(key) is not None for key in self.list_keys)
        return row.get(self.question) is not None and row.get(self.answer) is not None

    @property
    def reads(self) -> tuple[str, ...]:
        """All keys of a row that it reads, if they are there."""
        if self.list_keys:
            return (*self.list_keys, *SYSTEMS)
        return (*self.more, self.answer, *SYSTEMS, HISTORY)


def _pair(question: str, answer: str) -> Format:
    """A format of two texts."""
    names = {
        ("instruction", "output"): "alpaca",
        ("instruction", "response"): "dolly",
        ("question", "response"): "openorca",
    }
    # What is to be done comes before what to do it with, what a question is about comes before the question.
    more = (question, "input", CONTEXT) if question == "instruction" else (CONTEXT, question)
    name = names.get((question, answer), f"{question}_{answer}")
    return Format(name=name, question=question, answer=answer, more=more)


MESSAGES = Format(name="messages", list_keys=("messages",))
SHAREGPT = Format(name="sharegpt", list_keys=LISTS)
_FIRST = (("instruction", "output"), ("prompt", "completion"), ("prompt", "response"), ("question", "answer"))
_PAIRS = dict.fromkeys((*_FIRST, *itertools.product(QUESTIONS, ANSWERS)))
FORMATS = (MESSAGES, SHAREGPT, *(_pair(question, answer) for question, answer in _PAIRS))
BY_NAME = {each.name: each for each in FORMATS}
_PYTHONS = re.compile(r"\s*\[\s*\{'")
_PYTHONS_MESSAGES = re.compile(r"\[\{'(?:role|content)'")
LIST = "[{"
"""How a question and its answer begin that are lists of messages, written as texts."""
_KEYS = frozenset(key for each in FORMATS for key in (*each.list_keys, each.question) if key)
READ = frozenset(key for each in FORMATS for key in each.reads)
"""Every key that some format reads, as it is spelled there."""
_SPELLED = {plain(key): key for key in READ}


def spelled(key: str) -> str:
    """A key as formats spell it: `Question` is question, `System Prompt` is system_prompt. Others stay as they are."""
    return key if key in READ or len(key) > 40 else _SPELLED.get(plain(key), key)


def shown(row: Mapping[str, Any]) -> Format | None:
    """The format that a row shows; of several the first in FORMATS."""
    if _KEYS.isdisjoint(row):  # a file may have a million rows that show none
        return None
    return next((each for each in FORMATS if each.shown_by(row)), None)


def conversation(
    row: Mapping[str, Any],
    chosen: Format | None,
    notes: list[Found] | None = None,
    own: Mapping[str, str] | None = None,
) -> Sequence[object] | Bad:
    """The row's messages, not judged yet: dicts with role and content if all is well. `chosen`: the file's format.

    What of a turn is not read is added to `notes`. `own`: what the file calls keys, of those that it calls otherwise.
    """
    own = own or {}
    if chosen is None or not chosen.shown_by(row):
        return _not_shown(row, chosen, own)
    notes = [] if notes is None else notes
    if chosen.list_keys:
        found = _listed(row, chosen, notes, own)
        return found if isinstance(found, tuple) else _answered(row, found)
    return _asked(row, chosen, notes, own)


# Rows of no format ----------------------------------------------------------------------------------------------------

_OTHER_KINDS: Sequence[tuple[str, str, tuple[tuple[str, ...], ...]]] = (
    (
        "preference data (DPO, KTO)",
        "",  # see _kept
        (
            ("chosen", "rejected"),
            ("preferred_output", "non_preferred_output"),
            ("chosen",),
            ("response_j", "response_k"),
            ("response_0", "response_1"),
            ("chosen_messages", "rejected_messages"),
        ),
    ),
    (
        "pairs or triplets for embeddings",
        "Train an embedding model on it elsewhere",
        (
            ("anchor", "positive"),
            ("query", "positive"),
            ("query", "pos"),
            ("query", "passage"),
            ("sentence1", "sentence2"),
            ("premise", "hypothesis"),
            ("embedding",),
        ),
    ),
    (
        "texts with labels, for a classifier",
        "Write the label as the answer: map: {prompt: text, response: label}, labels as texts",
        (("text", "label"), ("sentence", "label"), ("text", "labels")),
    ),
    (
        "plain text, as for pretraining",
        "Write conversations: each row with a question and the answer to learn",
        (("text",),),
    ),
    (
        "images or sound with texts",
        "Images and sound are not learned from: write what is to be learned as text",
        (("image",), ("images",), ("audio",)),
    ),
)


def other_kind(row: Mapping[str, Any], own: Mapping[str, str]) -> tuple[str, str] | None:
    """What else than a conversation a row without one is, and what can be done; None where it can't be told."""
    names = {own.get(key, key).lower(): key for key, value in row.items() if len(key) < 40 and value is not None}
    for what, cure, shapes in _OTHER_KINDS:
        if shape := next((each for each in shapes if names.keys() >= set(each)), None):
            return what, cure or _kept(row, [names[key] for key in shape], own)
    return None


def _kept(row: Mapping[str, Any], answers: Sequence[str], own: Mapping[str, str]) -> str:
    """What to do with preference data. `answers`: the keys of the answers, the good one first."""
    good, *bad = (own.get(key, key) for key in answers)
    value, others = row[answers[0]], f", and ignore: [{bad[0]}]" if bad else ""
    if isinstance(row.get("input"), dict):
        said = f"put the messages of input, and then those of {good}, into one list, messages"
    elif _messages(value) and value[0]["role"] != "assistant":
        said = f"rename {good} to messages, or say map: {{messages: {good}}}{others}"
    elif all(row.get(key) is None for key in QUESTIONS):
        said = f"write the turns in {good} as messages, each with its role and content"
    else:
        said = f"rename {good} to response, or say map: {{response: {good}}}{others}"
    return f"Keep the answer to be learned: {said}"


def _export(row: Mapping[str, Any]) -> str:
    """What to do with a row that is a piece of what programs write of conversations; empty if it is none."""
    if isinstance(row.get("role"), str) and (row.keys() & {"content", "text"}):
        return "each row is one message: put the rows of a conversation together into one row, as its messages"
    if isinstance(row.get("mapping"), dict) and row.keys() & {"create_time", "title"}:
        return "it is a conversation of ChatGPT's export: write the messages in mapping, in their order, as a list"
    return ""


def _not_shown(row: Mapping[str, Any], chosen: Format | None, own: Mapping[str, str]) -> Bad:
    other = shown(row) if chosen is not None else None
    if chosen is not None and other is not None:
        return "mixed_formats", f"the row is in the format {other.name}, the rows before it are in {chosen.name}"
    if chosen is not None and not chosen.list_keys:
        return _lacks(row, chosen, own)
    for key in ("messages", *LISTS):
        if key in row:
            return "no_messages", f"{own.get(key, key)} is {kind(row[key])}"
    if said := _export(row):
        return "no_messages", said
    if found := other_kind(row, own):
        what, cure = found
        return ("other_kind" if chosen is None else "no_messages"), f"it is {what}, not a conversation. {cure}"
    for key, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], dict) and shown(value[0]):
            what = f"it is {len(value):,} rows in one, in the key {in_short(key)[1:-1]}, not a conversation"
            return ("other_kind" if chosen is None else "no_messages"), f"{what}. Write each on a line of its own"
    pairs = (each for each in FORMATS if not each.list_keys and each.question in row and each.answer in row)
    if pair := next(pairs, None):
        return _lacks(row, pair, own)
    keys = ", ".join(in_short(own.get(key, key))[1:-1] for key in list(row)[:10])
    return "no_messages", f"its keys are: {keys or '-'}"


def _lacks(row: Mapping[str, Any], chosen: Format, own: Mapping[str, str]) -> Bad:
    """That a question or its answer is not there, or both."""
    pair = chosen.question, chosen.answer
    lacking = [key for key in pair if row.get(key) is None]
    many = len(lacking) > 1
    told = f"{' and '.join(own.get(key, key) for key in lacking)} {'have' if many else 'has'} no value"
    if row.keys().isdisjoint(pair):
        return "no_messages", told
    return "blank_content", f"{told}: fill {'them' if many else 'it'} in, or remove the row"


# Lists of messages ----------------------------------------------------------------------------------------------------


def _listed(
    row: Mapping[str, Any], chosen: Format, notes: list[Found], own: Mapping[str, str]
) -> Sequence[object] | Bad:
    key = next(key for key in chosen.list_keys if row.get(key) is not None)
    name = own.get(key, key)
    notes += [("row", each, row[each], "") for each in chosen.list_keys if each != key and each in row]
    value = _rows_of(_cell(row[key]))
    if not isinstance(value, list):
        if isinstance(value, str) and _PYTHONS.match(value):
            said = f"{name} is a list in Python's form ({value[:12]}...), not JSON"
            return "no_messages", f"{said}: write it with json.dumps"
        return "no_messages", f"{name} is {kind(value)}"
    found = [_turn(each, chosen, notes) for each in value]
    if chosen is MESSAGES and (half := _half_converted(value)):
        return half
    return _with_system(found, row, notes, own)


def _answered(row: Mapping[str, Any], messages: Sequence[object]) -> Sequence[object] | Bad:
    """The messages, unless their answers stand beside them, a good one and a bad one."""
    last = messages[-1] if messages else None
    if isinstance(last, dict) and last.get("role") != "assistant" and row.get("chosen") and row.get("rejected"):
        what = f"it is {_OTHER_KINDS[0][0]}: its answers stand beside the conversation"
        return "other_kind", f"{what}. Put the answer to be learned, chosen, at the conversation's end"
    return messages


def _half_converted(value: Sequence[object]) -> Bad | None:
    """What is wrong with `messages` that are written as ShareGPT's conversations."""
    for at, turn in enumerate(value, 1):
        if isinstance(turn, dict) and turn.get("role") is None and turn.get("from") is not None:
            hint = 'rename the list to "conversations", or write role and content'
            return "unknown_role", f"message {at} has from and value, which are ShareGPT's keys: {hint}"
    return None


def _cell(value: object) -> object:
    """A list that was written as a text into a cell of a CSV file, or into a column of texts; else what it was."""
    if not isinstance(value, str):
        return value
    parsed = parse(value.encode("utf-8", "surrogatepass"))
    return parsed[0] if len(parsed) == 1 else value


def _rows_of(value: object) -> object:
    """A list of objects, of an object of lists (as `datasets` stores a Sequence of them); else what it was."""
    if not isinstance(value, dict) or not value or not all(isinstance(each, list) for each in value.values()):
        return value
    lengths = {len(each) for each in value.values()}
    if len(lengths) > 1 or not ({"role", "from"} & value.keys()):
        return value
    return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]


_SPEAKER = frozenset(("role", "content"))
_USUAL = tuple(ROLES)  # a role may be of any type, also of one that no set takes


def _turn(turn: object, chosen: Format, notes: list[Found]) -> object:
    """A turn as a message; what it lacks, the message lacks, and what else it has is noted."""
    if not isinstance(turn, dict):
        return turn
    if chosen is not SHAREGPT and _SPEAKER.issuperset(turn) and turn.get("role") in _USUAL:
        return turn
    speakers, sayings = (SPEAKERS, SAYINGS) if chosen is SHAREGPT else (SPEAKERS[1:], SAYINGS[1:2])
    names = SHAREGPT_ROLES if chosen is SHAREGPT else MESSAGE_ROLES
    speaker = next((key for key in speakers if turn.get(key) is not None), None)
    saying = next((key for key in sayings if turn.get(key) is not None), None)
    message: dict[str, Any] = {}
    if speaker is not None:
        message["role"] = role_of(turn[speaker], names)
    if saying is not None or any(key in turn for key in sayings):
        message["content"] = None if saying is None else turn[saying]
    for key, value in turn.items():
        if key in (speaker, saying):
            continue
        if key in _TOOL_KEYS:
            message[key] = value
        elif not empty(value):
            role = message.get("role")
            if key not in speakers or role_of(value, names) != role:
                notes.append(("message", key, value, role if isinstance(role, str) else ""))
    if message.get("role") == CALL and chosen is SHAREGPT:
        calls = _cell(message.pop("content", None))
        message |= {"role": "assistant", "content": None, "tool_calls": [calls] if isinstance(calls, dict) else calls}
    return message


def role_of(value: object, names: Mapping[str, str]) -> object:
    """A role as it is written; one that is not known stays as it is."""
    if not isinstance(value, str) or len(value) > 40:
        return value
    return names.get(value) or names.get(value.strip().lower(), value)


# System texts ---------------------------------------------------------------------------------------------------------


def _with_system(
    messages: list[Any], row: Mapping[str, Any], notes: list[Found], own: Mapping[str, str]
) -> Sequence[object] | Bad:
    """The messages, with the system texts that stand beside them in the row, wherever."""
    texts: list[str] = []
    for key in SYSTEMS:
        value = row.get(key)
        if empty(value):
            continue
        if isinstance(value, list):
            value = text_of_parts(value, notes, "system")
        if isinstance(value, tuple) or not isinstance(value, str | None):
            return not_text(own.get(key, key), row[key])
        if value and not value.isspace() and value not in texts:
            texts.append(value)
    if not texts or not messages:
        return messages
    first = messages[0]
    if not isinstance(first, dict) or first.get("role") != "system":
        return [{"role": "system", "content": "\n\n".join(texts)}, *messages]
    said = first.get("content")
    if isinstance(said, list):
        said = text_of_parts(said, notes, "system")
    if isinstance(said, tuple) or not isinstance(said, str | None):
        return messages  # and is told to be no text
    if said and not said.isspace() and said not in texts:
        texts.append(said)
    return [first | {"content": "\n\n".join(texts)}, *messages[1:]]


# Questions and answers ------------------------------------------------------------------------------------------------


def _asked(
    row: Mapping[str, Any], chosen: Format, notes: list[Found], own: Mapping[str, str]
) -> Sequence[object] | Bad:
    question, answer = row[chosen.question], row[chosen.answer]
    asked, answered = own.get(chosen.question, chosen.question), own.get(chosen.answer, chosen.answer)
    if isinstance(question, str) and isinstance(answer, str) and question[:2] == answer[:2] == LIST:
        if _PYTHONS_MESSAGES.match(question) and _PYTHONS_MESSAGES.match(answer):
            said = f"{asked} and {answered} are lists in Python's form ({question[:12]}...), not JSON"
            return "no_messages", f"{said}: write them with json.dumps"
        listed = _cell(question), _cell(answer)
        if all(map(_messages, listed)):
            question, answer = listed
    found: list[object] = []
    for at, turn in enumerate(_history(row.get(HISTORY)), 1):
        if isinstance(turn, list) and len(turn) == 2:
            found += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
        elif wrong := _no_turn(turn):
            return wrong[0], f"turn {at} of {own.get(HISTORY, HISTORY)} {wrong[1]}: {_FORMS}"
        else:
            found.append(_turn(turn, MESSAGES, notes))
    beside = [key for key in chosen.more if key != chosen.question and not empty(row.get(key))]
    if _messages(question):  # as TRL has it
        if beside:
            named = own.get(beside[0], beside[0])
            return "not_text", f"{asked} is a list of messages, in which {named} has no place"
        found += [_turn(each, MESSAGES, notes) for each in question]
    else:
        texts = []
        for key in chosen.more:
            text = _joined(row[key], notes) if key in (*beside, chosen.question) else ""
            if not isinstance(text, str):
                return not_text(own.get(key, key), row[key])
            texts.append(text)
        found.append({"role": "user", "content": "\n\n".join(text for text in texts if text)})
    if _messages(answer):
        found += [_turn(each, MESSAGES, notes) for each in answer]
    elif isinstance(answer, str):
        found.append({"role": "assistant", "content": answer})
    else:
        return not_text(answered, answer)
    return _with_system(found, row, notes, own)


def _messages(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "role" in each for each in value)


def _joined(value: object, notes: list[Found]) -> object:
    """A text, or texts in a list (passages, parts), as one; else what it was."""
    if not isinstance(value, list) or not value:
        return value
    if all(isinstance(each, str) for each in value):
        return "\n\n".join(each for each in value if each)
    text = text_of_parts(value, notes, "user")
    return value if isinstance(text, tuple) else text


_FORMS = 'write the turns as pairs, [[question, answer], ...], or as messages, [{"role": ..., "content": ...}, ...]'


def _no_turn(turn: object) -> Bad | None:
    """Why what is no pair is no message either."""
    if not isinstance(turn, dict):
        return "message_not_object", f"is {f'a list of {len(turn)}' if isinstance(turn, list) else kind(turn)}"
    lacking = [key for key in ("role", "content") if turn.get(key) is None]
    if not lacking or (turn.get("tool_calls") or turn.get(CALL)):
        return None
    return (
        "unknown_role" if "role" in lacking else "blank_content",
        f"has {' and '.join(f'no {key}' for key in lacking)}",
    )


def _history(value: object) -> Iterator[object]:
    if empty(value):
        return
    turns = _rows_of(_cell(value))
    yield from turns if isinstance(turns, list) else [turns]
