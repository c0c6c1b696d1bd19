"""A person's files on their way into a container: in blocks that are named by their content, so that they go on.

A blob appears whole at its commit, or not at all; what was sent before that is found again by whoever sends the same
bytes, and storage forgets it after a week. Called by the command line alone, with the caller's own rights.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5, sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from shared.cloud.caller import caller
from shared.cloud.clients import CHUNK, CONNECT_SECONDS, READ_SECONDS, RETRIES
from shared.cloud.failures import translated
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.naming import has_steps, is_unicode

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.storage.blob import BlobClient, ContainerClient

ROLE = "Storage Blob Data Contributor"
SENDERS = 4
"""Blocks that are under way at once; each holds a block's bytes."""
MOST_BLOCKS = 50_000
"""What storage takes of them in a blob."""
_DIGEST = "droptune_sha256"
"""Metadata of a blob: the hash of its content, in hex."""


class Changed(Exception):
    """A file is not any more what it was when its upload began. Says which."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file held when it was read. Hashes in hex.

    `blocks`: the name of each of its blocks; `state`: how the system tells it.
    """

    path: Path
    size: int
    sha256: str
    md5: str
    block: int
    blocks: tuple[str, ...]
    state: tuple[int, ...]

    def still(self) -> None:
        """Raises Changed where the file was changed, replaced or removed since."""
        try:
            now = state_of(self.path)
        except OSError as error:
            raise Changed(f"{self.path}: {error.strerror or error}") from None
        if now != self.state:
            raise Changed(f"{self.path} has changed while it was read")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A blob as a listing shows it. `sha256` and `md5` of its content, in hex; "" where nobody has noted that."""

    etag: str
    size: int
    sha256: str
    md5: str

    def holds(self, content: Content) -> bool:
        """Whether the file's bytes are the blob's. Reads the file where only an MD5 says it."""
        if self.size != content.size:
            return False
        if self.sha256 or not self.md5:
            return self.sha256 == content.sha256
        with content.path.open("rb") as file:
            return _hash_of(file, md5(usedforsecurity=False)) == self.md5


def state_of(path: Path) -> tuple[int, ...]:
    """What changes whenever a file does. Raises OSError."""
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def content_of(path: Path, *, block: int = CHUNK) -> Content:
    """Reads a file, `block` bytes at a time (more where there would be too many). Raises OSError, Changed."""
    before = state_of(path)
    size = path.stat().st_size
    while block * MOST_BLOCKS < size:
        block *= 2
    whole, other, names, read = sha256(), md5(usedforsecurity=False), list[str](), 0
    with path.open("rb") as file:
        while data := file.read(block):
            whole.update(data)
            other.update(data)
            names.append(_block_name(data, len(names)))
            read += len(data)
    found = Content(
        path=path,
        size=read,
        sha256=whole.hexdigest(),
        md5=other.hexdigest(),
        block=block,
        blocks=tuple(names),
        state=before,
    )
    found.still()
    return found


class Uploads:
    """A container that takes uploads, by its address."""

    def __init__(self, address: str, *, token: Callable[[], tuple[str, int]] | None = None, ca: Path | None = None):
        """`token`: gives one and when it ends (seconds since 1970); without it azure-identity finds who is signed in.

        `ca`: the only certificate that is trusted, and no proxy is asked then.
        """
        self._address, self._token, self._ca = address, token, ca
        self._name = address.rpartition("/")[2]

    def there(self, folder: str) -> dict[str, Stored]:
        """The blobs of a folder, by their names below it. Raises Permanent, Transient."""
        prefix = f"{folder}/"
        with _said(f"container {self._name}"):
            found = self._container.list_blobs(name_starts_with=prefix, include=["metadata"])
            return {str(each.name).removeprefix(prefix): _stored(each) for each in found if each.name != prefix}

    def stage(self, name: str, content: Content, told: Callable[[int], object]) -> int:
        """Sends the blocks that are not there yet. Returns the bytes that were; `told` hears of all, as they come.

        Raises Changed, Permanent, Transient. No blob is made or changed by it.
        """
        there = self._blocks(name)
        lengths = [content.block] * len(content.blocks)
        if lengths:
            lengths[-1] = content.size - content.block * (len(lengths) - 1)
        todo = [at for at, each in enumerate(content.blocks) if there.get(each) != lengths[at]]
        known = content.size - sum(lengths[at] for at in todo)
        told(known)
        for at in _each_done(todo, lambda at: self._send(name, content, at, lengths[at])):
            told(lengths[at])
        return known

    def commit(self, name: str, content: Content, *, replaces: str | None = None) -> str:
        """Makes the blob of its blocks, in place of the version with the ETag `replaces`. Returns its ETag.

        Raises Conflict where another version is there, or where one is and `replaces` is None; nothing changes then.
        """
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock, ContentSettings

        if replaces is None:
            condition: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}
        else:
            condition = {"etag": f'"{replaces}"', "match_condition": MatchConditions.IfNotModified}
        try:
            with _said(f"blob {self._name}/{name}"):
                done = self._blob(name).commit_block_list(
                    [BlobBlock(block_id=each) for each in content.blocks],
                    metadata={_DIGEST: content.sha256},
                    content_settings=ContentSettings(content_md5=bytearray.fromhex(content.md5)),
                    **condition,
                )
                return _bare(str(done["etag"]))
        except Conflict:
            found = self._head(name)
            # An answer that was lost has the SDK ask again, and meet what it did itself.
            if found is None or found.etag == replaces or found.sha256 != content.sha256:
                raise
            return found.etag

    def close(self) -> None:
        """Ends the connections."""
        if "_container" in self.__dict__:
            self._container.close()

    def _send(self, name: str, content: Content, at: int, length: int) -> None:
        with content.path.open("rb", buffering=0) as file:
            data = _read_at(file.fileno(), at * content.block, length)
        if len(data) != length or _block_name(data, at) != content.blocks[at]:
            raise Changed(f"{content.path} has changed while it was read")
        with _said(f"blob {self._name}/{name}"):
            self._blob(name).stage_block(content.blocks[at], data, length=length)

    def _blocks(self, name: str) -> dict[str, int]:
        """Size of each block that storage has of the blob, committed or not, by its name."""
        try:
            with _said(f"blob {self._name}/{name}"):
                committed, uncommitted = self._blob(name).get_block_list("all")
        except NotFound:
            return {}
        odd = [each for each in uncommitted if len(each.id) != len(_block_name(b"", 0))]
        if odd:  # storage takes no blocks whose names are longer or shorter than those that are there
            raise Permanent(
                f"blob {self._name}/{name}: another tool's unfinished upload is there, which storage keeps for a "
                "week: finish it, or push to another folder with --as"
            )
        return {each.id: int(each.size) for each in (*committed, *uncommitted)}

    def _head(self, name: str) -> Stored | None:
        try:
            with _said(f"blob {self._name}/{name}"):
                return _stored(self._blob(name).get_blob_properties())
        except NotFound:
            return None

    def _blob(self, name: str) -> BlobClient:
        if has_steps(name) or not is_unicode(name):
            raise Permanent(f"no blob can be called {self._name}/{name!r}: a part of it is . or .., or no Unicode")
        return self._container.get_blob_client(name)

    @cached_property
    def _container(self) -> ContainerClient:
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import ContainerClient, ExponentialRetry

        trusts: dict[str, Any] = {"connection_verify": str(self._ca), "use_env_settings": False} if self._ca else {}
        return ContainerClient.from_container_url(
            self._address,
            credential=_Given(self._token) if self._token else caller(),
            transport=RequestsTransport(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, **trusts),
            retry_policy=ExponentialRetry(
                initial_backoff=1, increment_base=2, retry_total=RETRIES, random_jitter_range=1
            ),
        )


class _Given:
    """A credential of azure-core's over a function that gives tokens."""

    def __init__(self, token: Callable[[], tuple[str, int]]) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Called by azure-core, which keeps what it gets until that ends."""
        from azure.core.credentials import AccessToken

        return AccessToken(*self._token())


@contextmanager
def _said(what: str) -> Iterator[None]:
    """As `translated`, for a person: what is missing is theirs, not the app's."""
    from azure.core.exceptions import HttpResponseError

    try:
        with translated(what):
            try:
                yield
            except HttpResponseError as error:
                if _code(error) == "InvalidBlockList":  # whoever was first took the others' blocks away
                    raise Conflict(f"{what}: somebody else has written it meanwhile") from error
                raise
    except Transient as error:
        if not error.shut_out:
            raise
        cause = error.__cause__
        if getattr(cause, "status_code", None) != 403:
            raise Permanent(f"{what}: Azure does not know who you are: sign in with `az login`") from None
        code = _code(cause)
        network = ", and see that the account's network rules let you in" if code == "AuthorizationFailure" else ""
        raise Permanent(
            f"{what}: you may not upload there ({code or 403}): have someone give you the role {ROLE} on the "
            f"container{network}; a new role takes some minutes to show"
        ) from None


def _code(error: object) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _block_name(data: bytes, at: int) -> str:
    """48 characters, the same for the same bytes at the same place."""
    return f"{base64.urlsafe_b64encode(sha256(data).digest()).decode().rstrip('=')}{at:05d}"


def _each_done(todo: Sequence[int], do: Callable[[int], None]) -> Iterator[int]:
    """Does each, SENDERS at once; gives it when it is done. Raises what one raises, and begins no other then.

    Whoever stops it (Ctrl-C) waits for none: an executor would, on a slow line for minutes.
    """
    waiting, done, over = SimpleQueue[int](), SimpleQueue[int | BaseException](), Event()
    for at in todo:
        waiting.put(at)

    def work() -> None:
        while not over.is_set():
            try:
                at = waiting.get_nowait()
            except Empty:
                return
            try:
                do(at)
            except BaseException as error:
                done.put(error)
                return
            done.put(at)

    for _ in range(min(SENDERS, len(todo))):
        Thread(target=work, daemon=True).start()
    try:
        for _ in todo:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        over.set()


def _read_at(file: int, offset: int, length: int) -> bytes:
    """Fewer bytes only where the file ends."""
    parts = []
    while length and (data := os.pread(file, length, offset)):
        parts.append(data)
        offset, length = offset + len(data), length - len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _hash_of(file: Any, made: Any) -> str:
    while data := file.read(CHUNK):
        made.update(data)
    return str(made.hexdigest())


def _stored(properties: Any) -> Stored:
    settings = properties.content_settings
    noted = bytes(settings.content_md5).hex() if settings and settings.content_md5 else ""
    metadata = {str(name).lower(): str(value) for name, value in (properties.metadata or {}).items()}
    return Stored(
        etag=_bare(str(properties.etag)), size=int(properties.size), sha256=metadata.get(_DIGEST, ""), md5=noted
    )


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
