"""Files that nobody here wrote: conversations out of an installed package, and what DROPTUNE_REAL_FILES names.

tests/README.md lists them all, with where they come from and their licences. None of them is in the repository.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".gz")
CONVERSATIONS = 1_500
"""So many of the package's 7,168: every trouble is in them."""


@cache
def chitchat() -> tuple[bytes, bytes]:
    """The package's file as it is, cut to the first conversations, and these as JSON Lines of `messages`.

    Its turns are lists of texts by one speaker, joined here; nothing else is mended.
    """
    path = Path(str(distribution("chitchat-dataset").locate_file("chitchat_dataset/dataset.json")))
    first = dict(list(json.loads(path.read_text(encoding="utf-8")).items())[:CONVERSATIONS])
    converted = [
        {
            "prompt": each.get("prompt"),
            "messages": [
                {"role": ("user", "assistant")[at % 2], "content": " ".join(part["text"] for part in turn)}
                for at, turn in enumerate(each["messages"])
            ],
        }
        for each in first.values()
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in converted)
    return json.dumps(first, indent=1).encode(), lines.encode()


def files() -> Iterator[tuple[str, bytes]]:
    """Name and content of all of them."""
    original, converted = chitchat()
    yield "original.json", original
    yield "conversations.jsonl", converted
    if more := os.environ.get("DROPTUNE_REAL_FILES"):
        for path in sorted(Path(more).rglob("*")):
            if path.suffix in ENDINGS:
                yield path.name, path.read_bytes()


def rows() -> Iterator[dict[str, Any]]:
    """Their rows, as they are: of those in JSON and JSON Lines."""
    for name, data in files():
        if name.endswith((".json", ".jsonl")):
            found = json.loads(data) if name.endswith(".json") else [json.loads(line) for line in data.splitlines()]
            if isinstance(found, list):
                yield from (each for each in found if isinstance(each, dict))
