"""Make a dataset that must not be trained on: `python examples/make_broken.py DIR`.

It writes DIR/train.jsonl: good rows, and between them one bad row of each kind that people upload by mistake. Drop the
folder to see every bad row named with its line and reason before a GPU is paid for. What is wrong where is printed, and
is in `BAD` for the tests.
"""

import argparse
import json
from pathlib import Path


def _row(*messages: tuple[str, object]) -> bytes:
    row = {"messages": [{"role": role, "content": content} for role, content in messages]}
    return json.dumps(row, ensure_ascii=False).encode()


_QUESTION, _ANSWER = ("user", "How do I reset the Owl lamp?"), ("assistant", "Hold the power button for 10 seconds.")

BAD: dict[str, bytes] = {
    "cut off in the middle": _row(_QUESTION, _ANSWER)[:-20],
    "a list and no object": json.dumps([_QUESTION[1], _ANSWER[1]]).encode(),
    "a prompt and a completion, where the other rows have messages": json.dumps(
        {"prompt": _QUESTION[1], "completion": _ANSWER[1]}
    ).encode(),
    "no message at all": _row(),
    "messages that are plain texts": json.dumps({"messages": [_QUESTION[1], _ANSWER[1]]}).encode(),
    "a role of another format": _row(("human", _QUESTION[1]), ("gpt", _ANSWER[1])),
    "an empty answer": _row(_QUESTION, ("assistant", "  ")),
    "a content that is null": _row(_QUESTION, ("assistant", None)),
    "nobody answers": _row(_QUESTION),
    "nobody asks": _row(_ANSWER),
    "the user has the last word": _row(_QUESTION, _ANSWER, ("user", "Thanks!")),
    "the system message at the end": _row(_QUESTION, ("system", "You help customers."), _ANSWER),
    "Latin-1 instead of UTF-8": _row(("user", "Wie hell ist die größte Lampe?"), _ANSWER).decode().encode("latin-1"),
    "two answers one after the other": _row(_QUESTION, _ANSWER, _ANSWER),
    "a key that is there twice": _row(_QUESTION, _ANSWER)[:-1] + b', "messages": []}',
    "a formula that lost its backslash": _row(
        ("user", "What is the lamp's decay rate?"), ("assistant", "\beta is 0.5.")
    ),
}
"""What is wrong, and the line."""


def lines() -> list[bytes]:
    """The file's lines: even ones (counted from 1) are the bad rows in the order of `BAD`, odd ones are good rows."""
    made = []
    for number, bad in enumerate(BAD.values(), 1):
        made += [_row(("user", f"How much do {number} Owl lamps cost?"), ("assistant", f"{90 * number} euros.")), bad]
    return [*made, _row(_QUESTION, _ANSWER)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a dataset with a bad row of each kind.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_bytes(b"\n".join(lines()) + b"\n")
    for number, what in enumerate(BAD, 1):
        print(f"line {2 * number}: {what}")


if __name__ == "__main__":
    main()
