"""Text that means harm to who reads it on a terminal or in a log, and whether any of it is left in an output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

_RANGES = (
    (0x00, 0x1F),  # controls, ESC and line breaks among them
    (0x7F, 0x9F),  # DEL and the second set of controls, of which 9B begins a sequence like ESC
    (0x200B, 0x200B),
    (0x200E, 0x200F),  # marks of direction; 202A and 2066 on are those that embed and override
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0x61C, 0x61C),
    (0xFEFF, 0xFEFF),
    (0xD800, 0xDFFF),
    (0xE0000, 0xE007F),  # tags: text that nobody sees
)
HARMFUL = frozenset(chr(code) for first, last in _RANGES for code in range(first, last + 1))
LONE = frozenset(chr(code) for code in range(0xD800, 0xE000))
"""Halves of surrogate pairs, which names of files may have and JSON must not."""
WORST = (
    "r1\n[2026-01-01T00:00:00.000Z] forged\r\x1b[2J\x1b]0;t\x07\x9b31m\u202egnp.exe\u2028\u2066\u200b\x85\x7f\x00end"
)

texts = st.lists(
    st.sampled_from(sorted(HARMFUL - LONE))
    | st.characters(exclude_categories=["Cs"])
    | st.sampled_from(["\n", "[b]", "{x}"]),
    max_size=12,
).map("".join) | st.just(WORST)
"""Such texts, as JSON can hold them."""


def harm(output: str) -> set[str]:
    """What harmful there is in an output of lines."""
    return set(HARMFUL.intersection(output)) - {"\n"}


def poisoned(part: Any, text: str) -> Any:
    """A record, or a part of one, with that text in the place of each of its texts, keys too."""
    match part:
        case Enum():
            return part
        case str():
            return text
        case tuple() | list():
            return type(part)(poisoned(each, text) for each in part)
        case Mapping():
            return {poisoned(key, text): poisoned(value, text) for key, value in part.items()}
        case msgspec.Struct():
            return msgspec.structs.replace(part, **_poisoned(part, part.__struct_fields__, text))
        case _ if is_dataclass(part) and not isinstance(part, type):
            return replace(part, **_poisoned(part, [each.name for each in fields(part)], text))
    return part


def _poisoned(part: Any, names: Iterable[str], text: str) -> dict[str, Any]:
    """Its fields; one that only has certain values has its own: no record with another one can be read."""
    hints = get_type_hints(type(part))
    return {name: poisoned(getattr(part, name), text) for name in names if not _is_certain(hints[name])}


def _is_certain(hint: Any) -> bool:
    """Whether a type, or one that it is made of, has certain values only."""
    return any(get_origin(getattr(each, "__value__", each)) is Literal for each in (hint, *get_args(hint)))
