"""The command `droptune`: the local cloud, the runs of an app, datasets, the demo.

Started by the script `droptune` in the repository's root. What a subcommand needs is imported when it is chosen, so
that `--help` and mistakes answer at once. Exit code 2 and one line on stderr when a command can't be carried out.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cli import check, fetch, local, look, steer
from cli.errors import CliError
from cli.say import complain, escaped


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rows and names hold what the terminal's encoding may lack
    try:
        code: int = options.run(options)
    except CliError as error:
        complain(str(error))
        return 2
    except BrokenPipeError:  # `droptune runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments, which may be names of files: other people's text."""

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2."""
        super().error(escaped(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="droptune", description="Datasets in, answering endpoints out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for part in (local, look, steer):
        part.add(commands)

    demo = commands.add_parser("demo", help="the whole way, on this machine")
    demo.add_argument("--model", help="base model (default: the local Phi-3-mini-4k-instruct)")
    demo.add_argument("--data", type=Path, help="folder with a dataset (default: facts made by examples/make_facts.py)")
    demo.add_argument("--state", type=Path, default=Path(".droptune/demo"), help="state folder, emptied first")
    demo.set_defaults(run=_demo)

    fetching = commands.add_parser("fetch", help="a dataset of the Hugging Face Hub, as .jsonl files")
    fetch.add_arguments(fetching)
    fetching.set_defaults(run=_fetch)

    checking = commands.add_parser("check", help="whether a dataset may be trained on, before it is uploaded")
    check.add_arguments(checking)
    checking.set_defaults(run=_check)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from cli.demo.show import demo

    return demo(model=options.model, data=options.data, state=options.state)


def _check(options: argparse.Namespace) -> int:
    return check.check(check.wanted(options))


def _fetch(options: argparse.Namespace) -> int:
    return fetch.fetch(fetch.wanted(options))


if __name__ == "__main__":
    sys.exit(main())
