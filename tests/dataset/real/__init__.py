"""Files that nobody here wrote: those in this folder, and those in the folder that DROPTUNE_REAL_FILES names.

tests/README.md lists them all, with where they come from and their licences.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".gz")


def files() -> list[Path]:
    """All of them, in the order of their names."""
    more = os.environ.get("DROPTUNE_REAL_FILES")
    folders = [HERE, *([Path(more)] if more else [])]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in ENDINGS)


def rows() -> Iterator[dict[str, Any]]:
    """Their rows, as they are: of those in JSON and JSON Lines."""
    for path in files():
        text = path.read_text(encoding="utf-8") if path.suffix in (".json", ".jsonl") else ""
        found = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
        if isinstance(found, list):
            yield from (each for each in found if isinstance(each, dict))
