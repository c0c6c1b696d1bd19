"""The documentation says what is there: settings, commands, links."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import pages, roles_page, settings_page
from tests.kit.paths import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ON_AZURE = [ROOT / "SECURITY.md", ROOT / "docs" / "azure.md", ROOT / "docs" / "operations.md"]
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_of(page: Path) -> str:
    """What a page shows as code, in the text and in blocks."""
    found = re.findall(r"```[^`\n]*\n(.*?)```|(?<!`)`([^`\n]+)`(?!`)", page.read_text(), re.DOTALL)
    return "\n".join(block or span for block, span in found)


def test_the_page_of_settings_is_fresh() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run `.venv/bin/python -m scripts.pages`"


def test_the_table_of_roles_is_fresh() -> None:
    assert roles_page.PAGE.read_text() == roles_page.page(), "run `.venv/bin/python -m scripts.pages`"
    assert roles_page.PAGE.read_text().count(roles_page.BEGIN) == 1


@pytest.mark.parametrize("page", ON_AZURE, ids=named)
def test_variables_of_azd_that_are_named_exist(page: Path) -> None:
    outputs = set(re.findall(r"^output (\w+)", (ROOT / "infra" / "main.bicep").read_text(), re.MULTILINE))
    of_the_command = {"DROPTUNE_KEY"}
    named = set(re.findall(r"\bDROPTUNE_\w+", page.read_text()))
    assert named <= set(roles_page.variables().values()) | outputs | of_the_command
    of_azd = {"AZURE_SUBSCRIPTION_ID"}
    assert set(re.findall(r"azd env get-value (\w+)", page.read_text())) <= outputs | of_azd


def test_every_page_that_a_script_makes_is_refreshed_before_a_commit() -> None:
    scripts = [path.stem for path in sorted((ROOT / "scripts").glob("*_page.py"))]
    assert {importlib.import_module(f"scripts.{name}").PAGE for name in scripts} <= set(pages.PAGES)
    assert "-m scripts.pages" in (ROOT / ".pre-commit-config.yaml").read_text()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_targets_that_are_named_exist(page: Path) -> None:
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code_of(page))) <= set(TARGETS)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_are_named_exist(page: Path) -> None:
    for command in sorted(set(re.findall(r"\./droptune ((?:local )?[a-z]+)", code_of(page)))):
        done = subprocess.run(
            [sys.executable, "-m", "cli", *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()}
    paths = re.findall(r"(?<![\w./-])([a-z]\w*/[\w./-]*[\w/])", code_of(page))
    assert [path for path in paths if path.split("/")[0] in tops and not (ROOT / path).exists()] == []


def test_every_decision_is_listed_under_its_title() -> None:
    listed = dict(
        re.findall(r"\[(\d{4})\]\((\d{4}-[\w-]+\.md)\)", (ROOT / "docs" / "decisions" / "README.md").read_text())
    )
    there = {path.name[:4]: path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    assert listed == there
    for number, name in there.items():
        assert (ROOT / "docs" / "decisions" / name).read_text().startswith(f"# {number}: ")


def test_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE) == TARGETS


def test_every_lifecycle_event_is_on_its_page_and_no_other() -> None:
    """Their kinds are the texts in the app's code that look like one: two names in capitals and a dot."""
    kinds = {
        node.value
        for path in (ROOT / "shared").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[A-Z]\w*\.[A-Z]\w*", node.value)
    }
    rows = [
        line.split("|")[1] for line in (ROOT / "docs" / "rollout.md").read_text().splitlines() if "`Droptune." in line
    ]
    listed = set()
    for row in rows:
        first, *others = re.findall(r"`([\w.]+)`", row)
        listed |= {first, *(first.rpartition(".")[0] + each for each in others)}
    assert listed == {f"Droptune.{kind}" for kind in kinds}
