"""`python -m localcloud up|down|env|fault|pretend`: the local cloud from a terminal.

`droptune local` calls the same functions.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from localcloud import console
from localcloud.environment import Description, app_environment
from localcloud.stack import Stack, StackError, find

STATE = Path(".droptune")
STOPS_WITHIN = 30.0
"""Seconds that `down` waits."""


def parser() -> argparse.ArgumentParser:
    """The commands with their arguments."""
    made = argparse.ArgumentParser(prog="droptune local", description="Azure on this machine, on loopback only.")
    commands = made.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start the cloud and the app; Ctrl-C stops it")
    start.add_argument("--no-host", action="store_true", help="without the Functions host: only the cloud")
    stop = commands.add_parser("down", help="stop the cloud that runs in the state folder")
    variables = commands.add_parser("env", help='print the app\'s environment for a shell: eval "$(... env)"')
    for command in (start, stop, variables, *console.add(commands)):
        command.add_argument("--state", type=Path, default=STATE, help="state folder (default: %(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        match options.command:
            case "up":
                up(options.state, host=not options.no_host)
            case "down":
                down(options.state)
            case "env":
                env(options.state)
            case _:
                for line in console.run(options):
                    _say(line)
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def up(state: Path, *, host: bool = True) -> None:
    """Run the cloud until Ctrl-C or SIGTERM. Raises StackError when it can't start."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        if not ended.is_set():  # a second signal must not disturb the stopping
            ended.set()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    stack = Stack(state)
    try:
        stack.start(host=host)
        for name, url in stack.urls.items():
            if host or name != "host":
                _say(f"{name:<12}{url}")
        _say(f"ready; state and logs are in {stack.state}; Ctrl-C stops it")
        while not ended.wait(1):  # an exception raised inside a destructor is swallowed; the event is not
            for line in stack.tend():
                _say(line)
    except KeyboardInterrupt:
        pass
    finally:
        stack.stop()
    _say("stopped")


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
            raise StackError(f"process {supervisor.pid} did not stop within {STOPS_WITHIN:.0f} s")
        time.sleep(0.05)
    _say(f"stopped the local cloud in {state}")


def env(state: Path) -> None:
    """Print `export NAME='value'` lines with which `func start` runs the app. Raises StackError when nothing runs."""
    description = Description.load(state)
    if description is None or "supervisor" not in description.processes:
        raise StackError(f"no local cloud is running in {state}: start it with `up --no-host`")
    for name, value in (app_environment(description) | {"FUNCTIONS_WORKER_RUNTIME": "python"}).items():
        quoted = value.replace("'", "'\\''")
        _say(f"export {name}='{quoted}'")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
