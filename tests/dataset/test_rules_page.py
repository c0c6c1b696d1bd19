"""docs/rules.md: as fresh as the rules, with a section for each, and examples that break the rule they stand at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import rules_page
from shared.dataset.judging.formats import FORMATS
from shared.dataset.judging.keys import HARMLESS, MEANINGS
from shared.dataset.judging.rules import RULES
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.files import LocalFile
from tests.kit.rows import row

PAGE = rules_page.PAGE.read_text(encoding="utf-8")


def test_the_page_is_fresh() -> None:
    assert rules_page.page() == PAGE, "run `.venv/bin/python -m scripts.pages`"


def test_every_rule_has_one_section() -> None:
    assert sorted(re.findall(r"^### (.*)$", PAGE, re.MULTILINE)) == sorted(RULES)


def test_every_format_is_named() -> None:
    chapter = PAGE.partition("## What is read")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)
    assert set(named) <= {each.name for each in FORMATS}
    assert {"messages", "sharegpt", "alpaca"} <= set(named)
    for each in FORMATS:  # those that are not named are pairs of keys that are
        assert each.name in named or (f"`{each.question}`" in chapter and f"`{each.answer}`" in chapter)


def test_every_key_that_is_judged_is_on_the_page() -> None:
    chapter = PAGE.partition("## Keys")[2].partition("\n## ")[0]
    assert all(f"`{key}`" in chapter for kinds in HARMLESS.values() for key in kinds)
    assert all(f"`{key}`" in chapter for keys in MEANINGS.values() for key in keys)


@pytest.mark.parametrize("rule", rules_page.EXAMPLES)
def test_the_example_breaks_its_rule(rule: str, tmp_path: Path) -> None:
    example = rules_page.EXAMPLES[rule]
    rows = [row(f"prompt {number}").decode() + "\n" for number in range(20)] if example.kind == ".jsonl" else []
    if example.kind == ".csv":
        rows = [example.good, *(f"prompt {number},answer\n" for number in range(20))]
    path = tmp_path / f"train{example.kind}"
    path.write_text("".join([*rows, *([f"{example.good}\n"] if example.kind == ".jsonl" and example.good else [])]))
    good = prepare(files={"train": LocalFile(path)}, sinks=None) if rows else None
    assert good is None or not good.rejected
    path.write_text(path.read_text() + example.bad)
    report = prepare(files={"train": LocalFile(path)}, sinks=None)
    assert dict(report.by_rule if RULES[rule].severity == "error" else report.warnings) == {rule: 1}
    assert bool(report.rejected) == (RULES[rule].severity == "error")
    assert example.bad.rstrip("\n") in PAGE


def test_rules_that_a_row_can_show_have_an_example() -> None:
    """The others are about bytes that no page can show, other files, the model, or sizes."""
    others = {"not_utf8", "row_too_large", "prompt_in_both", "over_context", "tool_call"}
    others |= {"personal_data_refused", "masked"}  # as finetune.yaml has it
    assert {rule for rule in RULES if RULES[rule].scope == "row"} - others <= set(rules_page.EXAMPLES)
