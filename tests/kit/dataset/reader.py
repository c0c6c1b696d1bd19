"""The training's reader: what the fine-tune component's image loads rows with, in an environment of its own.

`.venv-reader` holds its version of `datasets` (requirements-reader.in); `make test-all` makes it, and so does this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.kit.paths import ROOT

HOW = ("whole", "streamed", "rewritten")
"""At once, as the component does it; row by row; and rewritten first, without nulls, as the component does, too."""
_READ = """
import json, os, sys, tempfile
import datasets
datasets.disable_progress_bars()
datasets.logging.set_verbosity(datasets.logging.CRITICAL)
assert datasets.__version__ == "4.0.0"

def clean(messages):
    return [{key: value for key, value in message.items() if value is not None} for message in messages]

def plain(value):
    # A key that some rows have is null in the others: of a message's own the component makes nothing of that.
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if each is not None}
    return [plain(each) for each in value] if isinstance(value, list) else value

def rewritten(path, folder):
    made = os.path.join(folder, "rewritten.jsonl")
    with open(path, encoding="UTF-8-sig") as source, open(made, "w") as target:
        for line in source:
            row = json.loads(line)
            target.write(json.dumps({**row, "messages": clean(row["messages"])}) + "\\n")
    return made

def read(path, how):
    with tempfile.TemporaryDirectory() as folder:
        file = rewritten(path, folder) if how == "rewritten" else path
        options = {"split": "train", "cache_dir": folder, "streaming": how == "streamed"}
        rows = datasets.load_dataset("json", data_files=file, **options)
        return [plain(row["messages"]) for row in rows]

for line in sys.stdin:
    path, how = json.loads(line)
    try:
        told = read(path, how)
    except Exception as error:
        while error.__cause__:
            error = error.__cause__
        told = f"{type(error).__name__}: {error}"
    with open(path, encoding="utf-8") as file:
        rows = [plain(json.loads(row)["messages"]) for row in file]
    if isinstance(told, list):
        wrong = [(a, b) for a, b in zip(rows, told) if a != b][:1]
        told = "" if rows == told else f"{len(told)} of {len(rows)} rows; {str(wrong)[:500]}"
    print(json.dumps([path, how, told]), flush=True)
"""


@cache
def python() -> Path:
    """The environment's interpreter; it is made first where it is not there."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "setup.py", "--reader"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ROOT / ".venv-reader" / "bin" / "python"


def wrong(paths: Sequence[Path], how: Sequence[str] = HOW) -> list[Any]:
    """Of which files the reader does not find the messages that are written there, how it was read, and what it said.

    Files without rows are passed over: the component refuses them anyhow.
    """
    jobs = [[str(path), each] for path in paths if path.stat().st_size for each in how]
    options = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(paths[0].parent / "home")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    done = subprocess.run(
        [python(), "-c", _READ],
        input="".join(json.dumps(job) + "\n" for job in jobs),
        env=kept | options,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(jobs)
    return [each for each in found if each[2]]
