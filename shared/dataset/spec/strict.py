"""YAML that somebody else wrote, read strictly: plain data, or a sentence that says where it is wrong and what to do.

A small file must not grow (aliases), run anything (tags), sink the reader (nesting, numbers of thousands of digits) or
mean something else than what people see (merges, keys that are there twice, numbers in base 60). Whatever the bytes
are, nothing but Unread leaves here. Called by finetune.py.
"""

from __future__ import annotations

import re
import reprlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from shared.naming import is_unicode

DEPTH = 16
"""Mappings and lists inside each other; the deepest key of a finetune.yaml stands in the fourth."""
MOST_TOLD = 20
"""Mistakes: a person mends no more at once, and the sentence is kept in the run's record."""
_BELOW = 10**4300
"""Python neither writes nor reads a number of more digits, so that no record could hold one."""
_TOLD = 256  # characters of the library's own message
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp"))
_SPOILT = "it can't be read as YAML"


@dataclass(frozen=True, order=True)
class Place:
    """Where in a file something begins, counted from 1 as editors do."""

    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Unread(Exception):
    """Why bytes are no data, and at which place."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(why)
        self.place = place


@dataclass(frozen=True)
class Document:
    """What a file holds: mappings, lists, text, numbers, truth values, nothing, and dates as values; and where.

    The keys that lead to something (numbers in a list) -> the places of the last of these keys, and of what it holds.
    """

    value: Any
    places: Mapping[tuple[object, ...], tuple[Place, Place]]

    def place(self, keys: tuple[object, ...], *, of_key: bool = False) -> Place:
        """Where what the keys lead to begins, or the last key itself. What is not there: where it is missing."""
        while keys not in self.places and keys:
            keys, of_key = keys[:-1], False
        key, value = self.places.get(keys, (Place(), Place()))
        return key if of_key else value

    def told(self, mistakes: Iterable[tuple[tuple[object, ...], bool, str]], most: int = MOST_TOLD) -> str:
        """Mistakes, each with its place, in the file's order; of more than `most` the first ones.

        Each is the keys that it is about, whether it is the last key itself, and a sentence.
        """
        placed = [(self.place(keys, of_key=of_key), text.removesuffix(".")) for keys, of_key, text in mistakes]
        told = [f"{place}: {text}" for place, text in sorted(placed, key=itemgetter(0))]
        more = [f"and {len(told) - most} more mistakes"] if len(told) > most else []
        return "; ".join([*told[:most], *more])


def read(data: bytes) -> Document:
    """What `data` holds. Raises Unread."""
    import yaml

    text = _text(data)
    loader = None
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
        return Document(value, {} if node is None else _places(loader, node, _Lines(text)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unread(_Lines(text).place(mark.index if mark else 0), _problem(error)) from None
    except yaml.reader.ReaderError as error:
        why = f"the character U+{ord(text[error.position]):04X} is not taken; save it as plain text"
        raise Unread(_Lines(text).place(error.position), why) from None
    except Exception as error:
        # What a library makes of bytes that its authors never thought of is no promise.
        why = f"{_SPOILT}: {str(error)[:_TOLD] or type(error).__name__}"
        raise Unread(_Lines(text).place(loader.index if loader else 0), why) from None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise Unread(_Lines(before).place(len(before)), "it is not UTF-8; save it as UTF-8") from None


class _Lines:
    """Where the lines of a text begin, as editors count them; to YAML 1.1 U+0085, U+2028 and U+2029 end some, too."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer(r"\r\n?|\n", text))]

    def place(self, index: int) -> Place:
        """The place of the character at `index`."""
        line = bisect_right(self._starts, index)
        return Place(line, index - self._starts[line - 1] + 1)


def _places(loader: Any, root: Any, lines: _Lines) -> dict[tuple[object, ...], tuple[Place, Place]]:
    """The places of all that stands below the node, and its own."""
    import yaml

    def place(node: Any) -> Place:
        return lines.place(node.start_mark.index)

    start = place(root)
    found: dict[tuple[object, ...], tuple[Place, Place]] = {(): (start, start)}
    todo: list[tuple[tuple[object, ...], Any]] = [((), root)]
    while todo:
        keys, node = todo.pop()
        if isinstance(node, yaml.MappingNode):
            below = [(loader.construct_object(key), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            below = [(number, value, value) for number, value in enumerate(node.value)]
        else:
            continue
        for name, key, value in below:
            found[*keys, name] = (place(key), place(value))
            todo.append(((*keys, name), value))
    return found


def _problem(error: Any) -> str:
    told = str(error.problem or error.context)[:_TOLD]
    return "it holds more than one document; take out ---" if "another document" in told else told


@cache
def _loader() -> Any:
    """The class: made when it is asked for, as the library costs time to import."""
    import yaml

    class Strict(yaml.SafeLoader):
        """Refuses what the module's docstring says, each at its place."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise _wrong(event, "aliases and tags are not taken")
            if self.depth >= DEPTH:
                raise _wrong(event, f"{_SPOILT}: more than {DEPTH} mappings or lists inside each other")
            self.depth += 1
            node: Any = super().compose_node(parent, index)
            self.depth -= 1
            if isinstance(node, yaml.ScalarNode):
                if node.tag not in _SCALARS:
                    raise _wrong(node, f"{_shown(node)} is not taken; put it in quotes if it is meant as text")
                if not is_unicode(node.value):
                    raise _wrong(node, "it holds text that is no Unicode (half of a surrogate pair)")
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise _wrong(key, "a key must be text, and no list or mapping")
                if key.tag == f"{_TAG}timestamp":
                    raise _wrong(key, f"the key {_shown(key)} is a date; put it in quotes")
                if key.value in seen:
                    raise _wrong(key, f"the key {_shown(key)} is there twice")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    for kind in ("int", "float"):
        Strict.add_constructor(f"{_TAG}{kind}", _number)
    Strict.add_constructor(f"{_TAG}timestamp", _date)
    return Strict


def _number(loader: Any, node: Any) -> Any:
    if ":" in node.value:
        told = f"{_shown(node)} is a number in base 60; write it as a decimal, or in quotes if it is text"
        raise _wrong(node, told)
    whole = node.tag == f"{_TAG}int"
    try:
        value = loader.construct_yaml_int(node) if whole else loader.construct_yaml_float(node)
    except ValueError:
        raise _wrong(node, f"{_SPOILT}: {_shown(node)} is no number, or one of thousands of digits") from None
    if whole and abs(value) >= _BELOW:
        raise _wrong(node, f"{_SPOILT}: {_shown(node)} is a number of thousands of digits")
    return value


def _date(loader: Any, node: Any) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError):
        raise _wrong(node, f"{_SPOILT}: {_shown(node)} is no date; put it in quotes") from None


def _wrong(node: Any, problem: str) -> Exception:
    import yaml

    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _shown(node: Any) -> str:
    """What stands there, as it may stand in a sentence: short, on one line."""
    return reprlib.repr(node.value)[1:-1]
