"""docs/architecture.md is true: its map is that of the contract, and what it names is there."""

from __future__ import annotations

import ast
import re

from scripts import architecture_page
from scripts.architecture_page import PAGE, path_of, rows
from tests.kit.paths import ROOT


def test_the_map_is_that_of_the_contract() -> None:
    assert PAGE.read_text() == architecture_page.page(), "run `.venv/bin/python -m scripts.pages`"


def test_every_room_of_the_app_is_on_the_map() -> None:
    rooms = {path_of(room) for row in rows() for room in row}
    there = {path for path in (ROOT / "shared").iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert there == {room for room in rooms if room.parent.name == "shared"}


def test_the_house_stays_small() -> None:
    assert len(rows()) <= 12
    assert sum(path.name != "__pycache__" for path in (ROOT / "shared").iterdir()) <= 19


def test_functions_that_are_named_exist() -> None:
    named = re.findall(r"`([\w/]+\.py):(\w+)`", PAGE.read_text())
    assert named
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}:{name}"


def test_functions_and_files_stay_short() -> None:
    for folder in ("functions", "shared", "cli", "localcloud", "scripts", "benchmarks", "examples"):
        for path in (each for each in (ROOT / folder).rglob("*.py") if "node_modules" not in each.parts):
            source = path.read_text()
            assert source.count("\n") <= 500, f"{path} is long: what is a room of its own in it?"
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    length = (node.end_lineno or 0) - node.lineno + 1
                    assert length <= 60, f"{path}: {node.name} has {length} lines"
