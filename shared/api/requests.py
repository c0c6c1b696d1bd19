"""Commands as they come over HTTP: who asks is read, the command is carried out, the answer is JSON with a status.

{"told": sentence}, or an error (see answers.py). Called by the HTTP functions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

import msgspec

from shared.api.access import Caller
from shared.api.answers import Answer, answered, refused
from shared.api.asked import such, who
from shared.api.folder_commands import ON_FOLDERS
from shared.api.line_commands import ON_LINES
from shared.api.recover import recover
from shared.api.run_commands import ON_RUNS
from shared.api.schema import Told
from shared.app import App
from shared.records.base import from_json

log = logging.getLogger("droptune.api.requests")

BODY_LIMIT = 4096
_RUN = re.compile(r"\brun (r[a-z2-7]{15})\b")


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request: who asks, and what some commands take besides (see _TAKES)."""

    by: str = ""
    until: str = ""
    why: str = ""
    hours: str = ""
    end: bool = False


_TAKES: Mapping[str, tuple[str, ...]] = {"keep": ("until", "why", "end"), "hours": ("hours", "end"), "stop": ("why",)}
_MORE = ("until", "why", "hours", "end")


def on_run(app: App, command: str, run: str, body: bytes, caller: Caller) -> Answer:
    """Status and body of the answer to a command on a run."""
    return _carried_out(app, ON_RUNS, command, run, body, caller)


def on_line(app: App, command: str, line: str, body: bytes, caller: Caller) -> Answer:
    """Status and body of the answer to a command on a line."""
    return _carried_out(app, ON_LINES, command, line, body, caller)


def on_folder(app: App, command: str, folder: str, body: bytes, caller: Caller) -> Answer:
    """Status and body of the answer to a command on a dataset's folder."""
    return _carried_out(app, ON_FOLDERS, command, folder, body, caller)


def recovered(app: App, body: bytes, caller: Caller) -> Answer:
    """Status and body of the answer to `recover`: {"rebuilt": [sentence], "told": [sentence]}."""
    asked = _read(body)
    if isinstance(asked, tuple):
        return asked
    log.info("recover, asked for by %s", _who(asked, caller))
    return answered(lambda: recover(app))


def _carried_out(
    app: App,
    commands: Mapping[str, Callable[..., str]],
    command: str,
    name: str,
    body: bytes,
    caller: Caller,
) -> Answer:
    found = commands.get(command.lower())
    if found is None:
        return refused(404, f"there is no {such('command', command)}: there are {', '.join(commands)}")
    asked = _read(body)
    if isinstance(asked, tuple):
        return asked
    by, takes = _who(asked, caller), _TAKES.get(command.lower(), ())
    if foreign := [each for each in _MORE if getattr(asked, each) and each not in takes]:
        return refused(400, f"{command.lower()} takes no {' and no '.join(foreign)}: nothing was done")
    log.info("%s of %s, asked for by %s", command, name, by)
    more = {each: getattr(asked, each) for each in takes}
    return answered(lambda: _told(found(app, name, by=by, **more)))


def _told(text: str) -> Told:
    return Told(told=text, runs=list(dict.fromkeys(_RUN.findall(text))))


def _read(body: bytes) -> _Asked | Answer:
    """What the body says; the refusal of one that can't be read."""
    if len(body) > BODY_LIMIT:
        return refused(400, f"the request's body has {len(body)} bytes; it may have {BODY_LIMIT}")
    try:
        return from_json(body, _Asked) if body.strip() else _Asked()
    except ValueError as error:
        return refused(400, f'the request\'s body has to be {{"by": "name"}} or empty: {error}')


def _who(asked: _Asked, caller: Caller) -> str:
    return who(caller.name or asked.by, proven=caller.proven)
