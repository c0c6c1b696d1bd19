"""What Bicep is made of: expressions, which plan.py gives their values, and statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path


class BicepError(Exception):
    """A file that can't be read, or a value that can't be had. Names the file and the line, or the symbol."""


# Expressions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Literal:
    """Text without `${}`, a number, true, false or null."""

    value: str | int | bool | None


@dataclass(frozen=True)
class Text:
    """Text with `${}` in it: pieces of text and expressions, in order."""

    pieces: tuple[str | Node, ...]


@dataclass(frozen=True)
class Name:
    """A symbol."""

    name: str


@dataclass(frozen=True)
class Member:
    """`of.name`."""

    of: Node
    name: str


@dataclass(frozen=True)
class Index:
    """`of[at]`."""

    of: Node
    at: Node


@dataclass(frozen=True)
class Call:
    """`name(arguments)`: all functions that we use are Bicep's own."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """`!of`."""

    of: Node


@dataclass(frozen=True)
class Binary:
    """`left sign right`."""

    left: Node
    sign: str
    right: Node


@dataclass(frozen=True)
class Choice:
    """`test ? then : other`."""

    test: Node
    then: Node
    other: Node


@dataclass(frozen=True)
class Items:
    """`[...]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Fields:
    """`{...}`: keys may have `${}` in them."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class For:
    """`[for each in over: body]`."""

    each: str
    over: Node
    body: Node


type Node = Literal | Text | Name | Member | Index | Call | Not | Binary | Choice | Items | Fields | For


def within(node: object) -> Iterator[object]:
    """The node and all that is in it."""
    yield node
    if isinstance(node, tuple):
        for each in node:
            yield from within(each)
    elif is_dataclass(node):
        for attribute in fields(node):
            yield from within(getattr(node, attribute.name))


# Statements ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What all have. `decorators` by their names, with their arguments."""

    symbol: str
    line: int
    decorators: Mapping[str, tuple[Node, ...]]


@dataclass(frozen=True, kw_only=True)
class Param(Statement):
    """`param symbol type = default`."""

    type: str
    default: Node | None


@dataclass(frozen=True, kw_only=True)
class Value(Statement):
    """`var symbol = value`, or an output."""

    value: Node


@dataclass(frozen=True, kw_only=True)
class Resource(Statement):
    """`resource symbol 'type@version' existing? = if (condition) body`; the body may be a For."""

    type: str
    version: str
    existing: bool
    condition: Node
    body: Node


@dataclass(frozen=True, kw_only=True)
class Module(Statement):
    """`module symbol 'path' = if (condition) body`."""

    path: str
    condition: Node
    body: Node


@dataclass(kw_only=True)
class Template:
    """A file. `scope` is its targetScope."""

    path: Path
    scope: str = "resourceGroup"
    params: dict[str, Param] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
