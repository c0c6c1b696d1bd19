"""The exact judgement of one conversation, whatever format it came in (`formats`).

Most rows never come here: `checker` lets the plainly good ones of a file pass, and what it is not sure of is judged
here, slowly and in full. What is broken is told by the ids of `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.dataset.judging.calls import calls_of, kind
from shared.dataset.judging.content import not_text, text_of_parts
from shared.dataset.judging.keys import Found
from shared.dataset.judging.parsing import Bad, parse
from shared.dataset.judging.roles import ROLES, USUAL, judge_roles, usual_roles
from shared.dataset.safety.search import in_short


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules must know of the base model: its context in tokens (None: unknown), and whether its chat template
    takes tool turns."""

    context: int | None = None
    tools: bool = False


class Message(msgspec.Struct, gc=False):
    """A message as it is written: `content` is text, or its canonical JSON."""

    role: str
    content: Any


class ToolMessage(msgspec.Struct, gc=False, omit_defaults=True):
    """A message of a conversation with tools."""

    role: str
    content: str | None
    tool_calls: Any = msgspec.UNSET
    tool_call_id: Any = msgspec.UNSET
    name: Any = msgspec.UNSET


class Conversation(msgspec.Struct, gc=False):
    """A row as it is written."""

    messages: Sequence[Any]


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def judge(
    messages: Sequence[object], facts: Facts, notes: list[Found] | None = None
) -> list[Message | ToolMessage] | Bad:
    """The messages, fit to be written, or the first rule they break. Each should be a dict with role and content.

    What is not written of them is added to `notes`.
    """
    if not messages:
        return "empty_messages", "there are no messages"
    notes = [] if notes is None else notes
    found: list[Message | ToolMessage] = []
    for at, message in enumerate(messages, 1):
        if at == 1 and len(messages) > 1 and _blank_system(message):
            notes.append(BLANK_SYSTEM)
            continue
        good = _message(at, message, facts, notes)
        if isinstance(good, tuple):
            return good
        found.append(good)
    roles = tuple(message.role for message in found)
    return (usual_roles if len(roles) <= USUAL else judge_roles)(roles) or found


BLANK_SYSTEM: Found = ("rule", "blank_system", True, "")
"""What is noted of a conversation whose system message is blank."""


def _blank_system(message: object) -> bool:
    if not isinstance(message, dict) or message.get("role") != "system" or message.get("tool_calls"):
        return False
    content = message.get("content")
    return content is None or content == [] or (isinstance(content, str) and (not content or content.isspace()))


def _message(at: int, message: object, facts: Facts, notes: list[Found]) -> Message | ToolMessage | Bad:
    if not isinstance(message, dict):
        return "message_not_object", f"message {at} is {kind(message)}"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        said = in_short(message["role"]) if "role" in message else "missing"
        named = _NAMES.get(role.strip().lower(), "") if isinstance(role, str) else ""
        hint = f", which is called {named} in messages" if named else ""
        return "unknown_role", f"the role of message {at} is {said}{hint}"
    if isinstance(content, list) and content:
        content = text_of_parts(content, notes, role)
        if isinstance(content, tuple):
            return content[0], f"message {at} ({role}) {content[1]}"
    calls = message.get("tool_calls")
    if old := message.get("function_call"):
        if calls:
            notes.append(("message", "function_call", old, role))
        else:  # as it was written before there were several
            calls = [{"type": "function", "function": old}]
            message = message | {"tool_calls": calls}
    if role == "tool" or calls:
        if not facts.tools:
            what = "is a tool's" if role == "tool" else "calls a tool"
            return "tool_turn", f"message {at} {what}, which the base model's chat template has no form for"
        if calls and role != "assistant":
            return "tool_turn", f"message {at} ({role}) calls a tool, which only the assistant does"
        if isinstance(content, str) or (content is None and calls):
            if content and _CONTROL.search(content):
                return _control(at, content)
            return _tool_message(at, role, content, message)
    if not isinstance(content, str | None):
        if content == []:
            return "blank_content", f"the content of message {at} ({role}) is an empty list"
        return not_text(f"the content of message {at} ({role})", content)
    if content is None:
        what = kind(content) if "content" in message else "missing"
        return "blank_content", f"the content of message {at} ({role}) is {what}"
    if not content or content.isspace():
        return "blank_content", f"the content of message {at} ({role}) is blank"
    if _CONTROL.search(content):
        return _control(at, content)
    notes += [("message", key, message[key], role) for key in ("tool_call_id", "name") if message.get(key)]
    return Message(role, content)


def _tool_message(at: int, role: str, content: str | None, message: Mapping[str, Any]) -> ToolMessage | Bad:
    """A message with calls, or of a tool: what goes with its content is of one type in all rows."""
    more: dict[str, Any] = {key: message[key] for key in ("tool_call_id", "name") if message.get(key) is not None}
    for key, value in more.items():
        if not isinstance(value, str):
            return "tool_call", f"the {key} of message {at} is {kind(value)}"
    if calls := message.get("tool_calls"):
        found = calls_of(_from_text(calls))
        if isinstance(found, str):
            return "tool_call", f"message {at}: {found}"
        more["tool_calls"] = found
    return ToolMessage(role, content, **more)


def _from_text(value: object) -> object:
    """A list that was written as a JSON text, as columns of texts have it; else what it was."""
    parsed = parse(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else (value,)
    return parsed[0] if len(parsed) == 1 else value


_NAMES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
"""Other formats' names for roles."""


def _control(at: int, content: str) -> Bad:
    found = _CONTROL.search(content)
    where = found.start() if found else 0
    return "control_character", f"message {at} has U+{ord(content[where]):04X} at character {where + 1}"


def has_control(text: str) -> bool:
    """Whether the text has a control character."""
    return _CONTROL.search(text) is not None
