"""A newcomer follows README and tutorial to the letter, in a fresh folder: what they show is what comes.

Each block of commands is run in order, but those marked `set-up` or `long`; its output is held against what the page
shows, and each command that an output tells to paste next is parsed, and run where it only looks. In `make test` jobs
and deployments pretend; in `make test-all` they train and serve for real.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.blocks import (
    PATIENCE,
    Block,
    Reader,
    blocks,
    like_the_repository,
    next_commands,
    only_looks,
    parsed,
    reading,
)
from tests.kit.paths import ROOT

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
NOTEBOOK = ROOT / "docs" / "from-the-notebook.md"
STARTS = "droptune local up"
PRETENDS = (
    # The first two versions say what their data say; what is brought back is the first.
    'droptune local pretend jobs --match "" --seconds 1 --metric eval_loss=0.5',
    'droptune local pretend deployments --match "" --count 1 --answer "The warranty is two years."',
    'droptune local pretend deployments --match "" --count 1 --answer "The warranty is three years."',
    'droptune local pretend deployments --match "" --answer "The warranty is two years."',
)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_newcomer_comes_through_with_jobs_that_pretend(tmp_path: Path) -> None:
    with reading(tmp_path / "fresh") as reader:

        def pretend(block: Block) -> None:
            if block.shown and block.shown.startswith("ready"):  # the cloud is up
                assert reader.run("\n".join(PRETENDS)).code == 0

        followed(TUTORIAL, reader, pretend)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_newcomer_comes_through_with_real_training(tmp_path: Path) -> None:
    with reading(tmp_path / "fresh") as reader:
        followed(TUTORIAL, reader)


@pytest.mark.slow
def test_the_readme_shows_what_comes(tmp_path: Path) -> None:
    with reading(like_the_repository(tmp_path / "droptune")) as reader:
        followed(README, reader)


def followed(page: Path, reader: Reader, after: Callable[[Block], None] = lambda _: None) -> None:
    """Runs a page's blocks, and what they tell to run next. Fails at the first that is otherwise than the page says.

    What would change something is run by the page itself, further down.
    """
    every, tried = blocks(page.read_text(), page.name), set[str]()
    for number, block in enumerate(every):
        if block.skipped:
            continue
        done, wrong = reader.follow(block)
        assert not wrong, wrong
        after(block)
        for arguments in next_commands(done.printed):
            command = shlex.join(["droptune", *arguments])
            if command in tried:
                continue
            tried.add(command)
            assert parsed(arguments), f"{block.where} tells to run what there isn't: {command}"
            if only_looks(arguments) or arguments[0] == "ask":
                looked = reader.run(command, patience=PATIENCE)
                assert looked.code != 2, f"{block.where} tells to run {command}, which says:\n{looked.printed}"
            else:
                later = [line for each in every[number:] for line in each.text.splitlines()]
                assert command in later, f"{block.where} tells to run {command}, which nobody tries"


@pytest.mark.parametrize("page", [README, TUTORIAL, NOTEBOOK], ids=lambda page: page.name)
def test_every_command_of_a_page_is_known_with_its_arguments(page: Path) -> None:
    found = [
        (block.where, shlex.split(match["rest"], comments=True))
        for block in blocks(page.read_text(), page.name)
        for line in block.text.replace("\\\n", "").splitlines()
        if (match := re.match(r"(?:\./)?droptune (?P<rest>.*?)(?: >.*)?$", line))
    ]
    found += [(page.name, shlex.split(rest)) for rest in re.findall(r"`droptune ([^`]+)`", page.read_text())]
    assert found
    assert [(where, arguments) for where, arguments in found if not parsed(arguments)] == []


def test_a_command_that_there_is_not_is_not_parsed() -> None:
    assert parsed(["show", "faq", "--json"])
    assert not parsed(["shew", "faq"])
    assert not parsed(["show"])
    assert not parsed(["show", "faq", "--jsonn"])
    assert not parsed(["local", "upp"])


def test_the_tutorial_needs_no_python_and_shows_each_of_the_ways() -> None:
    commands = "\n".join(block.text for block in blocks(TUTORIAL.read_text(), TUTORIAL.name))
    assert "python" not in commands.lower()
    ways = ("check", "push", "ask", "compare", "rollback", "watch", "local clock", "revive", "status", "local down")
    assert [way for way in ways if f"droptune {way}" not in commands] == []
    assert f"{STARTS} --set CLEANUP_MODE=delete" in commands


def test_the_notebook_page_has_its_nine_steps() -> None:
    text = NOTEBOOK.read_text()
    assert re.findall(r"^## (\d)\. ", text, re.MULTILINE) == [str(number) for number in range(1, 10)]
    steps = re.split(r"^## \d\. ", text, flags=re.MULTILINE)[1:]
    assert [step.splitlines()[0] for step in steps if not ("**By hand:**" in step and "**Now:**" in step)] == []
    assert len(blocks(text, NOTEBOOK.name)) == 9


def test_the_readme_is_short_and_leads_to_the_tutorial() -> None:
    text = README.read_text()
    assert len(text.split()) < 700
    assert "](docs/tutorial.md)" in text
    assert "](docs/from-the-notebook.md)" in text
    assert all(f"make {target} " in text for target in ("demo", "test")), "its two commands"
