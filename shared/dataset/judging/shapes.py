"""Decoders made for rows like one that was seen: a file's rows nearly all have the same keys.

Such a decoder takes objects with just these keys, each of them at least once, and leaves texts as the bytes they are:
they are written as they were read, and no strings are made of them. It judges nothing: it is made of a row that `rules`
found good, a row that fits it is good only if the looks say so too (see `block`), and one that doesn't is judged by
`rules`. Called by `checker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Any

import msgspec

from shared.dataset.judging.formats import (
    HISTORY,
    LIST,
    MESSAGE_ROLES,
    MESSAGES,
    SAYINGS,
    SHAREGPT_ROLES,
    SPEAKERS,
    SYSTEMS,
    Format,
)
from shared.dataset.judging.keys import known
from shared.dataset.judging.plans import Plan
from shared.dataset.judging.roles import ROLES
from shared.dataset.judging.rules import Message

_CALLS = frozenset(("tool_calls", "function_call"))
NOTHING = frozenset((b"null", b'""', b"[]", b"{}"))
"""Values that hold nothing, as they are mostly written."""

_LISTED = (f'"{LIST}'.encode(), b'"\\u', b'"[\\')

type Names = tuple[tuple[str, str], ...]
"""Keys that are not read: the field of a decoded row or turn, and the key."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder for rows with just these keys. `keys` of the row itself and `keys_a_turn` are how many there are;
    `lists`: how many of the row's values are the list of messages. `turns` may raise LookupError or ValueError.
    `unread` and `unread_a_turn`: those of the row's and a turn's keys that are not read. `whole`: all are."""

    type: type
    decode: Callable[[bytes], Any]
    decode_lines: Callable[[bytes], list[Any]]
    turns: Callable[[Any], Sequence[Any]]
    keys: int
    keys_a_turn: int
    lists: int
    unread: Names
    unread_a_turn: Names
    whole: bool


def keys_of(row: dict[str, Any], plan: Plan, chosen: Format) -> tuple[frozenset[str], ...]:
    """The keys of a good row and of its first message: rows that share them share a decoder."""
    turns = next((row[key] for key, name in plan.names.items() if name in chosen.list_keys), ())
    first = turns[0] if isinstance(turns, list) and turns else None
    return (frozenset(row), *((frozenset(first),) if isinstance(first, dict) else ()))


def shape_of(row: dict[str, Any], plan: Plan, chosen: Format) -> Shape | None:
    """A decoder for rows like this good one; None where none would be exact."""
    keys = [key for each in keys_of(row, plan, chosen) for key in each]
    if any(not key.isprintable() or '"' in key or "\\" in key for key in keys):
        return None
    fields = {name: key for key, name in plan.names.items() if name in chosen.reads}
    systems = [fields[name] for name in SYSTEMS if name in fields]
    if len(systems) > 1:
        return None
    made = _of_turns(row, fields, chosen) if chosen.list_keys else _of_texts(fields, chosen)
    if made is None:
        return None
    named, to_messages, turn, unread_a_turn, whole = made
    if systems:
        named[systems[0]] = ("system", msgspec.Raw)
        to_messages = partial(_with_system, turns=to_messages)
    type_, names = _struct(list(row), named)
    decoder = msgspec.json.Decoder(type_)
    unread = plan.unread(chosen)
    return Shape(
        type=type_,
        decode=decoder.decode,
        decode_lines=decoder.decode_lines,
        turns=to_messages,
        keys=len(row),
        keys_a_turn=turn,
        lists=1 if turn else 0,
        unread=tuple((name, key) for key, name in names.items() if key in unread),
        unread_a_turn=unread_a_turn,
        whole=whole and len(named) == len(row),
    )


type _Made = tuple[dict[str, tuple[str, Any]], Callable[[Any], Sequence[Any]], int, Names, bool]


def _of_turns(row: dict[str, Any], fields: Mapping[str, str], chosen: Format) -> _Made | None:
    there = [fields[name] for name in chosen.list_keys if name in fields]
    turns = row[there[0]] if len(there) == 1 else None
    if not isinstance(turns, list):
        return None
    # Turns that need no change are written as they were read: as a message, the role first.
    keys = sorted(turns[0], key=lambda key: key == "content")
    speakers = [key for key in (("role",) if chosen is MESSAGES else SPEAKERS) if key in keys]
    sayings = [key for key in (("content",) if chosen is MESSAGES else SAYINGS) if key in keys]
    if len(speakers) != 1 or len(sayings) != 1 or not _CALLS.isdisjoint(keys):
        return None
    turn, names = _struct(keys, {speakers[0]: ("role", str), sayings[0]: ("content", msgspec.Raw)})
    unread = tuple((name, key) for key, name in names.items() if name[:5] == "other" and not known("message", key)[0])
    to_messages: Callable[[Any], Sequence[Any]]
    usual = all(each.get(speakers[0]) in ROLES for each in turns if isinstance(each, dict))
    if chosen is MESSAGES and len(keys) == 2 and usual:
        to_messages = attrgetter("turns")
    else:
        to_messages = partial(_from_turns, names=_spelled(MESSAGE_ROLES if chosen is MESSAGES else SHAREGPT_ROLES))
    whole = len(keys) == len(speakers + sayings)
    return {there[0]: ("turns", list[turn])}, to_messages, len(keys), unread, whole  # type: ignore[valid-type]


@cache
def _spelled_of(names: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return {spelled: role for name, role in names for spelled in (name, name.capitalize(), name.upper())}


def _spelled(names: Mapping[str, str]) -> Mapping[str, str]:
    """Roles as they are mostly spelled; others are looked at one by one."""
    return _spelled_of(tuple(names.items()))


def _of_texts(fields: Mapping[str, str], chosen: Format) -> _Made | None:
    named: dict[str, tuple[str, Any]] = {fields[chosen.answer]: ("answer", msgspec.Raw)}
    named |= {fields[name]: (f"text_{name}", msgspec.Raw) for name in chosen.more if name in fields}
    at = chosen.more.index(chosen.question)
    ahead, behind = (
        tuple(f"text_{name}" for name in names if name in fields) for names in (chosen.more[:at], chosen.more[at + 1 :])
    )
    if HISTORY in fields:
        named[fields[HISTORY]] = ("history", msgspec.Raw)
    to_messages = partial(
        _from_texts, question=f"text_{chosen.question}", ahead=ahead, behind=behind, history=HISTORY in fields
    )
    return named, to_messages, 0, (), True


def _struct(keys: list[str], fields: dict[str, tuple[str, Any]]) -> tuple[Any, dict[str, str]]:
    """A struct with just these keys, and the fields of each; those not in `fields` are skipped over."""
    chosen = [fields.get(key, (f"other{at}", msgspec.Raw)) for at, key in enumerate(keys)]
    rename = {name: key for key, (name, _) in zip(keys, chosen, strict=True)}
    made = msgspec.defstruct("Row", chosen, rename=rename, forbid_unknown_fields=True, gc=False)
    return made, {key: name for name, key in rename.items()}


def _from_turns(row: Any, names: Mapping[str, str]) -> list[Message]:
    return [Message(names[turn.role], turn.content) for turn in row.turns]


def _with_system(row: Any, turns: Callable[[Any], Sequence[Any]]) -> Sequence[Any]:
    messages = turns(row)
    system = bytes(row.system)
    if system in NOTHING:
        return messages
    if system[:1] != b'"' or not messages or messages[0].role == "system":
        raise ValueError("what is no text, and a second system text, are judged the slow way")
    return [Message("system", row.system), *messages]


def _from_texts(
    row: Any, question: str, ahead: tuple[str, ...], behind: tuple[str, ...], history: bool
) -> list[Message]:
    if history and bytes(row.history) not in NOTHING:
        raise ValueError("a history is judged the slow way")
    if bytes(row.answer)[:3] in _LISTED:
        raise ValueError("what may be a list, written as a text, is judged the slow way")
    asked = getattr(row, question)
    before, after = _texts(row, ahead), _texts(row, behind)
    if before or after:
        texts = [each for each in (*before, bytes(asked), *after) if each != b'""']
        if any(each[:1] != b'"' for each in texts):
            raise ValueError("no texts")
        asked = msgspec.Raw(b'"' + b"\\n\\n".join([each[1:-1] for each in texts]) + b'"')
    return [Message("user", asked), Message("assistant", row.answer)]


def _texts(row: Any, names: tuple[str, ...]) -> list[bytes]:
    return [text for name in names if (text := bytes(getattr(row, name))) not in NOTHING]
