"""`python -m localcloud up|down|env|clock|fault|pretend|reset`: the local cloud from a terminal.

`droptune local` (cli/local.py) calls the same function. What cannot be carried out is one line on stderr, and exit
code 2.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from localcloud import console
from localcloud.environment import Description, DescriptionError, app_environment, foreign, no_internet
from localcloud.reset import reset
from localcloud.stack import STATE, Stack, StackError, find, option, running, typed

STOPS_WITHIN = 30.0
"""Seconds that `down` waits."""

type Judge = Callable[[Mapping[str, str]], str]
"""Says what is wrong with settings of the app, nothing when they can be used. Only who knows the app can tell."""


def main(
    arguments: Sequence[str] | None = None, *, prog: str = "python -m localcloud", judge: Judge | None = None
) -> int:
    """The command. Returns its exit code. Without a judge of the app's settings none can be set."""
    parser = _parser(prog, settable=judge is not None)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        _carry_out(options, judge)
    except BrokenPipeError:  # `droptune local env | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StackError, DescriptionError) as error:
        _complain(str(error))
        return 2
    except OSError as error:
        where = f"{error.filename}: {error.strerror}: name another folder with --state" if error.filename else error
        _complain(str(where))
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2."""
        _complain(f"{message}: see `{self.prog} --help`")
        sys.exit(2)


def _parser(prog: str, *, settable: bool) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description="Azure on this machine, on loopback only.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    start = commands.add_parser(
        "up",
        help="start the cloud and the app; Ctrl-C stops it",
        description="Starts the cloud and the app, and stays in the foreground until Ctrl-C or `down`.",
    )
    start.add_argument("--no-host", action="store_true", help="without the Functions host: only the cloud")
    if settable:
        start.add_argument(
            "--set",
            dest="settings",
            metavar="NAME=VALUE",
            action="append",
            type=_setting,
            help="a setting of the app (docs/settings.md), for this start only; may be given again",
        )
    stop = commands.add_parser("down", help="stop the cloud that runs in the state folder")
    text = 'print the app\'s environment for a shell: eval "$(... env)"'
    variables = commands.add_parser("env", help=text)
    away = commands.add_parser(
        "reset",
        help="delete the state folder of a cloud that is stopped: uploads, runs, models, endpoints",
        description="Deletes what a local cloud has made in its state folder, which begins anew then. Stops nothing: "
        "it refuses while the cloud runs. What somebody else put into the folder stays.",
    )
    away.add_argument("--yes", action="store_true", help="without asking; needed where nobody can be asked")
    for command in (start, stop, variables, away, *console.add(commands)):
        command.add_argument(
            "--state", type=Path, default=STATE, metavar="DIR", help="state folder (default: %(default)s)"
        )
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in CLEANUP_MODE=delete")
    return name, value


def _carry_out(options: argparse.Namespace, judge: Judge | None) -> None:
    match options.command:
        case "up":
            settings = dict(getattr(options, "settings", None) or ())
            if judge and (wrong := judge(settings)):
                raise StackError(wrong)
            up(options.state, host=not options.no_host, settings=settings)
        case "down":
            down(options.state)
        case "env":
            env(options.state)
        case "reset":
            for line in reset(options.state, yes=options.yes):
                _say(line)
        case _:
            for line in console.run(options):
                _say(line)


def up(state: Path, *, host: bool = True, settings: Mapping[str, str] | None = None) -> None:
    """Run the cloud until Ctrl-C or SIGTERM. Raises StackError when it can't start."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        if not ended.is_set():  # a second signal must not disturb the stopping
            ended.set()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    stack = Stack(state, settings=settings)
    try:
        for name, value in (settings or {}).items():
            _say(f"{'setting':<12}{name}={value} (for this start only)")
        stack.start(host=host)
        for name, url in stack.urls.items():
            if host or name != "host":
                _say(f"{name:<12}{url}")
        _say(f"ready; state and logs are in {stack.state}; Ctrl-C stops it")
        for line in _next(state, host=host):
            _say(line)
        while not ended.wait(1):  # an exception raised inside a destructor is swallowed; the event is not
            for line in stack.tend():
                _say(line)
    except KeyboardInterrupt:
        pass
    finally:
        stack.stop()
    _say("stopped")


def _next(state: Path, *, host: bool) -> list[str]:
    """What can be done with a cloud that is ready, from another terminal, whatever its folder."""
    where = state if state == STATE else state.resolve()
    if not host:
        return [f'next: eval "$({typed("env", where)})" in another terminal, then `func start`']
    return [f"next: droptune {command}{option(where)}" for command in ("push DIR", "status")]


def down(state: Path) -> None:
    """Ask the supervisor to stop and wait for it. Raises StackError when it doesn't."""
    description = Description.load(state)
    known = description.processes.get("supervisor") if description else None
    supervisor = find(known) if known else None
    if known is None or supervisor is None:
        _say(f"no local cloud is running in {state}")
        return
    with suppress(psutil.NoSuchProcess):
        supervisor.terminate()
    deadline = time.monotonic() + STOPS_WITHIN
    while find(known) is not None:
        if time.monotonic() > deadline:
            pid = supervisor.pid
            raise StackError(f"process {pid} did not stop within {STOPS_WITHIN:.0f} s: `kill -9 {pid}` ends it")
        time.sleep(0.05)
    _say(f"stopped the local cloud in {state}")


def env(state: Path) -> None:
    """Print lines for a shell with which `func start` runs the app. Raises StackError when nothing runs.

    What would point it at somebody's real Azure is unset, the way to the internet closed, as for the cloud's own
    children.
    """
    description = running(state)
    variables = app_environment(description) | no_internet(description) | dict(description.settings)
    variables["FUNCTIONS_WORKER_RUNTIME"] = "python"
    for name in sorted(set(foreign()) - variables.keys()):
        if re.fullmatch(r"\w+", name, re.ASCII):  # no shell has others
            sys.stdout.write(f"unset {name}\n")
    for name, value in variables.items():
        quoted = value.replace("'", "'\\''")
        sys.stdout.write(f"export {name}='{quoted}'\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stdout.write(f"{_visible(line)}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    """One line; of the end of a log, which may follow the first line, the last one: that says what went wrong."""
    first, *more = [line.strip() for line in text.splitlines() if line.strip()] or ["it can't be done"]
    sys.stderr.write(f"droptune: {_visible(': '.join([first, *more[-1:]]))}\n")
    sys.stderr.flush()


def _visible(text: str) -> str:
    """Without anything that a terminal would obey: names and settings may hold it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


if __name__ == "__main__":
    sys.exit(main())
