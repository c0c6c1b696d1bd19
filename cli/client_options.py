"""The options that name an app, which every command of a running app has."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.client import AppClient


OF_RUN = "its id, the beginning of it, or its dataset's folder: the newest run of that"
OF_LINE = "its id, its endpoint, or its dataset's folder"
FROM_STDIN = "-"


def add_client_options(command: argparse.ArgumentParser) -> None:
    """Adds them to a command's parser."""
    of = command.add_argument_group("which app")
    one = of.add_mutually_exclusive_group()
    one.add_argument("--app", metavar="NAME", help="an app of `droptune login` (default: DROPTUNE_APP, else the last)")
    one.add_argument("--url", help="the app's address (default: DROPTUNE_URL)")
    of.add_argument("--state", type=Path, metavar="DIR", help="a local cloud's state folder (default: it is found)")
    of.add_argument("--key", help="a function key, or - to read it from standard input (default: DROPTUNE_KEY)")
    command.add_argument("--json", action="store_true", help="as JSON")


def client_of(options: argparse.Namespace) -> AppClient:
    """The app that they name. Raises CliError."""
    from cli.client import AppClient

    found = AppClient.of(os.environ, app=options.app, url=options.url, key=_key(options.key), state=options.state)
    if found.state:
        from cli.moments import app_s_time
        from localcloud.environment import time_in

        app_s_time(time_in(found.state))
    return found


def local_state_of(client: AppClient, options: argparse.Namespace) -> Path:
    """The state folder of the local cloud, if it is one whose app is asked."""
    from cli.apps import STATE, local_state

    return client.state or options.state or local_state(Path.cwd()) or Path(STATE)


def _key(given: str | None) -> str | None:
    """The key as it was meant. Raises CliError where none comes."""
    from cli.errors import CliError
    from cli.say import complain

    if given is None:
        return None
    if given != FROM_STDIN:
        complain("the process list shows --key to others on this machine: use DROPTUNE_KEY, or --key - to type it in")
        return given
    if sys.stdin is not None and sys.stdin.isatty():
        from getpass import getpass

        key = getpass("Function key: ").strip()
    else:
        key = (sys.stdin.readline() if sys.stdin else "").strip()  # one line: what follows may be the command's
    if not key:
        raise CliError("--key - found no key on standard input: one line with the key is what it reads")
    return key
