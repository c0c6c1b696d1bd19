"""What jobs, models, deployments and endpoints carry in their tags, so that lost records can be made again from them.

Some of it is for people who look at the portal. All of it is once more in the tags `droptune.record.N`: compact JSON
without what is as it is by default, compressed, as URL-safe base64, cut into pieces. Azure lets a tag of a resource
have 256 characters, and a resource 50 of them; here it is RECORD_TAGS at most, so that others find room. Written by the
effects, read by `recover`.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.records.line import Line
from shared.records.run import Run

LENGTH = 256
"""Characters of a tag's value: the limit of Azure Resource Manager, which is lower than that of jobs (1,000)."""
RECORD_TAGS = 8
LINE = "droptune.line"
RUN = "droptune.run"
_RECORD = "droptune.record."
_UNPACKED = 64 * 1024
"""Bytes that a record may have: tags can be written by anybody who may write to the workspace."""

_NEEDED = (
    "id",
    "attempt",
    "line",
    "folder",
    "base_model",
    "uploaded",
    "ordinal",
    "origin",
    "rollback",
    "data_of",
    "fingerprint",
    "in_job",
    "model",
    "endpoint",
)
_WANTED = ("promotion", "hub", "hub_commit", "train", "validation", "test", "spec", "rows", "policy", "parameters")
"""In this order: what comes last is left out where not all of it fits."""
_OF_LINE = ("id", "folder", "base_model", "endpoint")


def tags_of(run: Run) -> dict[str, str]:
    """Tags of the run's job, model and deployment."""
    told = {
        RUN: run.id,
        "droptune.attempt": str(run.attempt),
        LINE: run.line,
        "droptune.dataset": run.folder,
        "droptune.base_model": run.base_model,
    }
    default = Run(id="", folder="", line="", base_model="", uploaded=_ZERO, since=_ZERO)
    return _cut(told) | _packed(_given(run, _NEEDED, default), _given(run, _WANTED, default))


def tags_of_line(line: Line) -> dict[str, str]:
    """Tags of the line's endpoint."""
    told = {LINE: line.id, "droptune.dataset": line.folder, "droptune.base_model": line.base_model}
    return _cut(told) | _packed(_given(line, _OF_LINE, None), {})


def run_of(tags: Mapping[str, str], *, since: datetime) -> Run | None:
    """The run whose job, model or deployment has these tags; None where they don't tell. `since`: its phase's time."""
    try:
        return msgspec.convert(_unpacked(tags) | {"since": since}, Run)
    except (ValueError, zlib.error):  # msgspec's and binascii's are ValueErrors
        return None


def line_of(tags: Mapping[str, str]) -> Line | None:
    """The line whose endpoint has these tags; None where they don't tell. It serves nothing."""
    try:
        return msgspec.convert(_unpacked(tags), Line)
    except (ValueError, zlib.error):
        return None


_ZERO = datetime(1, 1, 1, tzinfo=UTC)


def _cut(told: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:LENGTH] for name, value in told.items()}


def _given(record: Run | Line, names: tuple[str, ...], default: Run | None) -> dict[str, Any]:
    """The fields of those names that are not as they are by default."""
    return {
        name: msgspec.to_builtins(getattr(record, name))
        for name in names
        if default is None or getattr(record, name) != getattr(default, name)
    }


def _packed(needed: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """The record in as many tags as it takes, without what does not fit; none at all where not even `needed` does."""
    for many in range(len(wanted), -1, -1):
        record = {**needed, **dict(list(wanted.items())[:many])}
        text = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(record), 9)).decode()
        if len(text) <= LENGTH * RECORD_TAGS:
            pieces = range(0, len(text), LENGTH)
            return {f"{_RECORD}{at // LENGTH}": text[at : at + LENGTH] for at in pieces}
    return {}


def _unpacked(tags: Mapping[str, str]) -> dict[str, Any]:
    """The fields of the record. Raises ValueError or zlib.error where there is none, or one that is broken."""
    text = "".join(tags.get(f"{_RECORD}{number}", "") for number in range(RECORD_TAGS))
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(text, altchars=b"-_", validate=True), _UNPACKED)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof:
        raise ValueError("the record in the tags is cut, or too long")
    return msgspec.json.decode(data, type=dict[str, Any])
