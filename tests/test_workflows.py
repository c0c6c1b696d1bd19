"""The workflows of .github/: what they may, what they call, and that no secret is named. None of them has run yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.paths import ROOT

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
PINNED = re.compile(r"[\w-]+/[\w/-]+@(v\d+(\.\d+)*|[0-9a-f]{40})")
# The only one that acts on anything outside the repository, and only that job of it.
EXCHANGES_A_TOKEN = {"deploy.yml deploy"}


def named(path: Path) -> str:
    return path.name


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in read(path)["jobs"].values():
        yield from job["steps"]


def commands(path: Path) -> str:
    return "\n".join(step["run"] for step in steps(path) if "run" in step)


def test_there_are_those_that_the_page_names_and_no_others() -> None:
    page = (ROOT / "docs" / "azure.md").read_text().partition("## Workflows")[2]
    assert {path.name for path in WORKFLOWS} == set(re.findall(r"^\| `(\w+\.yml)` \|", page, re.MULTILINE))
    assert "**none has run yet**" in page


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_a_workflow_may_read_the_code_and_nothing_else_unless_it_has_to(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        more = {"id-token": "write"} if f"{path.name} {name}" in EXCHANGES_A_TOKEN else {}
        assert job.get("permissions", {"contents": "read"}) == {"contents": "read"} | more
        assert job["timeout-minutes"] <= 90


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_targets_that_are_called_exist(path: Path) -> None:
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", commands(path))) <= TARGETS


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_files_that_are_named_exist(path: Path) -> None:
    tops = {each.name for each in ROOT.iterdir() if each.is_dir()} - {"dist"}
    paths = re.findall(r"(?<![\w./$@-])([a-z]\w*/[\w./-]*\w)", commands(path))
    assert [each for each in paths if each.split("/")[0] in tops and not (ROOT / each).exists()] == []


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yml")), ids=named)
def test_no_secret_is_named_but_githubs_own(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    assert "secrets:" not in text
    assert "secrets[" not in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_actions_are_pinned_and_leave_no_token_behind(path: Path) -> None:
    for step in steps(path):
        assert PINNED.fullmatch(step.get("uses", "actions/none@v1")), step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_nothing_that_a_stranger_writes_is_put_into_a_command_or_run_with_rights(path: Path) -> None:
    assert "${{" not in commands(path), "hand it over as a variable of the environment"
    assert "pull_request_target" not in path.read_text()
    assert "workflow_run" not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_a_pipe_fails_when_a_part_of_it_does(path: Path) -> None:
    """Without a shell that is named, GitHub's bash goes without pipefail."""
    named = read(path).get("defaults", {}).get("run", {}).get("shell")
    assert named == "bash" or not re.search(r"\s\|\s", commands(path))


def test_what_spends_money_starts_by_hand_and_can_be_held_for_an_approval() -> None:
    deploy = read(FOLDER / "workflows" / "deploy.yml")
    assert deploy[True] == {"workflow_dispatch": None}, "YAML takes the key `on` for a truth value"
    assert deploy["jobs"]["deploy"]["environment"] == "test"


def test_updates_look_where_the_lock_files_are() -> None:
    updates = read(FOLDER / "dependabot.yml")["updates"]
    where = {each["package-ecosystem"]: each["directory"] for each in updates}
    assert where.keys() == {"pip", "npm", "github-actions"}
    assert list((ROOT / where["pip"].strip("/")).glob("requirements*.in"))
    assert (ROOT / where["npm"].strip("/") / "package-lock.json").exists()
