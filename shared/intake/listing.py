"""The last listing of the datasets, as it is kept: it tells what has come since, whatever its date and its events.

A blob that was renamed, undeleted or copied with its dates raises no event, or none that is taken, and looks old. It is
news all the same: its name is new, or its ETag. Of each blob eight bytes are kept, the hash of both, folder by folder.
Pure; found.py lists and looks.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from shared.cloud.blobs import BlobInfo
from shared.intake.events import is_marker

HASH = 8
"""Bytes. A new blob is taken for one of a million others of its folder once in 18,000,000,000,000 times."""

type Listing = dict[str, bytes]
"""The folders, and "" for what lies in none, and of each the hashes of its blobs, in order, one behind the other."""


class _Kept(msgspec.Struct):
    folders: dict[str, bytes]
    hash: int = HASH


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A folder as it is now: what to keep of it, and the blobs of which the name or the ETag is new."""

    kept: bytes
    news: tuple[BlobInfo, ...]


def compared(blobs: Iterable[BlobInfo], before: bytes) -> Compared:
    """The blobs of one folder against what was kept of it. A blob that is gone is no news, nor is a folder's marker."""
    now = {_hash(blob): blob for blob in blobs if not is_marker(blob.name, blob.size)}
    kept = b"".join(sorted(now))
    if kept == before:
        return Compared(kept=kept, news=())
    known = set(_hashes(before))
    return Compared(kept=kept, news=tuple(blob for hash_, blob in now.items() if hash_ not in known))


def joined(one: bytes, other: bytes) -> bytes:
    """What is kept of two parts of a folder."""
    return b"".join(sorted({*_hashes(one), *_hashes(other)}))


def encoded(listing: Listing) -> bytes:
    """As it is kept. The same listing gives the same bytes."""
    data = msgspec.msgpack.encode(_Kept(folders=dict(sorted(listing.items()))))
    return gzip.compress(data, compresslevel=1, mtime=0)


def decoded(data: bytes) -> Listing:
    """What `encoded` wrote. Raises ValueError where it is anything else, or a byte of it is another."""
    try:
        kept = msgspec.msgpack.decode(gzip.decompress(data), type=_Kept)
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if kept.hash != HASH or any(len(hashes) % HASH for hashes in kept.folders.values()):
        raise ValueError(f"its hashes are not of {HASH} bytes")
    return kept.folders


def _hash(blob: BlobInfo) -> bytes:
    return blake2b(f"{blob.name}\0{blob.etag}".encode(errors="surrogatepass"), digest_size=HASH).digest()


def _hashes(kept: bytes) -> Iterator[bytes]:
    return (kept[at : at + HASH] for at in range(0, len(kept), HASH))
