"""Writes the map in docs/architecture.md: the rooms of the app, drawn from .importlinter, and what each holds.

What a room holds is the first sentence of its docstring. The rest of the page is written by hand and left as it is.
`.venv/bin/python -m scripts.architecture_page`; tests/test_architecture.py fails when the map is stale.
"""

from __future__ import annotations

import ast
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- map: made by scripts/architecture_page.py -->\n", "<!-- end of the map -->\n"
WIDTH = 74


def rows() -> list[list[str]]:
    """The layers of the contract, top first: the names of the rooms that stand side by side."""
    contract = ConfigParser()
    contract.read(ROOT / ".importlinter")
    layers = contract["importlinter:contract:layers"]["layers"].split("\n")
    return [[room.strip() for room in layer.split("|")] for layer in layers if layer.strip()]


def path_of(room: str) -> Path:
    """The folder or file of a room."""
    path = ROOT / room.replace(".", "/")
    return path if path.is_dir() else path.with_suffix(".py")


def holds(room: str) -> str:
    """What a room holds: the first sentence of its docstring."""
    path = path_of(room)
    source = path / "__init__.py" if path.is_dir() else path
    return " ".join((ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n\n")[0].split())


def drawing() -> str:
    """The rooms as boxes: whoever stands above may import whoever stands below, and nobody beside or above."""
    lines = ["┌" + "─" * WIDTH + "┐"]
    for number, row in enumerate(rows()):
        if number:
            lines.append("├" + "─" * WIDTH + "┤")
        names = "   │   ".join(_short(room) for room in row)
        lines.append(f"│ {names.center(WIDTH - 2)} │")
    return "\n".join([*lines, "└" + "─" * WIDTH + "┘"])


def made() -> str:
    """The map: the drawing, and a table of the rooms in the same order."""
    table = [
        f"| `{path_of(room).relative_to(ROOT)}{'/' if path_of(room).is_dir() else ''}` | {holds(room)} |"
        for row in rows()
        for room in row
    ]
    return "\n".join([BEGIN + "```", drawing(), "```", "", "| room | holds |", "|---|---|", *table, END])


def page() -> str:
    """The whole page, with the map anew."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + made() + rest.partition(END)[2]


def _short(room: str) -> str:
    name = room.removeprefix("shared.")
    return f"{name}/" if path_of(room).is_dir() else f"{name}.py"


if __name__ == "__main__":
    PAGE.write_text(page())
