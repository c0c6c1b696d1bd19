"""The apps that this person's commands know: their addresses, in one file of his. No key and no token is ever in it.

$XDG_CONFIG_HOME/droptune/apps.json, else ~/.config/droptune/apps.json; mode 0600, written whole. And where a local
cloud is found that nobody has told of.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

import msgspec

from cli.errors import CliError

VERSION = 1
REPO = Path(__file__).parents[1]
STATE = Path(".droptune")


class AppAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an app is: at a `url`; in Azure, where its `url` was asked for; or the one of a local cloud's `state`."""

    url: str = ""
    subscription: str = ""
    group: str = ""
    function_app: str = ""
    state: str = ""

    @property
    def told(self) -> str:
        """As people name it."""
        if self.function_app:
            return f"{self.url}  (function app {self.function_app}, group {self.group})"
        return self.url or f"the local cloud in {self.state}"


class Apps(msgspec.Struct, kw_only=True):
    """The file. `current`: the app of commands that name none; empty where there is none."""

    version: int = VERSION
    current: str = ""
    apps: dict[str, AppAddress] = {}

    @classmethod
    def load(cls, path: Path) -> Self:
        """What the file says; nothing where there is none. Raises CliError."""
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise CliError(f"{path} can't be read: {error.strerror}") from None
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CliError(f"{path} is no list of apps ({error}): delete it, and log in again") from None
        if found.version > VERSION:
            raise CliError(f"{path} is of a newer droptune: update this one, or delete the file and log in again")
        return found

    def named(self, name: str) -> AppAddress:
        """One of them. Raises CliError."""
        if name in self.apps:
            return self.apps[name]
        known = f"known: {', '.join(self.apps)}" if self.apps else "none is known"
        raise CliError(f"there is no app {name!r} ({known}): `droptune login --help` says how to add one")


def file(environ: Mapping[str, str]) -> Path:
    """Where the addresses are kept. Raises CliError."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(base):  # noqa: PTH117 - a relative one does not count, says its specification
        return Path(base) / "droptune" / "apps.json"
    try:
        return Path(environ.get("HOME") or Path.home()) / ".config" / "droptune" / "apps.json"
    except RuntimeError:
        raise CliError("nobody knows your home folder: set HOME or XDG_CONFIG_HOME") from None


def change(path: Path, how: Callable[[Apps], None]) -> Apps:
    """Changes what the file says, one command at a time. Returns it. Raises CliError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            apps = Apps.load(path)
            how(apps)
            _write(path, msgspec.json.format(msgspec.json.encode(apps), indent=2) + b"\n")
        finally:
            os.close(lock)
    except OSError as error:
        raise CliError(f"{path} can't be written: {error.strerror}") from None
    return apps


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, for its owner alone from the first byte on."""
    new = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


# Local clouds --------------------------------------------------------------------------------------------------------


def local_state(start: Path) -> Path | None:
    """The state folder of a local cloud whose app runs: of that folder, of one above it, or of the repository."""
    folders = [start, *start.parents, REPO]
    return next((folder / STATE for folder in folders if has_host(folder / STATE)), None)


def has_host(state: Path) -> bool:
    """Whether a local cloud with an app runs there, as its description has it."""
    try:
        return "host" in json.loads((state / "cloud.json").read_text())["processes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
