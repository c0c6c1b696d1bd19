"""Decoders made for rows like one that was seen: a file's rows nearly all have the same keys.

Such a decoder takes objects with just these keys, each of them at least once, and leaves texts as the bytes they are:
they are written as they were read, and no strings are made of them. It judges nothing: it is made of a row that `rules`
found good, a row that fits it is good only if the looks say so too (see `block`), and one that doesn't is judged by
`rules`. Called by `checker`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

from shared.dataset.judging.formats import MESSAGES, SAYINGS, SHAREGPT, SHAREGPT_ROLES, SPEAKERS, Format
from shared.dataset.judging.rules import ROLES, Message

_CALLS = frozenset(("tool_calls", "function_call"))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder for rows with just these keys. `keys` of the row itself and `keys_a_turn` are how many there are;
    `lists`: how many of the row's values are the list of messages. `turns` may raise LookupError or ValueError."""

    type: type
    decode: Callable[[bytes], Any]
    decode_lines: Callable[[bytes], list[Any]]
    turns: Callable[[Any], Sequence[Any]]
    keys: int
    keys_a_turn: int
    lists: int


def keys_of(row: dict[str, Any], chosen: Format) -> tuple[frozenset[str], ...]:
    """The keys of a good row and of its first message: rows that share them share a decoder."""
    turns = next((row[key] for key in chosen.list_keys if isinstance(row.get(key), list)), ())
    return (frozenset(row), *(frozenset(turn) for turn in turns[:1]))


def _names(row: dict[str, Any], chosen: Format) -> Iterator[str]:
    for keys in keys_of(row, chosen):
        yield from keys


def shape_of(row: dict[str, Any], chosen: Format) -> Shape | None:
    """A decoder for rows like this good one; None where none would be exact."""
    if any(not key.isprintable() or '"' in key or "\\" in key for key in _names(row, chosen)):
        return None
    if chosen is SHAREGPT and "system" in row:
        return None
    if chosen.list_keys:
        there = [key for key in chosen.list_keys if key in row]
        turns = row[there[0]] if len(there) == 1 else None
        if not isinstance(turns, list):
            return None
        # Turns that need no change are written as they were read: as a message, the role first.
        keys = sorted(turns[0], key=lambda key: key == "content")
        speakers = [key for key in (("role",) if chosen is MESSAGES else SPEAKERS) if key in keys]
        sayings = [key for key in (("content",) if chosen is MESSAGES else SAYINGS) if key in keys]
        if len(speakers) != 1 or len(sayings) != 1 or not _CALLS.isdisjoint(keys):
            return None
        turn = _struct(keys, {speakers[0]: ("role", str), sayings[0]: ("content", msgspec.Raw)})
        made = _struct(list(row), {there[0]: ("turns", list[turn])})  # type: ignore[valid-type]
        if chosen is MESSAGES and len(keys) == 2:
            to_messages: Callable[[Any], Sequence[Any]] = attrgetter("turns")
        else:
            names = {role: role for role in ROLES} if chosen is MESSAGES else SHAREGPT_ROLES
            to_messages = partial(_from_turns, names=names)
        per, lists = len(keys), 1
    else:
        named = {chosen.question: "question", chosen.answer: "answer", chosen.more: "more"}
        named |= {"system": "system", "history": "history"}
        made = _struct(list(row), {key: (name, msgspec.Raw) for key, name in named.items() if key in row})
        to_messages = partial(_from_texts, has=frozenset(name for key, name in named.items() if key in row))
        per, lists = 0, 0
    decoder = msgspec.json.Decoder(made)
    return Shape(
        type=made,
        decode=decoder.decode,
        decode_lines=decoder.decode_lines,
        turns=to_messages,
        keys=len(row),
        keys_a_turn=per,
        lists=lists,
    )


def _struct(keys: list[str], fields: dict[str, tuple[str, Any]]) -> Any:
    """A struct with just these keys; those not in `fields` are skipped over."""
    chosen = [fields.get(key, (f"other{at}", msgspec.Raw)) for at, key in enumerate(keys)]
    rename = {name: key for key, (name, _) in zip(keys, chosen, strict=True)}
    return msgspec.defstruct("Row", chosen, rename=rename, forbid_unknown_fields=True, gc=False)


def _from_turns(row: Any, names: Mapping[str, str]) -> list[Message]:
    return [Message(names[turn.role], turn.content) for turn in row.turns]


def _from_texts(row: Any, has: frozenset[str]) -> list[Message]:
    question = row.question
    messages = []
    if "history" in has and bytes(row.history) not in (b"null", b"[]", b'""'):
        raise ValueError("a history is judged the slow way")
    if "system" in has and bytes(row.system) not in (b"null", b'""'):
        messages.append(Message("system", row.system))
    if "more" in has and (more := bytes(row.more)) not in (b"null", b'""'):
        text = bytes(question)
        if text[:1] != b'"' or more[:1] != b'"':
            raise ValueError("no texts")
        question = msgspec.Raw(text[:-1] + b"\\n\\n" + more[1:] if len(text) > 2 else more)
    messages += [Message("user", question), Message("assistant", row.answer)]
    return messages
