"""The frame of the command line: its parser, its help in groups, its exit codes, and what it says to wrong arguments.

Commands come in by `add(commands)` of their modules, which `cli/__main__.py` lists. All of it is light: `--help` loads
argparse and little else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from cli.say import complain, say

if TYPE_CHECKING:
    _SubParsersAction = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    _SubParsersAction = argparse._SubParsersAction

GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "start": ("a dataset on its way", ("init", "models", "check", "fetch", "push", "start")),
    "look": (
        "what was done, and what serves",
        ("status", "runs", "show", "watch", "lines", "compare", "cleanup", "cost"),
    ),
    "use": ("what serves", ("ask", "url")),
    "steer": ("step in", ("approve", "cancel", "retry", "rollback", "revive", "pin", "unpin", "keep", "hours", "stop")),
    "run": ("the app itself", ("demo", "login", "local", "recover", "completion")),
}
"""What the commands are for, in the order of the help. One that no module adds is left out."""
OTHERS = "more"
"""Where a command goes that has no group."""
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "what was looked at is bad: refused, rejected, failed, rolled back",
    2: "the command can't be carried out; one line on stderr says what to do",
    3: "it waits for a person, who may have to act in Azure, or is parked",
    4: "--timeout has passed",
    130: "stopped with Ctrl-C",
}
_USUAL = (0, 2, 130)
_CODES: Mapping[str, tuple[int, ...]] = {
    "check": (0, 1, 2, 130),
    "push": (0, 1, 2, 3, 4, 130),
    "watch": (0, 1, 2, 3, 4, 130),
    "compare": (0, 2, 130),
    "ask": (0, 1, 2, 130),
    "url": (0, 1, 2, 130),
    "demo": (0, 1, 2, 130),
    "local": (0, 1, 2, 130),
}
WIDTH = 80
"""Columns where nothing says how many there are."""
_COLUMN = 14  # characters of a command's name in the help
_NEAR = 3  # names that are offered for a mistyped one


def exit_codes(command: str) -> tuple[int, ...]:
    """Those that a command may end with."""
    return _CODES.get(command, _USUAL)


def width() -> int:
    """Columns of the terminal, COLUMNS before it; WIDTH where there is none."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or WIDTH if sys.__stdout__ else WIDTH
    except (OSError, ValueError):
        return WIDTH


class _Formatter(argparse.HelpFormatter):
    """Lines as they stand, for the text behind the options is a list. Knows the width without loading shutil."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=max(40, width() - 2))


class Listed(_Formatter, argparse.RawDescriptionHelpFormatter):
    """The same, for a text that is a list."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments, which may be names of files: other people's text; and what is near."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2 and one line."""
        complain(message if "--help`" in message else f"{message}: see `{self.prog} --help`")
        self.exit(2)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What is unknown is a mistake of the command it was given to, and said with that one's usage."""
        found, rest = super().parse_known_args(args, namespace)
        if len(rest) == 1 and (late := self._late(found, rest[0])):
            setattr(found, late.dest, rest[0])
            rest = []
        if rest:
            options = [text for text in rest if text.startswith("-")]
            known = [name for action in self._actions for name in action.option_strings]
            offered = near(options[0].partition("=")[0], known) if options else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{offered}")
        return found, rest

    def _late(self, found: argparse.Namespace, text: str) -> argparse.Action | None:
        """The argument that may be left out and that stands behind an option: argparse has done without it by then."""
        for action in self._actions:
            if action.option_strings or action.nargs != "?" or getattr(found, action.dest) != action.default:
                continue
            if text.startswith("-") and text != "-":
                return None
            for group in self._mutually_exclusive_groups:
                others = [each for each in group._group_actions if each is not action]
                given = [each for each in others if getattr(found, each.dest) != each.default]
                if action in group._group_actions and given:
                    self.error(f"{action.metavar} is not allowed with {given[0].option_strings[-1]}")
            return action
        return None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse's own lists all choices, of which there are many, and names none that is near."""
        if action.choices is None or value in action.choices:
            return
        given, choices = str(value), [str(each) for each in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(None, f"there is no command {given!r}{near(given, choices) or _LIST}")
        offered = near(given, choices) or f"; it is one of {', '.join(choices)}"
        raise argparse.ArgumentError(action, f"it can't be {given!r}{offered}")


_LIST = "; `droptune --help` lists them"


def near(given: str, known: Sequence[str]) -> str:
    """What may have been meant, as the end of a sentence; empty where nothing is near."""
    from difflib import get_close_matches

    offered = get_close_matches(given, known, _NEAR)
    return f"; did you mean {' or '.join(offered)}?" if offered else ""


class Commands(_SubParsersAction):
    """The commands, with the sentence that each is listed with: its own help begins with it."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self.sentences: dict[str, str] = {}
        super().__init__(*given, **options)

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Adds a command."""
        self.sentences[name] = sentence = options.get("help") or ""
        options.setdefault("description", f"{sentence[:1].upper()}{sentence[1:]}." if sentence else None)
        return super().add_parser(name, **options)

    def grouped(self) -> Iterator[tuple[str, str, list[str]]]:
        """Each group with what it is for and the commands that are there, in order."""
        left = dict.fromkeys(self.choices)
        for group, (what, names) in GROUPS.items():
            there = [name for name in names if name in self.choices]
            for name in there:
                del left[name]
            if there:
                yield group, what, there
        if left:
            yield OTHERS, "", list(left)


class _Version(argparse.Action):
    """Reads the version only when it is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        say(f"droptune {version()}")
        parser.exit()


def version() -> str:
    """That of pyproject.toml."""
    import tomllib

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


class Top(Parser):
    """The parser of `droptune` itself, whose help lists the commands by what they are for."""

    def __init__(self) -> None:
        super().__init__(
            prog="droptune",
            description="Datasets in, answering endpoints out.",
            usage="droptune [-h] [--version] COMMAND ...",
            formatter_class=Listed,
            epilog=_epilog(),
        )
        self.add_argument("--version", action=_Version, help="show the version and exit")
        made = self.add_subparsers(action=Commands, parser_class=Parser, metavar="COMMAND", prog="droptune")
        self.commands = cast("Commands", made)
        self.set_defaults(run=self._which)

    def format_help(self) -> str:
        """The usage, the commands in their groups, the options, the exit codes."""
        made = self._get_formatter()
        made.add_usage(self.usage, [], [])
        made.add_text(self.description)
        for group, what, names in self.commands.grouped():
            rows = "\n".join(self._row(name) for name in names)
            made.add_text(f"{group}{': ' if what else ''}{what}\n{rows}")
        made.start_section("options")
        made.add_arguments([each for each in self._actions if each.option_strings])
        made.end_section()
        made.add_text(self.epilog)
        return made.format_help()

    def _which(self, _: argparse.Namespace) -> NoReturn:
        self.error(f"no command is named{_LIST}")

    def _row(self, name: str) -> str:
        from textwrap import wrap  # argparse has loaded it by now

        told = wrap(self.commands.sentences[name], max(20, width() - _COLUMN - 4)) or [""]
        return f"\n{' ' * (_COLUMN + 2)}".join([f"  {name:<{_COLUMN - 1}} {told[0]}", *told[1:]])


def _epilog() -> str:
    codes = "\n".join(f"  {code:<4} {what}" for code, what in EXIT_CODES.items())
    return f"exit codes:\n{codes}\n\n`droptune COMMAND --help` says more of a command."
