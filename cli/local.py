"""`droptune local`: the local cloud's commands (localcloud/__main__.py), and what the app alone knows: its settings.

Called by `__main__`, which hands over all that is typed after `local`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.settings import Setting

HELP = "the local cloud: up, down, env, clock, fault, pretend, reset"
_LOOSE = re.compile(r"(?P<number>\d+) ?(?P<unit>[smhd])[a-z]*", re.IGNORECASE | re.ASCII)
"""How people write a length of time."""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser("local", help=HELP, add_help=False)
    command.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see `droptune local --help`")
    command.set_defaults(run=lambda options: local(options.rest))


def own_parser() -> argparse.ArgumentParser:
    """Of what is typed after `local`."""
    from localcloud.options import parser

    return parser("droptune local", settable=True)


def local(rest: list[str]) -> int:
    """The local cloud's own command. Returns its exit code."""
    from localcloud.__main__ import main

    if rest[:1] == ["up"]:
        _tell_where_commands_go()
    return main(rest, prog="droptune local", judge=wrong_with)


def _tell_where_commands_go() -> None:
    """Says on standard error that commands go to another app than to the local cloud that is being started."""
    import os
    from contextlib import suppress

    from cli.apps import Apps, file
    from cli.errors import CliError
    from cli.say import complain

    named = os.environ.get("DROPTUNE_URL") or os.environ.get("DROPTUNE_APP")
    with suppress(CliError):
        named = named or Apps.load(file(os.environ)).current
    if named:
        complain(f"commands go to {named}, not here, unless they get --state DIR: see `droptune login --help`")


def wrong_with(given: Mapping[str, str]) -> str:
    """What is wrong with settings that the app in the local cloud is to have; nothing when all can be used."""
    from localcloud.environment import LISTENERS, Description, app_environment
    from shared.settings import SettingError, Settings, every_setting

    known = {setting.name: setting for setting in every_setting()}
    base = app_environment(Description(state=Path.cwd(), ports=dict.fromkeys(LISTENERS, 1)))
    faults = [fault for name, value in given.items() for fault in _faults(known, base, name, value)]
    if not faults:
        try:
            Settings.read({**base, **given})  # some are wrong only together
        except SettingError as error:
            faults.append(str(error))
    return "; ".join(faults)


def _faults(known: Mapping[str, Setting], base: Mapping[str, str], name: str, value: str) -> Iterator[str]:
    from localcloud.environment import CHANGEABLE
    from shared.settings import SettingError

    if name not in known:
        import difflib

        near = {each.upper(): each for each in known}
        found = difflib.get_close_matches(name.upper(), near, n=1)
        hint = f"did you mean {near[found[0]]}?" if found else "docs/settings.md lists all"
        yield f"the app has no setting {name}: {hint}"
    elif name in base and name not in CHANGEABLE:
        yield f"{name} is what points the app at the local cloud: leave it out"
    elif not value.isprintable():
        yield f"{name}={value!r} has characters that can't be printed"
    else:
        try:
            _read(known[name], value)
        except SettingError as error:
            yield f"{error}{_spelled(known[name], value)}"


def _read(setting: Setting, value: str) -> None:
    """Raises SettingError."""
    from shared.settings import SettingError

    setting.read(value.strip())
    if setting.group == "schedules" and setting.kind == "str":  # the host reads it, not the app
        from localcloud.host.settings import HostError
        from localcloud.host.timers import Schedule

        try:
            Schedule(value, function=setting.name)
        except HostError:
            example = "six fields, seconds first, as in 0 */5 * * * *"
            raise SettingError(f"{setting.name}={value!r} is not a schedule: {example}") from None


def _spelled(setting: Setting, value: str) -> str:
    """How a length of time is written that was written as people do."""
    match = _LOOSE.fullmatch(value.strip())
    if setting.kind != "timedelta" or not match:
        return ""
    number, unit = match["number"], match["unit"].upper()
    return f": write {setting.name}=P{'' if unit == 'D' else 'T'}{number}{unit}"
