"""`droptune models`: the base models that a finetune.yaml may name, and what each needs. Called by `__main__`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.client_options import add_client_options, client_of
from cli.say import NAME, SENTENCE, escaped, say_json

if TYPE_CHECKING:
    from shared.api.models_schema import ModelList, ModelView

_SHORT = 13
"""Characters of a version or licence in a column."""
_SIZES = 3
"""VM sizes that are named where there are several models."""
_HOW = (
    """without NAME, of a registry of thousands those that look made for chats are shown; part of a name finds others"""
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds this command to the parser."""
    command = commands.add_parser("models", help="the base models that finetune.yaml may name", epilog=_HOW)
    command.add_argument("name", nargs="?", default="", metavar="NAME", help="those with this in their name alone")
    add_client_options(command)
    command.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.screen import Screen

    found = client_of(options).models(options.name)
    if options.json:
        say_json(as_json(found))
        return 0
    screen = Screen()
    rows = [_row(model) for model in found.models]
    for model, row in zip(found.models, _aligned(rows), strict=True):
        screen.text(row)
        for text in _details(model, whole=len(found.models) == 1):
            screen.text(text, indent=4)
    for text in _rest(found, options.name):
        screen.text(text)
    return 0


def _row(model: ModelView) -> tuple[str, ...]:
    """Its name whole, for it is to be copied: no valid one is longer."""
    from shared.naming import ASSET_LENGTH

    return (
        escaped(model.name, ASSET_LENGTH),
        escaped(model.version, _SHORT),
        escaped(model.licence, _SHORT),
        "default" if model.default else "",
    )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Each row as a line of columns; a name that is too long for one shifts the rest of its own line alone."""
    from rich.cells import cell_len

    columns = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max((size for cell in column if (size := cell_len(cell)) <= NAME), default=0) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _details(model: ModelView, *, whole: bool) -> Iterator[str]:
    """What it needs, or why it can't be used."""
    if not model.usable:
        yield f"can't be used: {escaped(model.why, (10 if whole else 2) * SENTENCE)}"
    if whole or model.usable:
        yield f"fine-tuned on {_sizes(model.training_sizes, whole=whole)}"
        if model.least:
            yield f"needs at least {escaped(model.least, SENTENCE)}"
    if whole:
        yield f"served on {_sizes(model.serving_sizes, whole=True)}"
    for note in model.notes if whole or model.usable else ():
        yield f"note: {escaped(note, SENTENCE)}"


def _sizes(names: list[str], *, whole: bool) -> str:
    if not names:
        return "any but the oldest sizes: it names none"
    shown = [escaped(name, NAME) for name in (names if whole else names[:_SIZES])]
    if not whole:
        shown = [name.removeprefix("Standard_") for name in shown]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _rest(found: ModelList, name: str) -> Iterator[str]:
    """What is not shown, and how to go on."""
    registry = f"registry {escaped(found.registry, NAME)}"
    if not found.models:
        named = f" with {escaped(name, NAME)!r} in its name" if name else ""
        yield f"{registry} shows no model{named} that can be fine-tuned for chats"
    if found.others:
        yield f"left out: {_models_of(found.others)} that {_say(found.others)} nothing of fine-tuning for chats"
    if found.left:
        yield f"not looked at: {found.left} of {_models_of(found.found)} in {registry}"
        yield "    part of a name finds them, as in droptune models llama"
    if not found.whole:
        yield f"note: the list of {registry} was not read to its end"
        yield "    a whole name finds what is behind it"
    yield f"this app fine-tunes on {escaped(found.training_on, NAME)}"
    yield f"    and serves on {escaped(found.serving_on, NAME)}"
    usable = [model for model in found.models if model.usable]
    if usable:
        chosen = next((model for model in usable if not model.default), usable[0])
        yield f"to choose one, say in finetune.yaml  model: {escaped(chosen.name)}"
        yield from (f"    without it: {escaped(each.name)}" for each in usable if each.default and each != chosen)
        yield "next: droptune init DIR"
    elif name:
        yield "next: droptune models"


def _models_of(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"


def _say(count: int) -> str:
    return "says" if count == 1 else "say"
