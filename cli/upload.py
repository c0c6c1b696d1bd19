"""The way of a dataset's files into the container of datasets: what is there, what is sent, and that all of it counts.

Called by `droptune push`. Blocks go first, all of them; then the files appear one after the other, what is trained on
last, so that a run finds its whole folder. shared/cloud/uploads.py talks to storage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.errors import CliError
from cli.local_identity import local_cloud_of, token_of

if TYPE_CHECKING:
    from shared.cloud.uploads import Content, Stored, Uploads

_OF_AZURE = re.compile(
    r"[a-z0-9-]+\.(z\d+\.)?blob\.(core\.(windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)|storage\.azure\.net)"
)
"""Hosts that may see the caller's token, whatever an app says of itself."""
STORAGE = "https://storage.azure.com/.default"
"""Whom a token has to be for that storage takes."""


class Overtaken(CliError):
    """Somebody else has written to the folder meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Sending:
    """A file on its way, and the blob that it replaces (None: none)."""

    name: str
    content: Content
    stored: Stored | None

    @property
    def same(self) -> bool:
        """Whether the blob holds these bytes already."""
        return self.stored is not None and self.stored.holds(self.content)


def container_at(address: str, state: Path) -> Uploads:
    """The container of datasets. Raises CliError.

    `state`: the state folder of the local cloud, for an app on this machine.
    """
    from shared.cloud.uploads import Uploads

    if local := local_cloud_of(address, state):
        return Uploads(address, token=lambda: token_of(local, STORAGE), ca=local.ca.resolve())
    parts = urlsplit(address)
    if parts.scheme != "https" or not _OF_AZURE.fullmatch(parts.hostname or ""):
        raise CliError(f"the app takes uploads at {address or 'no address'}, which is no blob storage of Azure's")
    return Uploads(address)


def compared(files: Mapping[str, tuple[Path, tuple[int, ...]]], there: Mapping[str, Stored]) -> list[Sending]:
    """The files as they are now, beside the blobs. `files`: path, and state when it was checked.

    Raises Changed where one is another by now, OSError.
    """
    from shared.cloud.uploads import Changed, content_of

    found = []
    for name, (path, checked) in files.items():
        content = content_of(path)
        if content.state != checked:
            raise Changed(f"{path} has changed since it was checked")
        found.append(Sending(name=name, content=content, stored=there.get(name)))
    return found


def send(
    uploads: Uploads, folder: str, sending: Sequence[Sending], bar: Callable[[str], Callable[[int], None]]
) -> tuple[int, Callable[[], None]]:
    """Sends the files' blocks. Returns the bytes that were there before, and what makes the blobs, in that order.

    Raises Changed, and CliError where another upload has come first: then no blob is made, or it says which are.
    """
    known = sum(uploads.stage(f"{folder}/{each.name}", each.content, bar(each.name)) for each in sending)

    def commit() -> None:
        for each in sending:
            each.content.still()
        _unless_overtaken(uploads, folder, sending)
        made: list[str] = []
        for each in sending:
            _commit(uploads, folder, each, made)

    return known, commit


def _unless_overtaken(uploads: Uploads, folder: str, sending: Sequence[Sending]) -> None:
    """Raises Overtaken where a blob is another than it was at first: before the first of ours is made."""
    there = uploads.there(folder)
    for each in sending:
        now, before = there.get(each.name), each.stored
        if (now and now.etag) != (before and before.etag):
            raise _overtaken(folder, each.name, [])


def _commit(uploads: Uploads, folder: str, each: Sending, made: list[str]) -> None:
    from shared.errors import Conflict

    try:
        uploads.commit(f"{folder}/{each.name}", each.content, replaces=each.stored.etag if each.stored else None)
    except Conflict:
        raise _overtaken(folder, each.name, made) from None
    made.append(each.name)


def _overtaken(folder: str, name: str, made: Sequence[str]) -> Overtaken:
    ours = f"only your {', '.join(made)} is there" if made else "nothing of yours is there"
    return Overtaken(
        f"somebody else has written datasets/{folder}/{name} since this push began: {ours}. "
        "Look what it is (`droptune runs`), then push again, or to another folder with --as"
    )
