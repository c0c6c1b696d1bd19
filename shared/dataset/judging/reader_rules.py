"""The rules about what the training's reader takes, and about what a hub's card says; they are among RULES."""

from __future__ import annotations

from collections.abc import Mapping

from shared.dataset.judging.rule import Rule

READERS: Mapping[str, Rule] = {
    "tool_call": Rule(
        "error",
        "row",
        'Write each call as {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{...}"}}, and '
        "tool_call_id and name as texts.",
        "A tool call, or what names one, is of another form than the training's reader takes. Arguments may be an "
        "object or its JSON as a text; they are written as a text, since the reader would mix the keys of all rows' "
        "objects. A number that overflows (1e999) would be learned as null. Parts of a content are no calls.",
    ),
    "only_times": Rule(
        "error",
        "dataset",
        "Add a word to the prompts: Which date is 2026-01-31?, for example.",
        "All texts of a part, or of its first megabyte, are dates or times: the training's reader makes points in time "
        "of them.",
    ),
    "stale_card": Rule(
        "warning",
        "file",
        "Look at the files: they count, and not the card.",
        "The card of a dataset on the Hub says other splits, rows, columns or types than its files have.",
    ),
}
