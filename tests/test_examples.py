"""The example datasets, as people make them and as Droptune reads them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples import make_broken, make_chitchat, make_facts
from shared.dataset.judging.checker import Checker
from shared.dataset.judging.rules import Facts
from shared.dataset.reading.files import Limits
from shared.dataset.spec import finetune

EXAMPLES = Path(make_facts.__file__).parent


def run(script: str, folder: Path) -> str:
    """Run an example's script on a folder that it has to make."""
    command = [sys.executable, str(EXAMPLES / script), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def faults(path: Path) -> dict[int, str]:
    """Rules that Droptune's check finds broken, by line."""
    checker = Checker(file=path.name, part="train", facts=Facts(), limits=Limits(), seed=0)
    return {fault.line: fault.rule for batch in checker.lines([path.read_bytes()]) for fault in batch.faults}


def test_facts_are_good_rows(tmp_path: Path) -> None:
    assert "2000 training rows and 250 test rows" in run("make_facts.py", tmp_path / "facts")
    assert faults(tmp_path / "facts" / "train.jsonl") == {}
    assert faults(tmp_path / "facts" / "test.jsonl") == {}


def test_facts_are_the_same_for_a_seed() -> None:
    assert make_facts.make(5) == make_facts.make(5)
    assert make_facts.make(5) != make_facts.make(6)


def test_a_test_question_is_in_no_training_row_but_its_answer_is() -> None:
    train, test = ([row["messages"] for row in rows] for rows in make_facts.make())
    asked = [messages[0]["content"] for messages in train]
    answers = {messages[1]["content"] for messages in train}
    assert len(set(asked)) == len(asked)
    for question, answer in test:
        assert not any(question["content"] in other for other in asked)
        assert answer["content"] in answers


def test_every_broken_row_is_found_and_no_other(tmp_path: Path) -> None:
    printed = run("make_broken.py", tmp_path / "broken")
    found = faults(tmp_path / "broken" / "train.jsonl")
    assert list(found) == [2 * number for number in range(1, len(make_broken.BAD) + 1)]
    assert len(printed.splitlines()) == len(make_broken.BAD)
    assert len(set(found.values())) == len(found) - 1, "two rows break the same rule: a blank and a null content"


CONVERSATION: dict[str, Any] = {
    "prompt": "Cats or dogs?",
    "ratings": {"witty": "5", "upbeat": 4},
    "messages": [
        [{"text": "I like cats"}, {"text": "a lot!"}],
        [{"text": "And I like dogs better."}],
        [{"text": "Why is that, tell me?"}],
        [{"text": "They come when I call them."}],
        [{"text": "ok"}],
    ],
}


def test_small_talk_becomes_rows_and_a_spec(tmp_path: Path) -> None:
    disliked = CONVERSATION | {"ratings": {"witty": 1}}
    short = CONVERSATION | {"messages": CONVERSATION["messages"][:2]}
    (row,) = make_chitchat.rows({"1": CONVERSATION, "2": disliked, "3": short}, 1, seed=1)
    assert row["prompt"] == "I like cats a lot!"
    assert [message["role"] for message in row["messages"]] == ["system", *("user", "assistant") * 2]
    make_chitchat.write(tmp_path, [row, row], 1)
    assert faults(tmp_path / "train.jsonl") == faults(tmp_path / "test.jsonl") == {}
    read = finetune.parse((tmp_path / "finetune.yaml").read_bytes())
    assert (read.model, read.files) == ("SmolLM2-135M-Instruct", ("train.jsonl", "test.jsonl"))


def test_too_few_conversations_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 were asked for"):
        make_chitchat.rows({"1": CONVERSATION}, 2, seed=1)
