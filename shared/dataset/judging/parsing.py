"""A row's JSON, read more strictly than most readers do. Called by `checker` and `formats`."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from shared.dataset.judging.keys import empty
from shared.dataset.safety.search import in_short

NOT_JSON = " is not JSON"
"""What is said of NaN and infinities, behind their names."""

type Bad = tuple[str, str]
"""A rule's id, and what is wrong in this case."""


class _Twice(Exception):
    """A key that an object has twice."""


_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_SURROGATE = re.compile(rb"\\u[dD][89a-bA-B]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89a-bA-B]..)\\u[dD][c-fC-F]..")


def parse(data: bytes) -> tuple[Any] | Bad:
    """The value of a row's JSON in a tuple of one, or what keeps it from being good JSON.

    Stricter than most readers (NaN, half surrogate pairs and keys that come twice are refused), but numbers may have
    any length.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return "not_utf8", f"byte {error.start + 1} of the row is not UTF-8"
    try:
        value = _decode(text)
    except _Twice as twice:
        return "duplicate_keys", f"the key {in_short(twice.args[0])} is there twice"
    except json.JSONDecodeError as malformed:
        return "not_json", f"not JSON at character {malformed.pos + 1}: {malformed.msg}"
    except RecursionError:
        return "not_json", "nested too deeply"
    except ValueError as error:
        return "not_json", f"not JSON: {error}"
    try:
        _decode_raw(data)  # the standard library lets half surrogate pairs pass
    except msgspec.DecodeError as error:
        half = _SURROGATE.search(data)
        return "not_json", f"{half[0].decode()} is half of a surrogate pair" if half else f"not JSON: {error}"
    except RecursionError:
        return "not_json", "nested too deeply"
    return (value,)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}{NOT_JSON}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise _Twice(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


def _whole(digits: str) -> int | float:
    """Exact, since a tool's arguments are written again; but Python takes no more than thousands of digits."""
    return int(digits) if len(digits) < _DIGITS else float(digits)


_DIGITS = 1000
_decode = json.JSONDecoder(parse_int=_whole, parse_constant=_no_constant, object_pairs_hook=_once).decode


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written, with keys that come twice."""


class _NaN:
    """NaN or an infinity."""


_decode_pairs = json.JSONDecoder(parse_int=_whole, parse_constant=lambda _: _NaN(), object_pairs_hook=_Pairs).decode


def despite(data: bytes) -> tuple[dict[str, Any], frozenset[str]] | None:
    """A row that `parse` refuses, if nothing is wrong with it but NaN and keys that come twice: with null for the one
    and the last of the other that holds something, and the row's own keys in which there is such."""
    if _SURROGATE.search(data):
        return None
    try:
        pairs = _decode_pairs(data.decode())
        if not isinstance(pairs, _Pairs):
            return None
        row: dict[str, Any] = {}
        keys = set()
        for key, written in pairs:
            value, odd = _usual(written)
            if odd or key in row:
                keys.add(key)
            if key not in row or not empty(value):  # what only the first one holds is told of
                row[key] = value
    except (ValueError, RecursionError):
        return None
    return row, frozenset(keys)


def _usual(value: Any) -> tuple[Any, bool]:
    """A value as most readers have it, and whether there is NaN in it, or a key that comes twice."""
    if isinstance(value, _NaN):
        return None, True
    if isinstance(value, _Pairs):
        found: dict[str, tuple[Any, bool]] = {}
        for key, each in value:
            usual = _usual(each)
            if key not in found or not empty(usual[0]):
                found[key] = usual
        return {key: each for key, (each, _) in found.items()}, len(found) < len(value) or any(
            odd for _, odd in found.values()
        )
    if isinstance(value, list):
        listed = [_usual(each) for each in value]
        return [each for each, _ in listed], any(odd for _, odd in listed)
    return value, False
