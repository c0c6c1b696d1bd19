"""A file of keys and values, described by a table: what is wrong with a document, and a JSON Schema that says the same.

The table (`spec.KEYS`) is the one place that knows the keys of finetune.yaml. `wrong` tells every mistake at once, in
sentences, and of each which key it is about: strict.py knows where in the file that stands. `json_schema` gives editors
completion and the same judgement as far as JSON Schema reaches; the page of the documentation is made from the table,
too. Called by `spec`, and by scripts/finetune_page.py.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import Any, Literal

from shared.naming import CLEAN, called, has_steps

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT_LIMIT = 256
MANY = 1000
"""Texts that a list may have."""
_GUESSED = 25  # mistakes of one kind at one place that are looked into
VISIBLE = CLEAN + r"[\s\S]*\S"

type Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key, what it may hold and what it means. A key without a value counts as one that is not there.

    `kind`: text, number, whole (number), keys (a mapping with `keys`), values (a mapping of any names to scalars),
    named (a mapping of any names to mappings with `keys`). `pattern` and `must`: what a text has to match, for both
    Python and ECMAScript, and that in words. `above` is exclusive, `least` and `most` are not. `unset`: in words, what
    holds without the key where that is no `default`. `way`: of keys with different ways only those of one may be there,
    and that one's `needed` key has to be. `unlike`: keys of one level with the same word here must hold different
    texts. `many`: of text, a list of several may stand there too. `also`: what people write instead. `names`: of
    `values`, those that it is known to take, and what is written instead of them. `last`: of an address, what stands
    behind its last / may have been meant.
    """

    name: str
    help: str
    kind: Literal["text", "number", "whole", "keys", "values", "named"]
    default: object = None
    unset: str = ""
    example: object = None
    choices: tuple[str, ...] = ()
    pattern: str = VISIBLE
    must: str = f"text of 1 to {TEXT_LIMIT} characters, not blank, in one line"
    least: int | None = None
    above: int | None = None
    most: int | None = None
    keys: tuple[Key, ...] = ()
    needed: bool = False
    way: str = ""
    unlike: str = ""
    many: bool = False
    also: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    last: bool = False

    @property
    def range(self) -> str:
        """The allowed numbers in words."""
        if self.above is not None:
            return f"above {self.above}, at most {self.most:,}"
        return f"{self.least:,} to {self.most:,}"


def ending(endings: Sequence[str]) -> str:
    """A pattern for the end of a text that is one of `endings`, in small or capital letters."""
    either = "|".join(re.sub(r"[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", each) for each in endings)
    return f"(?:{either.replace('.', '[.]')})$"


@dataclass(frozen=True)
class At:
    """What of a document is meant: the keys that lead to it, and the same as it may stand in a sentence."""

    keys: tuple[object, ...] = ()
    text: str = ""

    def below(self, key: object, shown: str = "") -> At:
        """What the key holds; `shown` is how a name that somebody else chose is told."""
        return At((*self.keys, key), f"{self.text}.{shown or key}".removeprefix("."))

    def __str__(self) -> str:
        return self.text

    def wrong(self, how: str) -> Mistake:
        """That what it holds is wrong; `how` goes on after its name."""
        return Mistake(self, f"{self.text} {how}".strip())

    @property
    def before(self) -> str:
        """What stands before the name of a key of it."""
        return f"{self.text}." if self.text else ""


@dataclass(frozen=True)
class Mistake:
    """A mistake in a sentence, and what it is about: what `at` holds, or, if `of_key`, that this key is there."""

    at: At
    text: str
    of_key: bool = False


def wrong(document: Mapping[Any, Any], keys: Sequence[Key], at: At = At()) -> list[Mistake]:
    """What is wrong with `document`, which stands at `at` in the file.

    Everything, unless there are dozens of mistakes at one place: then the first of those.
    """
    known = {key.name for key in keys}
    # To guess what was meant by thousands of keys takes seconds, and nobody reads on.
    others = islice((key for key in document if key not in known), _GUESSED)
    told, guessed = list[Mistake](), set[str]()
    for name in others:
        text, meant = _unknown(name, document[name], keys, at)
        told.append(Mistake(at.below(name), text, of_key=True))
        guessed.add(meant)
    for key in keys:
        value = document.get(key.name)
        if value is not None:
            judge = _judge_many if key.many and isinstance(value, list) else _JUDGES[key.kind]
            told += islice(judge(key, value, at.below(key.name)), _GUESSED)
        elif key.needed and not key.way and key.name not in guessed:
            told.append(Mistake(at, f"{at.before}{key.name} is missing; it must be {key.must}"))
    told += _ways(document, keys, at, guessed)
    for word in dict.fromkeys(key.unlike for key in keys if key.unlike):
        names = [key.name for key in keys if key.unlike == word]
        texts = {name: texts_of(document.get(name)) for name in names}
        again = [name for nth, name in enumerate(names) for each in names[:nth] if {*texts[name]} & {*texts[each]}]
        if again:
            all_ = f"{', '.join(names[:-1])} and {names[-1]}"
            told.append(Mistake(at.below(again[0]), f"{at.before}{all_} must be different {word}"))
    return told


def texts_of(value: object) -> tuple[str, ...]:
    """The texts of a key that may hold several: one, those of a list, or none."""
    listed = value if isinstance(value, list) else [value]
    return tuple(each for each in listed if isinstance(each, str))


def kind_of(value: object) -> str:
    """What a value is, in words."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    names |= {date: "a date", datetime: "a date"}
    return "nothing" if value is None else names.get(type(value), f"a {type(value).__name__}")


def json_schema(keys: Sequence[Key], *, name: str, title: str, description: str) -> dict[str, Any]:
    """The table as a JSON Schema, draft 2020-12. `name` identifies it; it is no address.

    What a schema can't say: texts that must differ (`unlike`), numbers that JSON does not have, and what depends on
    more than one key, except for the ways.
    """
    head = {"$schema": DRAFT, "$id": f"urn:droptune:{name}", "title": title, "description": description}
    return head | _mapping(keys, nothing=False)


def _mapping(keys: Sequence[Key], *, nothing: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": ["object", "null"] if nothing else "object",
        "properties": {key.name: _property(key) for key in keys},
        "additionalProperties": False,
    }
    if needed := [key.name for key in keys if key.needed and not key.way]:
        found["required"] = needed
    if ways := dict.fromkeys(key.way for key in keys if key.way):
        found["oneOf"] = [_branch(way, keys) for way in ways]
    return found


def _branch(way: str, keys: Sequence[Key]) -> dict[str, Any]:
    (leads,) = [key for key in keys if key.way == way and key.needed]
    others = {key.name: {"type": "null"} for key in keys if key.way not in ("", way)}
    return {"title": way, "required": [leads.name], "properties": {leads.name: {"type": _type(leads)}} | others}


_TYPES = {
    "text": "string",
    "number": "number",
    "whole": "integer",
    "keys": "object",
    "values": "object",
    "named": "object",
}


def _type(key: Key, *more: str) -> str | list[str]:
    """What may stand there, as JSON Schema names it."""
    kinds = [_TYPES[key.kind], *(["array"] if key.many else []), *more]
    return kinds if len(kinds) > 1 else kinds[0]


def _property(key: Key) -> dict[str, Any]:
    """The schema of one key's value. Null is allowed where the key may be missing, as it means the same."""
    nothing = key.way != "" or not key.needed
    found: dict[str, Any] = {"description": key.help, "type": _type(key, *(["null"] if nothing else []))}
    if key.choices:
        found["enum"] = [*key.choices, *([None] if nothing else [])]
    elif key.kind == "text":
        text = {"minLength": 1, "maxLength": TEXT_LIMIT, "pattern": key.pattern}
        found |= text
        if key.many:
            found |= {"items": {"type": "string"} | text, "minItems": 1, "maxItems": MANY, "uniqueItems": True}
    elif key.kind == "keys":
        found |= _mapping(key.keys, nothing=nothing)
    elif key.kind == "named":
        found["propertyNames"] = {"minLength": 1, "maxLength": TEXT_LIMIT, "pattern": VISIBLE}
        found["additionalProperties"] = _mapping(key.keys, nothing=True)
    elif key.kind == "values":
        found["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    limits = {"minimum": key.least, "exclusiveMinimum": key.above, "maximum": key.most}
    found |= {word: limit for word, limit in limits.items() if limit is not None}
    if key.default is not None:
        found["default"] = key.default
    if key.example is not None:
        found["examples"] = [key.example]
    return found


def _judge_text(key: Key, value: object, at: At) -> Iterator[Mistake]:
    shown = _shown(value)
    if isinstance(value, bool) and key.choices:
        read = "yes and on" if value else "no and off"
        yield at.wrong(f"is {shown}, as YAML reads {read}; it must be {' or '.join(key.choices)}")
    elif not isinstance(value, str):
        quoted = "" if isinstance(value, dict | list) else " (put it in quotes)"
        yield at.wrong(f"is {shown}, {kind_of(value)}; it must be text{quoted}{', or a list of them' * key.many}")
    elif key.choices:
        if value not in key.choices:
            meant = _meant(value, key.choices) or f"it must be {' or '.join(key.choices)}"
            yield at.wrong(f"is {shown}; {meant}")
    elif not 1 <= len(value) <= TEXT_LIMIT or not value.strip():
        yield at.wrong(f"must have 1 to {TEXT_LIMIT} characters, not only blanks")
    elif not re.search(key.pattern, value):
        last = value.rpartition("/")[2]
        guess = key.last and "/" in value and not has_steps(value) and re.search(key.pattern, last)
        meant = f"did you mean {last}?" if guess else ""
        yield at.wrong(f"is {shown}; {meant or f'it must be {key.must}'}")


def _judge_many(key: Key, value: list[object], at: At) -> Iterator[Mistake]:
    if not 1 <= len(value) <= MANY:
        yield at.wrong(f"is a list of {len(value):,}; it may have 1 to {MANY:,}")
        return
    for number, each in enumerate(value):
        below = At((*at.keys, number), f"{at}[{number}]")
        if each in value[:number]:
            yield below.wrong(f"is {_shown(each)}, which stands there before")
        else:
            yield from _judge_text(key, each, below)


def _judge_number(key: Key, value: object, at: At) -> Iterator[Mistake]:
    wanted = "a whole number" if key.kind == "whole" else "a number"
    shown = _shown(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield at.wrong(f"is {shown}, {kind_of(value)}; it must be {wanted}, {key.range}{_as_number(value)}")
    elif not _finite(value) or (key.kind == "whole" and value != int(value)):
        yield at.wrong(f"is {shown}; it must be {wanted}, {key.range}")
    elif (
        (key.least is not None and value < key.least)
        or (key.above is not None and value <= key.above)
        or (key.most is not None and value > key.most)
    ):
        yield at.wrong(f"is {shown}; it must be {key.range}")


def _judge_keys(key: Key, value: object, at: At) -> Iterator[Mistake]:
    if isinstance(value, dict):
        yield from wrong(value, key.keys, at)
    else:
        names = ", ".join(each.name for each in key.keys)
        yield at.wrong(f"is {kind_of(value)}; it must hold keys and values ({names})")


def _judge_values(_: Key, value: object, at: At) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield at.wrong(f"is {kind_of(value)}; it must hold keys and values")
        return
    for name, each in value.items():
        if not isinstance(name, str):
            yield _no_text(at, name, f"is {kind_of(name)}; put it in quotes")
        elif not isinstance(each, str | int | float):
            wanted = "it must be text, a number, true or false"
            yield at.below(name, _name(name)).wrong(f"is {kind_of(each)}; {wanted}")
        elif not isinstance(each, str) and not _finite(each):
            yield at.below(name, _name(name)).wrong(f"is {each}; it must be a finite number")


def _judge_named(key: Key, value: object, at: At) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield at.wrong(f"is {kind_of(value)}; it must hold names, and keys and values of each")
        return
    below = ", ".join(each.name for each in key.keys)
    for name, each in value.items():
        if not isinstance(name, str):
            yield _no_text(at, name, f"is {kind_of(name)}; put it in quotes")
        elif not 1 <= len(name) <= TEXT_LIMIT or not re.search(VISIBLE, name):
            yield _no_text(at, name, f"must be text of 1 to {TEXT_LIMIT} characters, in one line")
        elif isinstance(each, dict):
            yield from wrong(each, key.keys, at.below(name, _name(name)))
        elif each is not None:
            yield at.below(name, _name(name)).wrong(f"is {kind_of(each)}; it must hold keys and values ({below})")


def _no_text(at: At, name: object, how: str) -> Mistake:
    return Mistake(at.below(name), f"{at}: the key {reprlib.repr(name)} {how}", of_key=True)


_JUDGES = {
    "text": _judge_text,
    "number": _judge_number,
    "whole": _judge_number,
    "keys": _judge_keys,
    "values": _judge_values,
    "named": _judge_named,
}


def _ways(document: Mapping[Any, Any], keys: Sequence[Key], at: At, guessed: Collection[str]) -> list[Mistake]:
    """Whether the keys of exactly one way are there, the needed one among them, or one that was meant for it."""
    leads = {key.way: key for key in keys if key.way and key.needed}
    if not leads:
        return []
    there = [key for key in keys if key.way and document.get(key.name) is not None]
    given = dict.fromkeys(key.way for key in there)
    if len(given) > 1:
        sides = " and ".join(", ".join(key.name for key in there if key.way == way) for way in given)
        choice = " or ".join(f"{key.name} for {way}" for way, key in leads.items())
        other = next(key for key in there if key.way != there[0].way)
        return [Mistake(at.below(other.name), f"{sides} exclude each other: {choice}", of_key=True)]
    wanted = [leads[way] for way in given] or list(leads.values())
    if any(key in there or key.name in guessed for key in wanted):
        return []
    meant = "; ".join(f"{key.name}: {key.must}" for key in wanted)
    return [Mistake(at, f"{' or '.join(key.name for key in wanted)} is missing ({meant})")]


def _shown(value: object) -> str:
    return str(value) if isinstance(value, date) else reprlib.repr(value)


def _name(text: str) -> str:
    """A name that somebody chose, as it may stand in a sentence: short, on one line."""
    return reprlib.repr(text)[1:-1]


def _unknown(name: object, value: object, keys: Sequence[Key], at: At) -> tuple[str, str]:
    """What is wrong with a key that there is not; and the name of the key of the same level that was meant, or ""."""
    told = f"{reprlib.repr(name)} is not a key" + (f" of {at}" if at.keys else "")
    near: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: _fits(key, value)):  # of two that are called so, the one that can hold it
        near |= {also.lower(): f"{at.before}{key.name}" for also in (key.name, *key.also)}
    below = {
        also.lower(): f"{at.before}{key.name}.{each.name}"
        for key in keys
        if key.kind == "keys"
        for each in key.keys
        for also in (each.name, *each.also)
    }
    values = {
        also: f"{at.before}{key.name}.{each}"
        for key in keys
        if key.kind == "values"
        for also, each in called(key.names).items()
    }
    for cutoff in (1.0, 0.6):  # what is meant exactly comes before what is only alike
        for names in (near, below, values):
            if close := difflib.get_close_matches(str(name)[:TEXT_LIMIT].lower(), names, n=1, cutoff=cutoff):
                meant = names[close[0]]
                return f"{told}; did you mean {meant}?", meant.removeprefix(at.before) if names is near else ""
    open_ = [key.name for key in keys if key.kind == "values"]
    hint = f"; a parameter of the training belongs below {open_[0]}" if open_ else ""
    return f"{told} ({', '.join(key.name for key in keys)}){hint}", ""


def _fits(key: Key, value: object) -> int:
    """How well a value suits a key: not at all, as text of its kind, or as files, which suit few keys."""
    texts = texts_of(value)
    suits = bool(texts) and key.kind == "text" and all(re.search(key.pattern, each) for each in texts)
    return suits * (1 + key.many)


def _meant(text: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(text[:TEXT_LIMIT].lower(), choices, n=1)
    return f"did you mean {close[0]}?" if close else ""


def _as_number(value: object) -> str:
    """How a number that was written as text has to be written: in quotes it is text, and so is 5e-1 in YAML 1.1."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    return f" (write {number:.15g}, without quotes)" if math.isfinite(number) else ""


def _finite(value: float) -> bool:
    # A whole number of hundreds of digits is finite, but math.isfinite can't take it.
    return isinstance(value, int) or math.isfinite(value)
