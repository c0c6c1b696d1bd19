"""Tool calls, as they are written: of one form in every row, whatever form they came in.

The training's reader makes a column of whatever stands at the same place in all rows. Arguments that are objects would
get each other's keys there, with nulls, and could not be read at all where a key has a number in one row and a text in
another. So arguments are written as JSON text, as chat APIs give them, and calls have no keys but those of their form.
Called by `rules`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from shared.dataset.safety.search import in_short

HARMLESS = frozenset(("index",))
"""Keys of a call that say nothing but where it stood."""
_EMPTY: tuple[object, ...] = (None, "", [], {})


class Function(msgspec.Struct, gc=False):
    """What is called. `arguments` are JSON text."""

    name: str
    arguments: str


class Call(msgspec.Struct, gc=False, omit_defaults=True):
    """A tool call. Its `type` is always written."""

    id: str | msgspec.UnsetType = msgspec.UNSET
    type: str | msgspec.UnsetType = msgspec.UNSET
    function: Function | msgspec.UnsetType = msgspec.UNSET


def calls_of(value: object) -> list[Call] | str:
    """A message's tool calls, fit to be written, or what is wrong with them: `call 2 has no name`."""
    if not isinstance(value, list):
        return f"its tool_calls are {kind(value)}, not a list"
    made: list[Call] = []
    for at, each in enumerate(value, 1):
        call = _call(each)
        if isinstance(call, str):
            return f"call {at} {call}"
        made.append(call)
    return made


def _call(value: object) -> Call | str:
    if not isinstance(value, Mapping):
        return f"is {kind(value)}, not an object"
    function = value.get("function")
    if function is None and value.get("name") is not None:  # as Python's chat templates take it, too
        function = {key: value[key] for key in ("name", "arguments") if key in value}
        outside = [key for key in value if key not in function]
    else:
        outside = list(value)
    if not isinstance(function, Mapping):
        return f"has a function that is {kind(function)}" if "function" in value else "has no function"
    if value.get("type") not in (None, "function"):
        return f"has the type {in_short(value['type'])}, not function"
    name, id_ = function.get("name"), value.get("id")
    if not isinstance(name, str) or not name.strip():
        return "has no name" if name in _EMPTY else f"has a name that is {kind(name)}"
    if not isinstance(id_, str | None):
        return f"has an id that is {kind(id_)}; write it as a text"
    more = [key for key in outside if key not in {"id", "type", "function"} | HARMLESS and value[key] not in _EMPTY]
    more += [key for key in function if key not in {"name", "arguments"} and function[key] not in _EMPTY]
    if more:
        return f"has the key {in_short(more[0])}, for which there is no place"
    arguments = _text(function.get("arguments"))
    if isinstance(arguments, tuple):
        return arguments[0]
    return Call(id=id_ if id_ is not None else msgspec.UNSET, type="function", function=Function(name, arguments))


def _text(arguments: object) -> str | tuple[str]:
    """Arguments as JSON text; in a tuple why there is none. A text is kept to the letter."""
    if arguments is None or arguments == "":
        return "{}"
    if isinstance(arguments, str):
        try:
            read = json.loads(arguments)
        except (ValueError, RecursionError):
            return (f"has arguments that are no JSON: {in_short(arguments)}",)
        good = isinstance(read, Mapping | list)
        return arguments if good else (f"has arguments that are the JSON of {kind(read)}, not of an object",)
    if not isinstance(arguments, Mapping | list):
        return (f"has arguments that are {kind(arguments)}, not an object",)
    try:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return ("has a number in its arguments that no reader can hold (1e999, NaN)",)
    except (TypeError, RecursionError):
        return ("has arguments that JSON has no form for",)


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", float: "a number", int: "a number"}
    return names.get(type(value), "null" if value is None else f"of the type {type(value).__name__}")
