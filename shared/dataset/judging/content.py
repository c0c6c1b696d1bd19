"""What a message says if its content is not plainly a text: parts that are texts are joined, others are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.dataset.judging.keys import Found, empty
from shared.dataset.judging.parsing import Bad
from shared.dataset.safety.search import in_short

_TEXTS = ("text", "input_text", "output_text", None)  # a type may be a list, which no set takes
_MEDIA = ("image", "audio", "video", "file", "media")


def text_of_parts(parts: Sequence[object], notes: list[Found], role: str = "") -> str | tuple[str, str]:
    """The text of a content's parts, joined by line breaks; or the rule that they break, and what is wrong.

    What else than its text a part has is added to `notes`.
    """
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            return "not_text", "has a part that is neither a text nor an object"
        type_ = part.get("type")
        if type_ in ("tool_use", "tool_result", "tool_call"):
            return (
                "tool_call",
                f"has a part of the type {type_}: write calls as tool_calls, and results as messages of the role tool",
            )
        named = [str(type_), *(key for key, value in part.items() if not empty(value))]
        if any(name.lower().removeprefix("input_").startswith(_MEDIA) for name in named):
            return "media_part", "has images, sound or files among its parts, which are not learned from"
        if type_ not in _TEXTS and not (type_ == "thinking" and "text" not in part):
            held = _text_key(part)
            cure = f": write instead the text in its key {held}" if held else ""
            return "not_text", f"has a part of the type {in_short(type_)}, which is no text{cure}"
        key = "value" if type_ == "text" and part.get("text") is None else "text"  # as LLaMA-Factory has it
        text = part.get(key)
        if not isinstance(text, str | None):
            return "not_text", "has a part whose text is no text"
        notes += [
            ("part", name, value, role)
            for name, value in part.items()
            if name not in ("type", key) and not empty(value)
        ]
        if text:
            texts.append(text)
    return "\n".join(texts)


_HOLD_TEXTS = ("text", "texts", "parts", "content", "value", "sentences", "refusal")


def _text_key(value: Mapping[str, object]) -> str:
    """The key of an object that holds its text, or its texts, whatever is around them; empty if there is none."""
    return next((key for key in _HOLD_TEXTS if _has_text(value.get(key))), "")


def _has_text(value: object) -> bool:
    if isinstance(value, dict):
        return bool(_text_key(value))
    return any(map(_has_text, value)) if isinstance(value, list) else isinstance(value, str)


def not_text(what: str, value: object) -> Bad:
    """What is said of a value that should be a text, and what to do."""
    if isinstance(value, bool):
        return "not_text", f'{what} is a boolean: write it in quotes, as a text ("{str(value).lower()}")'
    if isinstance(value, int | float):
        return "not_text", f'{what} is a number: write it in quotes, as a text ("{str(value)[:20]}")'
    if isinstance(value, dict):
        if held := _text_key(value):
            return "not_text", f"{what} is an object: write instead the text in its key {held}"
        return "not_text", f"{what} is an object: write it as a text, its JSON in quotes (json.dumps)"
    return "not_text", f"{what} is a list: write it as a text"
