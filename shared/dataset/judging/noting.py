"""Finds and counts what good rows have beside what is learned of them: keys that are not read, and the like.

A row is looked at as an object (`beside`), or in the shape that it fits (`looked`): both find the same. Called by
`checker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from shared.dataset.judging.block import QUOTE, UNUSUAL_ESCAPE
from shared.dataset.judging.formats import Format
from shared.dataset.judging.judge import Message, ToolMessage
from shared.dataset.judging.keys import Found, Note, Noted, example, note_of, rule_of
from shared.dataset.judging.parsing import parse
from shared.dataset.judging.plans import Plan
from shared.dataset.judging.roles import assistant_first
from shared.dataset.judging.shapes import NOTHING, Shape

ASSISTANT_FIRST: Found = ("rule", "assistant_first", True, "")
_SHORT = 16  # characters of a number that everybody reads alike

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_text = msgspec.json.Decoder(str).decode


def note(
    notes: dict[Note, Noted],
    found: Sequence[Found],
    ignored: frozenset[str],
    where: Callable[[], Mapping[str, Any]],
) -> None:
    """Counts what was found of a row: once, however many of its messages have it. `where`: see Noted."""
    seen = set()
    for each in found:
        rule = rule_of(each, ignored)
        if not rule:
            continue
        place, key, value, _ = each
        of_it = note_of(rule, place, key)
        if of_it in seen:
            continue
        seen.add(of_it)
        if known := notes.get(of_it):
            known.rows += 1
        else:
            notes[of_it] = Noted(1, where(), "" if place == "rule" else example(key, value))


def beside(
    row: Mapping[str, Any],
    plan: Plan,
    chosen: Format,
    messages: Sequence[Message | ToolMessage],
    roles: tuple[str, ...],
) -> list[Found]:
    """What a good row has beside its messages: keys that are not read, but for texts that a message has, too."""
    found: list[Found] = []
    for key in plan.unread(chosen):
        value = row[key]
        if value is None or value == "":
            continue
        if type(value) is str:
            for message in messages:  # no call of any(): it would cost a row more than all else that is done here
                if message.content == value:
                    break
            else:
                found.append(("row", key, value, ""))
        else:
            found.append(("row", key, value, ""))
    if roles[0] != "user" and assistant_first(roles):
        found.append(ASSISTANT_FIRST)
    return found


def looked(row: Any, shape: Shape, messages: Sequence[Any], roles: tuple[str, ...]) -> list[Found]:
    """The same of a row in a shape."""
    found: list[Found] = [ASSISTANT_FIRST] if roles[0] != "user" and assistant_first(roles) else []
    for name, key in shape.unread:
        value = getattr(row, name)
        for message in messages:
            if message.content == value:
                break
        else:
            data = bytes(value)
            if data in NOTHING:
                continue
            if data[0] == QUOTE and UNUSUAL_ESCAPE.search(data):  # a message's is written the usual way by now
                value = msgspec.Raw(_encode(_text(data)))
                if any(message.content == value for message in messages):
                    continue
            found.append(("row", key, _value(data), ""))
    if shape.unread_a_turn:
        for turn, role in zip(row.turns, roles[len(roles) - len(row.turns) :], strict=True):
            for name, key in shape.unread_a_turn:
                data = bytes(getattr(turn, name))
                if data not in NOTHING:
                    found.append(("message", key, _value(data), role))
    return found


def _value(data: bytes) -> Any:
    """The value of good JSON, as the exact way reads it."""
    if data[0] == QUOTE or (len(data) < _SHORT and data[0] not in b"[{"):
        return _decode(data)
    return parse(data)[0]
