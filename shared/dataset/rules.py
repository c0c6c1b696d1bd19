"""Which rows of a chat dataset are good: nothing is trained on, and nothing paid for, before every bad row is named.

A JSON Lines file comes in chunks of any size and leaves row by row, either clean (canonical bytes) or as a fault that
says where, what and how to cure it. Memory is bounded by one row, whatever the file. Rows take a fast way through a
typed decoder; only a row that fails there is looked at closely. Called by `prepare`, and by the CLI's check.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

ROW_LIMIT = 8 * 1024 * 1024
EXCERPT = 160

type Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role.__value__)

# Id of each rule -> what to do about it. Ids are stable: reports, the page and people's filters use them.
RULES: Mapping[str, str] = {
    "empty_file": "Upload a file with at least one row.",
    "not_utf8": "Save the file as UTF-8.",
    "blank_line": "Remove the empty line: each line holds one row.",
    "not_json": "Write one JSON object a line, as a JSON library does, without line breaks in it.",
    "row_too_large": f"Split the conversation: a row may have {ROW_LIMIT // 1024**2} MiB.",
    "not_object": 'Write each row as an object: {"messages": [...]}.',
    "no_messages": 'Put the conversation into the key "messages", as a list.',
    "empty_messages": "Add the conversation's messages, or remove the row.",
    "message_not_object": 'Write each message as {"role": ..., "content": ...}.',
    "unknown_role": f"Use one of the roles {', '.join(ROLES)}.",
    "blank_content": "Give each message a text as its content, or remove it.",
    "no_assistant": "Add the answer to learn, as a message of the assistant, or remove the row.",
    "no_question": "Put the message that is answered before the answer, or remove the row.",
    "last_not_assistant": "End the conversation with the assistant's answer.",
    "system_not_first": "Put the system message first; there may be one.",
    "too_few_prompts": "Add rows with other first prompts, or upload validation and test files of your own.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A good row: `{"messages":[{"role":...,"content":...},...]}` in UTF-8, without a line break or other keys.

    `prompt` is the first user message's text, or the first message's if there is none from a user.
    """

    line: int
    prompt: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A bad row: 1-based line and byte offset in the file, the rule's id, what is wrong, and how the row begins."""

    part: str
    line: int
    offset: int
    rule: str
    reason: str
    excerpt: str

    @property
    def cure(self) -> str:
        """What to do about it."""
        return RULES[self.rule]


class _Message(msgspec.Struct):
    role: Role
    content: str


class _Conversation(msgspec.Struct):
    messages: list[_Message]


_decode = msgspec.json.Decoder(_Conversation).decode
_encode = msgspec.json.Encoder().encode


def check(chunks: Iterable[bytes], *, part: str = "train") -> Iterator[Row | Fault]:
    """Each row of a JSON Lines file in its order. `part` (train, validation, test) is only carried into the faults.

    A byte order mark, CRLF and empty lines at the end are fine; a stretch of empty lines elsewhere is one fault.
    """
    rows = 0
    blank: tuple[int, int] | None = None  # line and offset of a stretch of empty lines, a fault if a row follows
    for line, offset, size, data in _lines(chunks):
        if line == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        if size <= ROW_LIMIT and not data.strip():
            blank = blank or (line, offset)
            continue
        if blank:
            count = line - blank[0]
            reason = "the line is empty" if count == 1 else f"{count} lines are empty"
            yield Fault(part=part, line=blank[0], offset=blank[1], rule="blank_line", reason=reason, excerpt="")
            blank = None
        rows += 1
        verdict = _judge(line, data) if size <= ROW_LIMIT else ("row_too_large", f"the row has {size} bytes")
        if isinstance(verdict, Row):
            yield verdict
        else:
            rule, reason = verdict
            excerpt = data[: 4 * EXCERPT].decode(errors="replace")[:EXCERPT]
            yield Fault(part=part, line=line, offset=offset, rule=rule, reason=reason, excerpt=excerpt)
    if not rows:
        yield Fault(part=part, line=1, offset=0, rule="empty_file", reason="the file has no rows", excerpt="")


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, offset, size and bytes of each line, without its end; of one beyond ROW_LIMIT only the beginning."""
    line, offset, size = 1, 0, 0
    held = bytearray()
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            size += end - start
            if held:
                if size <= ROW_LIMIT:
                    held += chunk[start:end]
                yield line, offset, size, bytes(held)
                held.clear()
            else:
                yield line, offset, size, chunk[start:end]
            line, offset, size, start = line + 1, offset + size + 1, 0, end + 1
        size += len(chunk) - start
        if size <= ROW_LIMIT:
            held += chunk[start:]
        else:
            held = (held or bytearray(chunk[start : start + 4 * EXCERPT]))[: 4 * EXCERPT]
    if size:
        yield line, offset, size, bytes(held)


def _judge(line: int, data: bytes) -> Row | tuple[str, str]:
    try:
        if not data.isascii():
            data.decode()  # the typed decoder skips what it does not keep, and would let it pass there
        messages = _decode(data).messages
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        return _look_closely(data, error)
    if not messages:
        return "empty_messages", "messages is an empty list"
    for at, message in enumerate(messages, 1):
        if not message.content or message.content.isspace():
            return "blank_content", f"the content of message {at} ({message.role}) is blank"
    roles = [message.role for message in messages]
    if "assistant" not in roles:
        return "no_assistant", f"no message is the assistant's (roles: {', '.join(sorted(set(roles)))})"
    if len(roles) == 1:
        return "no_question", "the only message is the assistant's"
    if roles[-1] != "assistant":
        return "last_not_assistant", f"the last message is of the role {roles[-1]}"
    if "system" in roles[1:]:
        return "system_not_first", f"message {roles.index('system', 1) + 1} is a system message"
    prompt = next((message.content for message in messages if message.role == "user"), messages[0].content)
    return Row(line=line, prompt=prompt, data=_encode(_Conversation(messages)))


def _look_closely(data: bytes, error: Exception) -> tuple[str, str]:
    """Rule and reason for a row that the typed decoder refused with `error`."""
    if isinstance(error, UnicodeDecodeError):
        return "not_utf8", f"byte {error.start + 1} of the row is not UTF-8"
    try:
        # More lenient than the typed decoder (NaN, numbers of any length), so that the row's form is judged first.
        row = json.loads(data, parse_int=float)
    except json.JSONDecodeError as malformed:
        return "not_json", f"not JSON at character {malformed.pos + 1}: {malformed.msg}"
    except RecursionError:
        return "not_json", "nested too deeply"
    if not isinstance(row, dict):
        return "not_object", f"the row is {_kind(row)}"
    messages = row.get("messages")
    if not isinstance(messages, list):
        keys = ", ".join(reprlib.repr(key)[1:-1] for key in list(row)[:10])
        return "no_messages", f"messages is {_kind(messages)}" if "messages" in row else f"its keys are: {keys or '-'}"
    for at, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            return "message_not_object", f"message {at} is {_kind(message)}"
        if message.get("role") not in ROLES:
            role = reprlib.repr(message["role"]) if "role" in message else "missing"
            return "unknown_role", f"the role of message {at} is {role}"
        if not isinstance(message.get("content"), str):
            what = _kind(message["content"]) if "content" in message else "missing"
            return "blank_content", f"the content of message {at} ({message['role']}) is {what}"
    return "not_json", f"not JSON: {error}"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", float: "a number"}
    return names.get(type(value), "null")
