"""What a row says, read slowly: formats, keys and contents as docs/rules.md has them. Nothing of the product is used.

`read` gives the rules that a row breaks before anybody looks at its conversation, the turns of it, and what else there
is to say of it: keys that are not read. Used by `oracle`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

type Turn = tuple[Any, Any, dict[str, Any]]  # role, text, and the message as it came
type Note = tuple[str, str, str]  # refused or told or the id of a warning; of a row, a message or a part; the key

QUESTIONS = ("instruction", "prompt", "question", "query", "input", "user")
ANSWERS = ("output", "completion", "response", "answer", "assistant")
PAIRS = [("instruction", "output"), ("prompt", "completion"), ("prompt", "response"), ("question", "answer")]
PAIRS += [pair for pair in itertools.product(QUESTIONS, ANSWERS) if pair not in PAIRS]
NAMES = {
    ("instruction", "output"): "alpaca",
    ("instruction", "response"): "dolly",
    ("question", "response"): "openorca",
}
BY_NAME = {NAMES.get(pair, "_".join(pair)): pair for pair in PAIRS}
FORMATS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "sharegpt": (("conversations",), ("conversation",)),
    **{name: (pair,) for name, pair in BY_NAME.items()},
}
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction")
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "chatbot": "assistant"}
ROLES |= {"ai": "assistant", "bot": "assistant", "tool": "tool", "function": "tool"}
CALL = "a call of a tool"
"""Who speaks where ShareGPT has function_call; among messages that is no role."""
SHAREGPT = ROLES | {"human": "user", "observation": "tool", "function_call": CALL}
SHAREGPT |= dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model"), "assistant")
TOOL_KEYS = ("tool_calls", "tool_call_id", "name", "function_call")
KNOWN = {"messages", "conversations", "conversation", *SYSTEMS, "context", "history", *QUESTIONS, *ANSWERS}


def letters(key: str) -> str:
    """A key without what spellings differ in."""
    return "".join(each for each in key.lower() if each.isascii() and each.isalnum())


def respelled(row: dict[str, Any]) -> dict[str, str]:
    """Each key of a row, and the key that it is read as."""
    spellings = {letters(key): key for key in KNOWN}
    found: dict[str, str] = {}
    there = [key for key, value in row.items() if value is not None]
    for key in there:
        name = key if key in KNOWN or len(key) > 40 else spellings.get(letters(key), key)
        found[key] = name if name == key or (name not in there and name not in found.values()) else key
    return found


def shows(row: dict[str, Any]) -> str | None:
    """The format that a row with keys as they are read shows; of several the first one."""
    return next((name for name in FORMATS if is_of(row, name)), None)


def is_of(row: dict[str, Any], name: str) -> bool:
    """Whether the row has the format's keys."""
    return any(all(row.get(key) is not None for key in keys) for keys in FORMATS[name])


def empty(value: Any) -> bool:
    """Whether there is nothing in it."""
    if isinstance(value, dict):
        return all(empty(each) for each in value.values())
    return all(empty(each) for each in value) if isinstance(value, list) else value in (None, "") and value is not False


# Keys

_HARMLESS = re.compile(
    "(.+_)?id|(.+_)?ids|uid|uuid|guid|idx|(.+_)?index|__index_level_0__|(.+_)?hash|sha256|md5|checksum"
    "|(.+_)?source|src|dataset|dataset_name|origin|(.+_)?url|urls|link|author|annotator|license|licence|split|subset"
    "|version|model|model_name|generator|(.+_)?date|(.+_)?time|(.+_)?timestamp|.+_at|created|updated|modified"
    "|lang|(.+_)?language|locale|(.+_)?category|categories|subcategory|topics?|domain|tags?|type|difficulty|cache_control",
    re.DOTALL,
)
_REFUSED = """
chosen rejected chosenresponse rejectedresponse preferredoutput nonpreferredoutput responsej responsek options choices
image images audio audios video videos context contexts passage passages document documents history instruction input
paragraph system
"""
_LEARN = ["train", "training", "trainable", "trainonturn", "lossmask", "calculateloss", "computeloss"]
_TURNS = ["weight", "lossweight", "loss", "traindetail", *_LEARN]
_HIDE = ["mask", "masked", "ignoreloss", "skiploss", "noloss"]


_MARKS = ["label", "ktotag", "isdesirable", "desirable"]
_TOLD = """
weight sampleweight lossweight tools functions tooldefinitions
reasoning reasoningcontent thinking thought chainofthought
"""


def means(key: str) -> bool:
    """Whether a key of a row changes what there is to learn, whatever it holds."""
    return (letters(key) or key) in [*_REFUSED.split(), *_MARKS, *_TOLD.split(), *_LEARN, *_HIDE]


def _meant(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False, "1": 1, "0": 0, "1.0": 1, "0.0": 0}.get(value.strip().lower(), value)
    return value


def verdict(place: str, key: str, value: Any, role: str) -> str:
    """refused, told, or nothing where nothing is lost."""
    name = letters(key) or key
    if empty(value) or (key == "" and str(value).isdecimal()):
        return ""
    if len(key) > 100:
        return "told"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.strip()).lower().replace("-", "_").replace(" ", "_")
    meant = _meant(value)
    if name in _HIDE:
        return "refused" if meant else ""
    weight = place == "row" and name in ("weight", "sampleweight", "lossweight")
    if weight or name in (_LEARN if place == "row" else _TURNS):
        if (
            meant is True
            or (not isinstance(meant, bool) and meant == 1)
            or (role not in ("", "assistant") and not meant)
        ):
            return ""
        return "told" if weight else "refused"
    if (name == "label" and place in ("row", "message")) or (place == "row" and name in _MARKS):
        return "refused" if meant in (0, 1) and not isinstance(meant, list | dict) else "told"
    if place == "row" and name in _REFUSED.split():
        return "refused"
    if place == "message" and name in ("image", "images", "audio", "audios", "video", "videos"):
        return "refused"
    return "" if _HARMLESS.fullmatch(snake) else "told"


# Rows


@dataclass
class Said:
    """What a row says: the rules that it breaks so far, its turns if it has any, what else is to be told."""

    rules: set[str] = field(default_factory=set)
    turns: list[Turn] | None = None
    notes: set[Note] = field(default_factory=set)

    def note(self, place: str, key: str, value: Any, role: Any = "") -> None:
        """Notes a key that is not read."""
        if found := verdict(place, key, value, role if isinstance(role, str) else ""):
            self.notes.add((found, place, (key or "(no name)") if len(key) <= 100 else key[:97] + "..."))

    def turn(self, message: Any, sharegpt: bool = False) -> Turn | None:
        """A turn of a list."""
        if not isinstance(message, dict):
            self.rules.add("message_not_object")
            return None
        roles = SHAREGPT if sharegpt else ROLES
        role_keys, text_keys = (
            (("from", "role"), ("value", "content", "text")) if sharegpt else (("role",), ("content",))
        )
        role_key = next((key for key in role_keys if message.get(key) is not None), None)
        text_key = next((key for key in text_keys if message.get(key) is not None), None)
        role = _role(message[role_key], roles) if role_key else None
        text = message[text_key] if text_key else None
        for key, value in message.items():
            if key in (role_key, text_key) or key in TOOL_KEYS:
                continue
            if key not in role_keys or _role(value, roles) != role:
                self.note("message", key, value, role)
        message = {key: message[key] for key in TOOL_KEYS if key in message}
        return role, text, message

    def text(self, value: Any, role: Any) -> Any:
        """A content: parts as one text, if all are texts."""
        if not isinstance(value, list) or not value:
            return value
        texts = []
        for part in value:
            if isinstance(part, str):
                texts.append(part)
                continue
            if not isinstance(part, dict):
                self.rules.add("not_text")
                return None
            kind = part.get("type")
            if kind in ("tool_use", "tool_result", "tool_call"):
                self.rules.add("tool_call")
            named = [str(kind), *(key for key, each in part.items() if not empty(each))]
            if any(re.match("(?i)(input_)?(image|audio|video|file|media)", each) for each in named):
                self.rules.add("media_part")
            elif kind not in (None, "text", "input_text", "output_text") and not (
                kind == "thinking" and "text" not in part
            ):
                self.rules.add("not_text")
            if not isinstance(part.get("text"), str | None):
                self.rules.add("not_text")
                return None
            for key, each in part.items():
                if key not in ("type", "text"):
                    self.note("part", key, each, role)
            texts.append(part.get("text") or "")
        return "\n".join(each for each in texts if each)


def _role(value: Any, roles: dict[str, str]) -> Any:
    if not isinstance(value, str) or len(value) > 40:
        return value
    return roles.get(value.strip().lower(), value)


def read(row: dict[str, Any], name: str, cell: Callable[[Any], Any]) -> Said:
    """What a row says in a format. `cell`: a list that was written as a text, as that list."""
    names = respelled(row)
    known = {name: row[key] for key, name in names.items()}
    said = Said()
    used: tuple[str, ...]
    if name in ("messages", "sharegpt"):
        lists = ("messages",) if name == "messages" else ("conversations", "conversation")
        at = next(key for key in lists if known.get(key) is not None)
        turns = _list(cell(known[at]))
        used = (at, *SYSTEMS)
        if not isinstance(turns, list):
            said.rules.add("no_messages")
            return said
        if name == "messages" and any(
            isinstance(each, dict) and each.get("role") is None and each.get("from") is not None for each in turns
        ):
            said.rules.add("unknown_role")
        found = [said.turn(each, name == "sharegpt") for each in turns]
    else:
        asked, answer = BY_NAME[name]
        found = _asked(known, asked, answer, said, cell)
        used = (asked, answer, "context", "history", *SYSTEMS, *(("input",) if asked == "instruction" else ()))
    said.turns = _with_system([each for each in found if each is not None], known, said)
    texts = [text for _, text, _ in said.turns]
    for key, value in row.items():
        if key in names and names[key] not in used and not (isinstance(value, str) and value in texts):
            said.note("row", key, value)
    return said


def _list(value: Any) -> Any:
    """An object of lists as the list of objects that it stands for."""
    if not isinstance(value, dict) or not all(isinstance(each, list) for each in value.values()):
        return value
    if len({len(each) for each in value.values()}) != 1 or not ("role" in value or "from" in value):
        return value
    return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]


def _with_system(turns: list[Turn], row: dict[str, Any], said: Said) -> list[Turn]:
    texts = []
    for key in SYSTEMS:
        value = row.get(key)
        if empty(value):
            continue
        value = said.text(value, "system")
        if not isinstance(value, str):
            said.rules.add("not_text")
        elif value.strip():
            texts.append(value)
    if turns and texts:
        role, own, message = turns[0]
        if role == "system":
            own = said.text(own, "system")
            if not isinstance(own, str | None):
                return turns
            texts += [own] if own and own.strip() else []
            turns = turns[1:]
        else:
            message = {}
        turns = [("system", "\n\n".join(dict.fromkeys(texts)), message), *turns]
    elif len(turns) > 1 and turns[0][0] == "system" and not turns[0][2].get("tool_calls"):
        content = turns[0][1]
        if content is None or content == [] or (isinstance(content, str) and not content.strip()):
            said.notes.add(("blank_system", "rule", ""))
            turns = turns[1:]
    return [(role, said.text(text, role), message) for role, text, message in turns]


def _asked(row: dict[str, Any], asked: str, answer: str, said: Said, cell: Callable[[Any], Any]) -> list[Turn | None]:
    found: list[Turn | None] = []
    history = row.get("history")
    if not empty(history):
        history = _list(cell(history))
        for each in history if isinstance(history, list) else [history]:
            if isinstance(each, list) and len(each) == 2:
                found += [("user", each[0], {}), ("assistant", each[1], {})]
            else:
                found.append(said.turn(each))
                if isinstance(each, dict) and each.get("role") is None:
                    said.rules.add("unknown_role")
    order = (asked, "input", "context") if asked == "instruction" else ("context", asked)
    there = [key for key in order if key == asked or not empty(row.get(key))]
    both = (row[asked], row[answer])
    if all(isinstance(each, str) and each.startswith("[{") for each in both):
        if all(re.match(r"\[\{'(role|content)'", each) for each in both):
            said.rules.add("no_messages")
            return []
        if all(_messages(cell(each)) for each in both):
            row = row | {asked: cell(row[asked]), answer: cell(row[answer])}
    if _messages(row[asked]):
        if len(there) > 1:
            said.rules.add("not_text")
        found += [said.turn(each) for each in row[asked]]
    else:
        texts = []
        for key in there:
            value = row[key]
            if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
                value = "\n\n".join(each for each in value if each)
            elif value != []:
                before = set(said.rules)
                value = said.text(value, "user")
                if said.rules - before:
                    said.rules = before | {"not_text"}
            if not isinstance(value, str):
                said.rules.add("not_text")
            texts.append(value)
        found.append(("user", "\n\n".join(each for each in texts if each and isinstance(each, str)), {}))
    if _messages(row[answer]):
        found += [said.turn(each) for each in row[answer]]
    else:
        if not isinstance(row[answer], str):
            said.rules.add("not_text")
        found.append(("assistant", row[answer], {}))
    return found


def _messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "role" in each for each in value)
