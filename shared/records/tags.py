"""What jobs, models, deployments and endpoints carry in their tags, so that lost records can be made again from them.

Some of it is for people who look at the portal. All of it is once more in the tags `droptune.record.N`: compact JSON
without what is as it is by default, compressed, as URL-safe base64, cut into pieces. Azure lets a tag of a resource
have 256 characters, and a resource 50 of them; here it is RECORD_TAGS at most, so that others find room. Written by the
effects, read by `recover`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared import naming
from shared.naming import ATTEMPT_TAG, INSTALLATION_TAG, LINE_TAG, RUN_TAG, tag
from shared.records.base import VERSION, Order, from_json
from shared.records.line import Line
from shared.records.run import Run, Source

LENGTH = 256
"""Characters of a tag's value: the limit of Azure Resource Manager, which is lower than that of jobs (1,000)."""
RECORD_TAGS = 8
_RECORD = "droptune.record."
_UNPACKED = 64 * 1024
"""Bytes that a record may have: tags can be written by anybody who may write to the workspace."""

_LEFT_OUT = (
    "source.parameters",
    "source.policy",
    "attempt.data.rows",
    "source.spec",
    "source.test",
    "source.validation",
    "source.train",
    "source.hub_commit",
    "source.hub",
    "source.promotion.gate",
)
"""In this order, where not all of it fits. That a person has to approve, and how it is rolled out, never is."""


def tags_of(run: Run) -> dict[str, str]:
    """Tags of the run's job, model and deployment."""
    told = {
        RUN_TAG: run.id,
        ATTEMPT_TAG: str(run.attempt.number),
        LINE_TAG: run.line,
        INSTALLATION_TAG: run.installation,
        "droptune.dataset": run.source.folder,
        "droptune.base_model": run.source.base_model,
    }
    return _cut(told) | _packed(_given(as_in_tags(run), _NO_RUN))


def as_in_tags(run: Run) -> Run:
    """The run as far as its tags hold it: what it is made of, and what of its attempt Azure does not show."""
    attempt = replace(
        run.attempt,
        plan=None,
        job="",
        course=None,
        deployed=None,
        resumed=None,
        scarce=None,
        registered_again=0,
    )
    return Run(
        id=run.id,
        line=run.line,
        installation=run.installation,
        order=run.order,
        source=run.source,
        restores=run.restores,
        attempt=attempt,
        since=_ZERO,
    )


def tags_of_line(line: Line) -> dict[str, str]:
    """Tags of the line's endpoint."""
    told = {
        LINE_TAG: line.id,
        INSTALLATION_TAG: line.installation,
        "droptune.dataset": line.folder,
        "droptune.base_model": line.base_model,
    }
    known = Line(
        id=line.id,
        folder=line.folder,
        base_model=line.base_model,
        endpoint=line.endpoint,
        installation=line.installation,
    )
    return _cut(told) | _packed(_given(known, _NO_LINE))


def run_of(tags: Mapping[str, str], *, since: datetime) -> Run | None:
    """The run whose job, model or deployment has these tags; None where they don't tell. `since`: its phase's time."""
    try:
        run = msgspec.convert(_unpacked(tags) | {"since": since}, Run)
    except (ValueError, zlib.error):  # msgspec's and binascii's are ValueErrors
        return None
    return run if naming.is_id(run.id) and naming.is_id(run.line) else None


def line_of(tags: Mapping[str, str]) -> Line | None:
    """The line whose endpoint has these tags; None where they don't tell. It serves nothing."""
    try:
        line = msgspec.convert(_unpacked(tags), Line)
    except (ValueError, zlib.error):
        return None
    return line if naming.is_id(line.id) else None


_ZERO = datetime(1, 1, 1, tzinfo=UTC)
_NEEDED = frozenset({"id", "line", "order", "folder", "base_model", "endpoint"})
"""Fields without a default, of a run, its source and a line: they are told whatever they are like."""


def _usual(record: Run | Source | Line) -> dict[str, Any]:
    """What the other fields are like by default."""
    return {name: value for name, value in msgspec.to_builtins(record).items() if name not in _NEEDED}


_NO_SOURCE = Source(folder="", base_model="")
_NO_RUN = _usual(Run(id="", line="", order=Order(uploaded=_ZERO), source=_NO_SOURCE, since=_ZERO))
_NO_RUN["source"] = _usual(_NO_SOURCE)
_NO_LINE = _usual(Line(id="", folder="", base_model="", endpoint=""))


def _cut(told: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:LENGTH] for name, value in told.items()}


def _given(record: Run | Line, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, and those of its parts, that are not as they are by default; and the version in any case."""
    return {"version": record.version} | _differing(msgspec.to_builtins(record), usual)


def _differing(fields: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in fields.items():
        usual = default.get(name)
        if isinstance(value, dict) and isinstance(usual, dict):
            value = _differing(value, usual)
            if not value:
                continue
        if value != usual:
            found[name] = value
    return found


def _packed(record: dict[str, Any]) -> dict[str, str]:
    """The record in as many tags as it takes, without what does not fit; none at all where the rest does not either."""
    for left_out in (None, *_LEFT_OUT):
        if left_out:
            *parts, name = left_out.split(".")
            functools.reduce(lambda at, part: at.get(part) or {}, parts, record).pop(name, None)
        text = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(record), 9)).decode()
        if len(text) <= LENGTH * RECORD_TAGS:
            pieces = range(0, len(text), LENGTH)
            return {f"{_RECORD}{at // LENGTH}": text[at : at + LENGTH] for at in pieces}
    return {}


def _unpacked(tags: Mapping[str, str]) -> dict[str, Any]:
    """The fields of the record. Raises ValueError or zlib.error where there is none, or none that this code knows."""
    text = "".join(tag(tags, f"{_RECORD}{number}") or "" for number in range(RECORD_TAGS))
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(text, altchars=b"-_", validate=True), _UNPACKED)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof:
        raise ValueError("the record in the tags is cut, or too long")
    found = from_json(data, dict[str, Any])
    if found.get("version") != VERSION:
        raise ValueError(f"the record in the tags is of version {found.get('version')}, and this app knows {VERSION}")
    return found
