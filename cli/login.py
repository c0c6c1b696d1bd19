"""`droptune login`: tells the commands where an app is, so that none of them needs an address. See cli/apps.py."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CliError, stopped_with
from cli.frame import Listed
from cli.say import say, say_json, tell

if TYPE_CHECKING:
    from cli.apps import AppAddress, Apps

LOCAL = "local"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
_EXAMPLES = """examples:
  droptune login --local
  droptune login --url https://APP_HOST --app prod
  droptune login --subscription ID --group GROUP --function-app NAME
  droptune login --app prod            the one that commands ask from now on
  droptune login                       lists what is known

Only addresses are kept: no key and no token. Where subscription, group and
function app are known, the function key is asked of Azure with your own
login (`az login`) by each command that needs it.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds this command to the parser."""
    command = commands.add_parser(
        "login",
        help="which app the commands ask",
        epilog=_EXAMPLES,
        formatter_class=Listed,
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument("--url", help="the app at this address")
    where.add_argument("--local", action="store_true", help="the local cloud's app")
    where.add_argument("--subscription", metavar="ID", help="an app in Azure: its subscription")
    where.add_argument("--forget", metavar="NAME", help="forgets an app's address")
    command.add_argument("--group", metavar="GROUP", help="its resource group")
    command.add_argument("--function-app", metavar="NAME", help="its function app")
    command.add_argument("--app", metavar="NAME", help="its name for commands' --app (default: made of its address)")
    command.add_argument("--state", type=Path, metavar="DIR", help="the local cloud's state folder (default: found)")
    command.add_argument("--json", action="store_true", help="as JSON: what is known then")
    command.set_defaults(run=_login)


def _login(options: argparse.Namespace) -> int:
    from cli import apps

    _refuse_halves(options)
    path = apps.file(os.environ)
    if options.forget:
        known = apps.change(path, lambda known: _forget(known, options.forget))
        return _told(options, known, path, f"forgot {options.forget}")
    if not (options.url or options.local or options.subscription):
        if not options.app:
            return _told(options, apps.Apps.load(path), path, "")
        known = apps.change(path, lambda known: _choose(known, options.app))
        return _told(options, known, path, f"commands ask {options.app} now")
    with stopped_with("nothing was kept"):
        proposed, address = _address(options)
    name = options.app or proposed
    if not _NAME.fullmatch(name):
        raise CliError(f"--app {name!r}: a name is 1 to 64 letters, digits, dots, - and _, the first of them no sign")
    known = apps.change(path, lambda known: _put(known, name, address))
    return _told(options, known, path, f"commands ask {name} now: {address.told}")


def _refuse_halves(options: argparse.Namespace) -> None:
    """Raises CliError where options do not go together."""
    if bool(options.subscription) != bool(options.group and options.function_app):
        raise CliError("an app in Azure is named by all three: --subscription ID --group GROUP --function-app NAME")
    if (options.group or options.function_app) and not options.subscription:
        raise CliError("--group and --function-app belong to --subscription ID")
    if options.state and not options.local:
        raise CliError("--state belongs to --local")
    if options.forget and options.app:
        raise CliError("--forget NAME needs no --app")


def _address(options: argparse.Namespace) -> tuple[str, AppAddress]:
    """The name that an app gets by itself, and where it is. Raises CliError."""
    from cli import apps, azure

    if options.url:
        url, host = _plain(options.url)
        return (LOCAL if _LOOPBACK.fullmatch(host) else host.split(".")[0]), apps.AppAddress(url=url)
    if options.local:
        state = options.state or apps.local_state(Path.cwd())
        if state is None or not apps.has_host(state):
            where = state or "a .droptune of this folder, of one above it or of the repository"
            raise CliError(f"no local cloud with an app is in {where}: start it with `droptune local up`")
        return LOCAL, apps.AppAddress(state=str(state.resolve()))
    whole = (options.subscription, options.group, options.function_app)
    subscription, group, function_app = whole
    return function_app, apps.AppAddress(
        url=azure.host_of(*whole), subscription=subscription, group=group, function_app=function_app
    )


def _plain(url: str) -> tuple[str, str]:
    """The address without a slash at its end, and its host. Raises CliError where it is more than an address."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise CliError(f"--url is no address: {error}") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CliError("--url has more than an address: a key does not belong into it (DROPTUNE_KEY); nothing is kept")
    if not host or parts.scheme not in ("https", "http"):
        raise CliError(f"--url must start with https:// (or http:// on this machine), not {url}")
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(host):
        raise CliError(f"--url {url}: over http:// everybody on the way reads the key; use https://")
    return url.rstrip("/"), host


def _put(known: Apps, name: str, address: AppAddress) -> None:
    known.apps[name] = address
    known.current = name


def _choose(known: Apps, name: str) -> None:
    known.named(name)
    known.current = name


def _forget(known: Apps, name: str) -> None:
    known.named(name)
    del known.apps[name]
    if known.current == name:
        known.current = ""


def _told(options: argparse.Namespace, known: Apps, path: Path, what: str) -> int:
    """Says what was done, or lists what is known."""
    if options.json:
        from cli.client import as_json

        say_json(as_json(known))
        return 0
    if what:
        tell(what)
        tell(f"kept in {path}: addresses, no key, no token", fold=False)
        say("next: droptune runs" if known.current else "next: droptune login --app NAME")
        return 0
    for name, address in known.apps.items():
        say(f"{'*' if name == known.current else ' '} {name:<16}  {address.told}")
    if not known.apps:
        say("no app is known: commands ask the local cloud that runs in .droptune")
        say("next: droptune login --help")
    elif not known.current:
        say("next: droptune login --app NAME")
    return 0
