"""Keys that no format reads: which say nothing that could be lost, which are told, which may not be passed over.

Every key of a row, a message and a part of a content is read by the row's format, or it is one of HARMLESS, or it is
told: how many rows have it, and what the first of them says there. Those of MEANINGS change what there is to learn:
training without them would be silently wrong. They refuse the dataset, or are told with a cure of their own. (A tool
call's keys are judged by `calls`.) docs/rules.md is made from both tables. Called by `noting`; what is counted is
joined by `tally`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from shared.dataset.kinds import form_of
from shared.dataset.safety.search import masked_text

type Place = Literal["row", "message", "part", "rule"]
"""Whose key it is: the row's, a message's (a turn's), or one of a part of a message's content. `rule`: nobody's, it is
what a rule says of the conversation."""

type Found = tuple[Place, str, Any, str]
"""A key that is not read: whose it is, its name, its value, and the role of its message."""

UNREAD, REFUSED, IGNORED = "unread_key", "refused_key", "ignored"
MAPPED = "mapped"
"""What is noted of a key of the file that `map` names, where a row has it."""
MOST = 1000
"""Different keys of a file that are counted; all more of them are counted as one."""
_EXAMPLE = 200
_NAME = 100

HARMLESS: Mapping[str, tuple[str, ...]] = {
    "ids": (
        "*_id",
        "id",
        "ids",
        "*_ids",
        "uid",
        "uuid",
        "guid",
        "idx",
        "index",
        "__index_level_0__",
        "*_index",
        "hash",
        "*_hash",
        "sha256",
        "md5",
        "checksum",
    ),
    "sources": (
        "source",
        "*_source",
        "src",
        "dataset",
        "dataset_name",
        "origin",
        "url",
        "urls",
        "*_url",
        "link",
        "author",
        "annotator",
        "license",
        "licence",
        "split",
        "subset",
        "version",
        "model",
        "model_name",
        "generator",
    ),
    "dates": (
        "date",
        "time",
        "timestamp",
        "*_date",
        "*_time",
        "*_at",
        "*_timestamp",
        "created",
        "updated",
        "modified",
    ),
    "languages": ("lang", "language", "*_language", "locale"),
    "categories": (
        "category",
        "categories",
        "*_category",
        "subcategory",
        "topic",
        "topics",
        "domain",
        "tag",
        "tags",
        "type",
        "difficulty",
    ),
    "caching": ("cache_control",),
}
"""Keys that may be lost: what they say is about the row, and is nothing to learn. `*` stands for any letters."""


def _always(_value: Any, _role: str) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a key means. `counts`: whether this value of a message of that role means it, or nothing."""

    about: str
    cure: str
    refused: bool = True
    counts: Callable[[Any, str], bool] = _always


def _of(value: Any) -> Any:
    """A value as it was meant: a cell of CSV has nothing but texts."""
    if isinstance(value, str):
        return {"true": True, "false": False, "1": 1, "0": 0, "1.0": 1, "0.0": 0}.get(value.strip().lower(), value)
    return value


def _not_one(value: Any, role: str) -> bool:
    """Whether it says anything but: learn this, as any other. Questions are not learned anyway."""
    meant = _of(value)
    return not (meant is True or (not isinstance(meant, bool) and meant == 1) or (role not in _LEARNT and not meant))


def _mark(value: Any, _: str) -> bool:
    """Whether it marks a good or a bad answer, and is no class of texts."""
    meant = _of(value)
    return isinstance(meant, bool) or meant in (0, 1)


def _hides(value: Any, _: str) -> bool:
    """Whether it says: do not learn this."""
    return bool(_of(value))


_LEARNT = frozenset(("", "assistant"))
_NOT_LEARNED = ("train", "training", "trainable", "train_on_turn", "loss_mask", "calculate_loss", "compute_loss")
_NOT_LEARNED_TURN = ("weight", "loss_weight", "loss", "train_detail", *_NOT_LEARNED)
_HIDDEN = ("mask", "masked", "ignore_loss", "skip_loss", "no_loss")
_ROW = Meaning(
    about="it marks rows that are not to be learned; the training learns every row alike",
    cure="Leave such rows away, and take the key away",
    counts=_not_one,
)
_TURN = Meaning(
    about="it marks messages that are not to be learned, or to be learned more than others; the training learns every "
    "answer alike",
    cure="End such conversations before the answer that is not to be learned, and take the key away",
    counts=_not_one,
)
_HIDDEN_ROW = replace(_ROW, counts=_hides)
_HIDDEN_TURN = replace(_TURN, counts=_hides)
_WEIGHT = Meaning(
    about="it has no effect: all rows count alike",
    cure="Write a row that is to count more several times, or leave those away that are to count less",
    refused=False,
    counts=_not_one,
)
_MARK = Meaning(
    about="it marks good and bad answers (KTO), and bad ones would be learned as well",
    cure="Keep the rows that are marked as good, and take the key away",
    counts=_mark,
)
_PREFERENCE = Meaning(
    about="it is preference data (DPO), which a training on answers has no use for",
    cure="Keep the answer to be learned, under a key that is read",
)
_OPTIONS = Meaning(
    about="the model would learn to choose without seeing what from",
    cure="Write the options into the question",
)
_MEDIA = Meaning(
    about="images, sound and video are not learned from",
    cure="Describe them in the text, or leave such rows away",
)
_TOOLS = Meaning(
    about="definitions of tools are not passed on: the model is trained on the calls alone",
    cure="Say in a system message which tools there are, if answers depend on that",
    refused=False,
)
_REASONING = Meaning(
    about="the reasoning is not trained on, only the answer",
    cure="Write it into the content, as the model is to write it, or leave it away",
    refused=False,
)
_QUESTION = Meaning(
    about="answers may depend on it, and the row's format has no place for it",
    cure="Write it into the question or a system message, or say with map what it is",
)

MEANINGS: Mapping[Place, Mapping[str, Meaning]] = {
    "row": {
        **dict.fromkeys(("label", "kto_tag", "is_desirable", "desirable"), _MARK),
        **dict.fromkeys(("weight", "sample_weight", "loss_weight"), _WEIGHT),
        **dict.fromkeys(_NOT_LEARNED, _ROW),
        **dict.fromkeys(_HIDDEN, _HIDDEN_ROW),
        **dict.fromkeys(("chosen", "rejected", "chosen_response", "rejected_response"), _PREFERENCE),
        **dict.fromkeys(("preferred_output", "non_preferred_output", "response_j", "response_k"), _PREFERENCE),
        **dict.fromkeys(("options", "choices"), _OPTIONS),
        **dict.fromkeys(("image", "images", "audio", "audios", "video", "videos"), _MEDIA),
        **dict.fromkeys(("tools", "functions", "tool_definitions"), _TOOLS),
        **dict.fromkeys(("reasoning", "reasoning_content", "thinking", "thought", "chain_of_thought"), _REASONING),
        **dict.fromkeys(("context", "contexts", "passage", "passages", "document", "documents"), _QUESTION),
        **dict.fromkeys(("history", "instruction", "input", "paragraph", "system"), _QUESTION),
    },
    "message": {
        **dict.fromkeys(_NOT_LEARNED_TURN, _TURN),
        **dict.fromkeys(_HIDDEN, _HIDDEN_TURN),
        **dict.fromkeys(("reasoning", "reasoning_content", "reasoning_details", "thinking", "thought"), _REASONING),
        **dict.fromkeys(("image", "images", "audio", "audios", "video", "videos"), _MEDIA),
        **dict.fromkeys(("label",), _MARK),
    },
    "part": {
        "thinking": _REASONING,
        **dict.fromkeys(_NOT_LEARNED_TURN, _TURN),
        **dict.fromkeys(_HIDDEN, _HIDDEN_TURN),
    },
    "rule": {},
}
"""Keys that change what is learned, wherever a format does not read them."""


def plain(key: str) -> str:
    """A key however it is spelled: `System Prompt`, `systemPrompt` and `system_prompt` are one."""
    return re.sub("[^0-9a-z]", "", key.lower()) or key


_MEANT = {place: {plain(key): meaning for key, meaning in keys.items()} for place, keys in MEANINGS.items()}
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HARMLESS = re.compile(
    "|".join(re.escape(each).replace(r"\*", ".+") for kinds in HARMLESS.values() for each in kinds), re.DOTALL
)


@lru_cache(1024)
def _known(place: Place, key: str) -> tuple[bool, Meaning | None]:
    meaning = _MEANT[place].get(plain(key))
    name = _SNAKE.sub("_", key.strip()).lower().replace("-", "_").replace(" ", "_")
    return meaning is None and _HARMLESS.fullmatch(name) is not None, meaning


def known(place: Place, key: str) -> tuple[bool, Meaning | None]:
    """Whether nothing is lost with the key, whatever it holds; and what it means, if it is one of MEANINGS."""
    return _known(place, key) if len(key) <= _NAME else (False, None)


def empty(value: Any) -> bool:
    """Whether it holds nothing: null, "", or a list or an object of such."""
    if value is None or value == "":
        return True
    if isinstance(value, dict):
        return all(map(empty, value.values()))
    return isinstance(value, list) and all(map(empty, value))


def rule_of(found: Found, ignored: frozenset[str] = frozenset()) -> str:
    """The rule that speaks of what was found: UNREAD or REFUSED, IGNORED; empty where nothing is lost with it.

    `ignored`: the `plain` keys that are to be passed over.
    """
    place, key, value, role = found
    if place == "rule":
        return key
    harmless, meaning = known(place, key)
    if harmless or empty(value) or (not key and str(value).isdecimal()):  # rows' numbers, as pandas writes them
        return ""
    if ignored and plain(key) in ignored:
        return IGNORED
    if meaning is None:
        return UNREAD
    if not meaning.counts(value, role):
        return "" if meaning.counts in (_not_one, _hides) else UNREAD
    return REFUSED if meaning.refused else UNREAD


@dataclass(slots=True)
class Noted:
    """How many rows have a key that is not read; file and place of the first (fields of a Fault), and what it has."""

    rows: int
    where: Mapping[str, Any] = field(default_factory=dict)
    example: str = ""


type Note = tuple[str, Place, str]
"""What was noted of rows: a rule, whose key it is, and the key (shortened)."""


def note_of(rule: str, place: Place, key: str) -> Note:
    """The note about a key."""
    return rule, place, "" if place == "rule" else _shortened(key) or NAMELESS


@lru_cache(4096)
def _shortened(key: str) -> str:
    """A key in short, masked before it is cut."""
    shown = masked_text(key[:4096])
    return shown if len(shown) <= _NAME else f"{shown[: _NAME - 3]}..."


def collect(notes: dict[Note, Noted], more: Mapping[Note, Noted], lines: int = 0) -> None:
    """Adds what was noted of later rows; `lines`: how many come before those that they are counted from."""
    for note, noted in more.items():
        if note not in notes and len(notes) >= MOST and note[0] not in (REFUSED, MAPPED):
            note = (note[0], "row", MANY)
        if note in notes:
            notes[note].rows += noted.rows
        else:
            where = {**noted.where, "line": noted.where["line"] + lines} if lines else noted.where
            notes[note] = Noted(noted.rows, where, noted.example)


MANY, NAMELESS = "(other keys)", "(no name)"


def told(note: Note, noted: Noted) -> str:
    """What is said of the rows that have the key."""
    rule, place, key = note
    rows = f"{noted.rows:,} row{'' if noted.rows == 1 else 's'}"
    if place == "rule":
        return f"{rows} {_SAID[rule]}"
    if key == NAMELESS:
        table = form_of(noted.where["file"]) in (".csv", ".tsv")
        key = "a column without a name (column 1)" if table else "a key without a name"
    said = f"{key if key.isprintable() else repr(key)} is in {_PLACES[place]}{rows}"
    _, meaning = known(place, key)
    if rule == UNREAD and meaning is not None and meaning.refused:
        meaning = None
    if meaning is None:
        return f"{said} and is not read: what it holds is not trained on"
    return f"{said}: {meaning.about}. {meaning.cure}"


def cure_of(rule: str, place: Place, key: str) -> str:
    """What to do about a key of MEANINGS; empty for others."""
    _, meaning = known(place, key)
    return meaning.cure if meaning is not None and meaning.refused == (rule == REFUSED) else ""


_PLACES: Mapping[Place, str] = {"row": "", "message": "messages of ", "part": "parts of contents of "}
_SAID = {
    "assistant_first": "begin with the assistant's message",
    "blank_system": "have a blank system message, which is left away",
}


def example(key: str, value: Any) -> str:
    """A value in short, as JSON, without secrets and persons' data."""
    if isinstance(value, str):
        value = value[:4096]  # masked before it is cut
    try:
        told = json.dumps({key[:_NAME]: value}, ensure_ascii=False)  # some secrets are known by their keys
        begin = len(json.dumps(key[:_NAME], ensure_ascii=False)) + 3
    except (TypeError, ValueError, RecursionError):
        told, begin = repr(value), 0
    told = masked_text(told.encode("utf-8", "replace").decode())
    told = told[begin:-1] if begin else told
    return told if len(told) <= _EXAMPLE else f"{told[: _EXAMPLE - 3]}..."
