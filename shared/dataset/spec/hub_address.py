"""How people name a dataset of the Hugging Face Hub: its name, or an address out of a browser or another library.

`read` takes each apart. Nothing is asked for here. Used for `source` in finetune.yaml and by `droptune fetch`.
"""

from __future__ import annotations

import os
import re
import reprlib
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from shared import naming

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PAGES = ("tree", "viewer", "blob", "resolve", "raw", "commit", "commits", "discussions", "settings", "embed")
_REFS = ("convert", "pr")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A dataset, and what else its address says. None: it says nothing."""

    name: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None


class NoAddress(ValueError):
    """It names no dataset. The text is a sentence without its subject: `is the address of a model, ...`."""


def read(text: str) -> Address:
    """What a name or an address says. Raises NoAddress."""
    path = _path(text)
    if path is None:
        return _judged(Address(name=text))
    parts = [unquote(part) for part in path.strip("/").split("/")]
    split_at = 1 if len(parts) > 1 and parts[1] in _PAGES else 2
    name, rest = "/".join(parts[:split_at]), parts[split_at:]
    match rest:
        case []:
            return _judged(Address(name=name))
        case ["tree", *revision] if revision:
            return _judged(Address(name=name, revision=_revision(revision)))
        case ["viewer"]:
            return _judged(Address(name=name))
        case ["viewer", config]:
            return _judged(Address(name=name, config=config))
        case ["viewer", config, split]:
            return _judged(Address(name=name, config=config, split=split))
    raise NoAddress(f"names a page or a file of {name}; name the dataset alone: {name}")


def _path(text: str) -> str | None:
    """What stands behind `datasets/` in an address; None where the text is none. Raises NoAddress."""
    if text.startswith("hf://"):
        kind, _, path = text.removeprefix("hf://").partition("/")
        if kind != "datasets" or not path:
            raise NoAddress("is no address of a dataset; one begins with hf://datasets/")
        return _with_revision(path)
    if text.startswith("datasets/"):
        return text.removeprefix("datasets/").split("?")[0].split("#")[0]
    address = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(address)
        host = (parts.netloc or "").lower()
    except ValueError:
        raise NoAddress("is no address that can be read") from None
    if "://" not in text and host not in _hosts():
        return None
    if parts.scheme not in ("https", "http") or host not in _hosts():
        raise NoAddress(f"is no address of the Hub ({HOSTS[0]}); name its dataset, owner/name, or upload the files")
    kind, _, path = parts.path.strip("/").partition("/")
    if kind != "datasets" or not path:
        what = "a space" if kind == "spaces" else "a model, perhaps"
        raise NoAddress(f"is the address of {what}; that of a dataset begins with https://{HOSTS[0]}/datasets/")
    return path


def _with_revision(path: str) -> str:
    """A path of hf://, in which the revision stands behind an @, as a page's path would say it."""
    found = re.fullmatch(r"([^@]+)@(refs/[a-z]+/[^/]+|[^/]+)(/.*)?", path)
    return f"{found[1]}/tree/{found[2]}{found[3] or ''}" if found else path


def _hosts() -> tuple[str, ...]:
    """The Hub's, and that of another one that is used instead."""
    own = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()
    return (*HOSTS, own) if own else HOSTS


def _revision(parts: list[str]) -> str:
    """The revision that a path of it begins with, and ends with. Raises NoAddress where more comes behind."""
    size = 3 if parts[0] == "refs" and len(parts) > 2 and parts[1] in _REFS else 1
    if len(parts) > size:
        raise NoAddress("names a folder or a file in a dataset; name the dataset, and its splits")
    return "/".join(parts)


def _judged(found: Address) -> Address:
    """The address, if each of its names can be one. Raises NoAddress."""
    if naming.refused(naming.HUB_DATASET, found.name):
        raise NoAddress(f"names no dataset; it must be {naming.HUB_SOURCE.must}")
    kinds = (naming.HUB_REVISION, naming.HUB_CONFIG, naming.HUB_SPLIT)
    for kind, name in zip(kinds, (found.revision, found.config, found.split), strict=True):
        if name is not None and naming.refused(kind, name):
            raise NoAddress(f"names {kind.what} {reprlib.repr(name)}, which must be {kind.must}")
    return found
