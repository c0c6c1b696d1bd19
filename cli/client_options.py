"""The options that name an app, which every command of a running app has."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.client import AppClient


OF_RUN = "its id, the beginning of it, or its dataset's folder: the newest run of that"
OF_LINE = "its id, its endpoint, or its dataset's folder"


def add_client_options(command: argparse.ArgumentParser) -> None:
    """Adds them to a command's parser."""
    command.add_argument("--url", help="the app's address (default: DROPTUNE_URL, else the local cloud)")
    command.add_argument("--key", help="a function key of the app (default: DROPTUNE_KEY)")
    command.add_argument("--state", type=Path, default=Path(".droptune"), help="the local cloud's state folder")
    command.add_argument("--json", action="store_true", help="as JSON")


def client_of(options: argparse.Namespace) -> AppClient:
    """The app that they name. Raises CliError."""
    from cli.client import AppClient

    return AppClient.of(os.environ, url=options.url, key=options.key, state=options.state)
