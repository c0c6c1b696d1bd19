"""One word, one thing: the glossary has the words that people meet, and words that were given up stay away."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import get_args

import pytest

from cli.__main__ import main
from cli.steer import OF_LINES, OF_RUNS
from shared.api.line_commands import ON_LINES
from shared.api.run_commands import ON_RUNS
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Hold, Phase
from shared.records.line import State
from tests.kit.paths import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS = [
    term
    for line in GLOSSARY.read_text().splitlines()
    if line.startswith("- ")
    for term in re.findall(r"\*\*([^*]+)\*\*", line)
]
DOCS = [
    path
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
    if path.name not in ("CHANGELOG.md", GLOSSARY.name)
]
CODE = sorted(path for room in ("shared", "functions", "cli") for path in (ROOT / room).rglob("*.py"))
GIVEN_UP = (
    "heading",
    "heads",
    "leaving",
    "stray",
    "strays",
    "sidelined",
    "untold",
    "to_tell",
    "queue_up",
    "admit",
    "make_computes",
    "Pinned",
    "Heading",
    "Leaving",
    "Stray",
    "StrayFound",
)
"""Words of records, actions and looks that have others now."""


def help_texts() -> str:
    """What `--help` prints, of the command and of every subcommand."""
    found = []
    for command in ("", "runs", "show", "check", "fetch", "demo", "recover", *OF_RUNS, *OF_LINES):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        found.append(out.getvalue())
    return "\n".join(found)


def test_no_term_is_explained_twice() -> None:
    assert {term for term in TERMS if TERMS.count(term) > 1} == {"pin"}, "what is waited for, and the command"


def test_every_word_that_people_may_meet_is_explained() -> None:
    states = {state.__struct_config__.tag for state in get_args(State.__value__)}
    met = {*Phase, *filter(None, get_args(Hold.__value__)), *states, *ON_RUNS, *ON_LINES, "recover", "hold", "parked"}
    assert met - set(TERMS) == set()


def test_what_is_explained_is_in_use() -> None:
    text = "\n".join(path.read_text() for path in (*DOCS, *CODE)) + help_texts()
    spelled = {term: r"\s+".join(map(re.escape, term.split())) for term in TERMS}
    unused = [term for term, pattern in spelled.items() if not re.search(rf"\b{pattern}", text)]
    assert unused == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_no_word_that_was_given_up(path: Path) -> None:
    assert set(re.findall(r"\w+", path.read_text())) & set(GIVEN_UP) == set()


def test_help_uses_no_word_that_was_given_up() -> None:
    assert set(re.findall(r"\w+", help_texts())) & set(GIVEN_UP) == set()


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_the_code_are_none_that_was_given_up(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg | ast.keyword) and node.arg}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert names & set(GIVEN_UP) == set()


def test_an_action_has_words_for_people() -> None:
    for action in Action:
        assert action.value not in action.doing.split()
        assert action.value not in action.done.split()
        assert "_" not in action.doing + action.done


def test_pages_name_no_action() -> None:
    """How an action is called is for the code; architecture.md and decisions may name the functions."""
    for path in DOCS:
        if path.name != "architecture.md":
            assert set(re.findall(r"\w+", path.read_text())) & set(Action) == set(), path.name
