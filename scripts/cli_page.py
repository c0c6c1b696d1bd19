"""Writes docs/cli.md from the parser: every command with its help, as 80 columns show it, and its exit codes.

`.venv/bin/python -m scripts.cli_page`; tests/cli/test_frame.py fails when the page is stale.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.__main__ import parser
from cli.completion import SHELLS
from cli.frame import EXIT_CODES, WIDTH, exit_codes
from cli.local import own_parser

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cli.md"
HEAD = f"""# Commands

`droptune` is the script of this name in the repository. `droptune COMMAND --help` shows what stands here, which
`scripts/cli_page.py` makes of the same parser.

- **RUN** is a run's id, the beginning of it, or its dataset's folder: the newest run of that. **LINE** is a line's id,
  its endpoint, or its dataset's folder ([glossary](glossary.md)).
- Data goes to standard output, progress and errors to standard error. `--json` prints the shapes of the
  [API](api.md), with times in UTC.
- Nothing is asked off a terminal, and nothing is coloured there or with `NO_COLOR`.
- A mistyped command or option is answered with the usage, what is near, and exit code 2.

## Exit codes

| code | what |
|---|---|
{"".join(f"| {code} | {what} |{chr(10)}" for code, what in EXIT_CODES.items())}
`droptune runs | head` is no error: the command ends with 0 when nobody reads on.

## Which app

Commands of an app take, in this order: `--app`, `--url` or `--state`; `DROPTUNE_URL`; `DROPTUNE_APP`; the last
`droptune login`; a local cloud that runs in `.droptune` of the folder, of one above it, or of the repository. So a
local cloud is found from any folder once `droptune login --local` has told where it is.

`droptune login` keeps addresses alone in `$XDG_CONFIG_HOME/droptune/apps.json` (else `~/.config/droptune/apps.json`),
which only you can read. Keys and tokens are in none of our files:

- `DROPTUNE_KEY`, or `--key -`, which reads one line of standard input; `--key KEY` warns, for the process list shows
  it. With `DROPTUNE_URL` set, the key and the token of the environment go to that address alone, or to `--url`.
- `DROPTUNE_TOKEN` for an app that wants people of Entra ([api.md](api.md#what-a-caller-sends)).
- For an app that is known by subscription, group and function app, the command asks Azure for its function key with
  your own login, and forgets it. That takes the right `Microsoft.Web/sites/host/listkeys/action`, which the role
  Website Contributor has. `az login` in a terminal, azd's login and the variables of azure-identity are what it uses.

Of this, the tests have a stand-in for `az` and for Azure. The browser's way (`az login` opens one) is untried, and so
is the real Azure.

## Completion

For {", ".join(SHELLS[:-1])} and {SHELLS[-1]}: `droptune completion --help` says how. The tests run the script for bash;
those for zsh and fish have not met their shells there.
"""
GROUP = """
## {group}

{what}
"""
COMMAND = """
### {name}

```text
{help}
```

Exit codes: {codes}.
"""


def page() -> str:
    """The page as it should be."""
    with _columns(WIDTH):
        return HEAD + "".join(_groups())


def _groups() -> Iterator[str]:
    commands = parser().commands
    for group, what, names in commands.grouped():
        yield GROUP.format(group=group[:1].upper() + group[1:], what=f"{what[:1].upper()}{what[1:]}.")
        for name in names:
            made = own_parser() if name == "local" else commands.choices[name]
            codes = ", ".join(map(str, exit_codes(name)))
            yield COMMAND.format(name=f"droptune {name}", help=made.format_help().rstrip(), codes=codes)
            if name == "local":
                yield from _below(made)


def _below(made: argparse.ArgumentParser) -> Iterator[str]:
    """The local cloud's own commands."""
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield f"\n```text\n{each.format_help().rstrip()}\n```\n"
                yield from _below(each)


@contextmanager
def _columns(number: int) -> Iterator[None]:
    """In the block, help is made for a terminal of that width."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(number)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
