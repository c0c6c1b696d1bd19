"""`up`, `down`, `env`, and the way to the other commands of the local cloud. Called by `__main__`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from localcloud import console
from localcloud.environment import Description, DescriptionError, app_environment, foreign, no_internet
from localcloud.options import STATE, complain, option, say, typed
from localcloud.reset import reset
from localcloud.stack import Stack, StackError, find, running

STOPS_WITHIN = 30.0
"""Seconds that `down` waits."""


def carry_out(options: argparse.Namespace, settings: Mapping[str, str]) -> int:
    """Does what was typed. Returns the exit code."""
    try:
        _carry_out(options, settings)
    except BrokenPipeError:  # `droptune local env | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StackError, DescriptionError) as error:
        complain(str(error))
        return 2
    except OSError as error:
        where = f"{error.filename}: {error.strerror}: name another folder with --state" if error.filename else error
        complain(str(where))
        return 2
    except KeyboardInterrupt:
        complain(f"stopped{_holds(options)}")
        return 130
    return 0


def _holds(options: argparse.Namespace) -> str:
    """What holds after Ctrl-C, where a command may have changed something."""
    match options.command:
        case "down":
            return f": the local cloud in {options.state} stops all the same, if it was told to"
        case "reset":
            return f": what is not deleted yet of {options.state} is there; the same command goes on"
        case "clock" | "fault" | "pretend" if options.what not in (None, "list"):
            shown = "clock" if options.command == "clock" else f"{options.command} list"
            return f": it may have been done all the same; next: {typed(shown, options.state)}"
    return ""


def _carry_out(options: argparse.Namespace, settings: Mapping[str, str]) -> None:
    match options.command:
        case "up":
            up(options.state, host=not options.no_host, settings=settings)
        case "down":
            down(options.state)
        case "env":
            env(options.state)
        case "reset":
            for line in reset(options.state, yes=options.yes):
                say(line)
        case _:
            for line in console.run(options):
                say(line)


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
            say(f"{'setting':<12}{name}={value} (for this start only)")
        stack.start(host=host)
        for name, url in stack.urls.items():
            if host or name != "host":
                say(f"{name:<12}{url}")
        say(f"ready; state and logs are in {stack.state}; Ctrl-C stops it")
        for line in _next(state, host=host):
            say(line)
        while not ended.wait(1):  # an exception raised inside a destructor is swallowed; the event is not
            for line in stack.tend():
                say(line)
    except KeyboardInterrupt:
        pass
    finally:
        stack.stop()
    say("stopped")


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
        say(f"no local cloud is running in {state}")
        return
    with suppress(psutil.NoSuchProcess):
        supervisor.terminate()
    deadline = time.monotonic() + STOPS_WITHIN
    while find(known) is not None:
        if time.monotonic() > deadline:
            pid = supervisor.pid
            raise StackError(f"process {pid} did not stop within {STOPS_WITHIN:.0f} s: `kill -9 {pid}` ends it")
        time.sleep(0.05)
    say(f"stopped the local cloud in {state}")


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
