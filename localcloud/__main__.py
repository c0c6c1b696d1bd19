"""`python -m localcloud up|down|env|clock|fault|pretend|reset`: the local cloud from a terminal.

`droptune local` (cli/local.py) calls the same function. What cannot be carried out is one line on stderr, and exit
code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from localcloud import options

type Judge = Callable[[Mapping[str, str]], str]
"""Says what is wrong with settings of the app, nothing when they can be used. Only who knows the app can tell."""


def main(
    arguments: Sequence[str] | None = None, *, prog: str = "python -m localcloud", judge: Judge | None = None
) -> int:
    """The command. Returns its exit code. Without a judge of the app's settings none can be set."""
    parser = options.parser(prog, settable=judge is not None)
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help(sys.stderr)
        return 2
    settings = dict(getattr(given, "settings", None) or ())
    if settings and judge and (wrong := judge(settings)):
        options.complain(wrong)
        return 2
    from localcloud import commands  # here, so that --help and mistakes load nothing of it

    return commands.carry_out(given, settings)


if __name__ == "__main__":
    sys.exit(main())
