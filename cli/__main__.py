"""The command `droptune`: datasets, runs and lines of an app, its endpoints, the local cloud, the demo.

Started by the script `droptune` in the repository's root. What a command needs is imported when it is chosen, so
that `--help` and mistakes answer at once. cli/frame.py lists the exit codes.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.frame import Top

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:  # around the imports too, which are most of what a small command does
        return _carried_out(given)
    except KeyboardInterrupt as stopped:
        import signal

        sys.unraisablehook = lambda _: None  # what it left half made can't be closed, which nobody has to know
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends what still ends, without a traceback
        from cli.say import complain

        complain(f"stopped: {stopped}" if str(stopped) else "stopped")
        return INTERRUPTED


def parser() -> Top:
    """All commands with their arguments: of them are the help, docs/cli.md and the completion made."""
    from cli import (
        cleanup,
        compare,
        completion,
        cost,
        local,
        login,
        look,
        models,
        offline,
        push,
        shown,
        start,
        steer,
        use,
        watch,
    )
    from cli.frame import Top

    top = Top()
    looks = (look, shown, watch, compare, cleanup, cost)
    for part in (offline, local, push, start, models, *looks, use, steer, login, completion):
        part.add(top.commands)
    return top


def _carried_out(given: list[str]) -> int:
    import io

    from cli.errors import CliError
    from cli.say import complain, nothing_is_cut

    nothing_is_cut()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rows and names hold what the terminal's encoding may lack
    try:
        try:
            # `local` has a parser of its own, and argparse leaves it no options at its beginning.
            if given[:1] == ["local"]:
                from cli.local import local

                return local(given[1:])
            options = parser().parse_args(given)
            return int(options.run(options))
        except CliError as error:
            complain(str(error))
            return 2
        finally:
            if sys.stdout:  # there is none after `>&-`
                sys.stdout.flush()  # here, for at Python's end nobody could answer for it
    except BrokenPipeError:  # `droptune runs | head`
        if _nobody_reads():
            return 0
        complain("the connection was broken off: try again")
        return 2
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _give_up_output()
        complain(f"nothing more can be written: {error.strerror}")
        return 2


def _nobody_reads() -> bool:
    """Whether it is the output's reader that is gone, and not a connection; what is left of it goes nowhere then."""
    import select

    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # it is closed, or no file
        return False
    poll = select.poll()
    poll.register(number, select.POLLERR)
    gone = any(what & select.POLLERR for _, what in poll.poll(0))
    if gone:
        _give_up_output()
    return gone


def _give_up_output() -> None:
    """Python writes what is left at its end, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
