"""JSON documents by kind and name, on disk, with the last changes of each for stale reads."""

import hashlib
import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

type Json = dict[str, Any]
LAG: ContextVar[timedelta | None] = ContextVar("LAG", default=None)
"""Set while a request is to be answered as if the service had not heard yet of the last changes."""
_LONGEST_FILE_NAME = 255
"""Bytes, on every file system that matters here."""
_KEPT_CHANGES, _KEPT_FOR = 20, timedelta(hours=1)
"""Of each document, for stale reads."""
type Watcher = Callable[[str, str, Json | None, Json | None], None]
"""Hears of each change: kind, name, and the document before and after it."""


def _copy[T](document: T) -> T:
    """A deep copy of JSON, several times faster than copy.deepcopy."""
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


class Store:
    """JSON documents by kind and name: in memory, and one file each, written whole (by a rename).

    Callers get and give copies: changing a document means putting it back. Reads under a LAG see what was there then.
    """

    def __init__(
        self, folder: Path, *, now: Callable[[], datetime] | None = None, watcher: Watcher | None = None
    ) -> None:
        """`now`: the local clock's time. `watcher` hears of every change; it must change nothing."""
        self._folder = folder
        self._now = now or (lambda: datetime.now(UTC))
        self._watcher = watcher
        self._changes: dict[str, dict[str, deque[tuple[datetime, Json | None]]]] = {}
        self._documents: dict[str, dict[str, Json]] = {}
        self._order: dict[tuple[str, str], int] = {}
        entries = [(path.parent.name, json.loads(path.read_text())) for path in folder.glob("*/*.json")]
        for kind, entry in sorted(entries, key=lambda found: found[1]["order"]):
            self._documents.setdefault(kind, {})[entry["name"]] = entry["document"]
            self._order[kind, entry["name"]] = entry["order"]
        self._next = count(max(self._order.values(), default=0) + 1)

    def get(self, kind: str, name: str) -> Json | None:
        """The document, or None."""
        document = self._seen(kind).get(name)
        return _copy(document)

    def put(self, kind: str, name: str, document: Json) -> None:
        """Write the document, new or over the old one."""
        order = self._order.get((kind, name)) or next(self._next)
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(json.dumps({"name": name, "order": order, "document": document}))  # dump() is far slower
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        # Only now: what could not be written must not be there until the next start either.
        old = self._documents.setdefault(kind, {}).get(name)
        self._documents[kind][name] = _copy(document)
        self._order[kind, name] = order
        self._changed(kind, name, old, document)

    def delete(self, kind: str, name: str) -> bool:
        """Remove the document; False when there was none."""
        self._path(kind, name).unlink(missing_ok=True)
        self._order.pop((kind, name), None)
        old = self._documents.get(kind, {}).pop(name, None)
        if old is not None:
            self._changed(kind, name, old, None)
        return old is not None

    def items(self, kind: str) -> list[tuple[str, Json]]:
        """All documents of a kind with their names."""
        return [(name, _copy(document)) for name, document in self._seen(kind).items()]

    def list(self, kind: str, prefix: str = "", *, where: Callable[[Json], bool] | None = None) -> list[Json]:
        """The documents of a kind, in the order in which they were first put.

        Those whose name starts with `prefix`, and for which `where` (which must not change what it is given) is true.
        """
        found: Iterable[tuple[str, Json]] = self._seen(kind).items()
        if prefix:
            found = [(name, each) for name, each in found if name.startswith(prefix)]
        return [_copy(each) for _, each in found if where is None or where(each)]

    def _changed(self, kind: str, name: str, old: Json | None, new: Json | None) -> None:
        now = self._now()
        changes = self._changes.setdefault(kind, {}).setdefault(name, deque(maxlen=_KEPT_CHANGES))
        while changes and changes[0][0] < now - _KEPT_FOR:
            changes.popleft()
        changes.append((now, old))
        if self._watcher:
            self._watcher(kind, name, old, new)

    def _seen(self, kind: str) -> dict[str, Json]:
        """The documents of a kind, as they were a LAG ago if there is one."""
        lag = LAG.get()
        if lag is None:
            return self._documents.get(kind, {})
        then = self._now() - lag
        seen = dict(self._documents.get(kind, {}))
        for name, changes in self._changes.get(kind, {}).items():
            since = next((old for at, old in changes if at > then), seen.get(name))
            if since is None:
                seen.pop(name, None)
            else:
                seen[name] = since
        return seen

    def _path(self, kind: str, name: str) -> Path:
        file = f"{quote(name, safe='')}.json"
        if len(file) > _LONGEST_FILE_NAME:  # the file itself says whose it is; quoted names have no "="
            file = f"sha256={hashlib.sha256(name.encode()).hexdigest()}.json"
        return self._folder / kind / file
