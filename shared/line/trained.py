"""What was trained before, by content: the same data and settings need not be trained again.

Noted when a run goes live; read when an upload turns out to be the same. What only a job reads is known by the MD5s of
its files, so that nobody pays for a job to learn that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from shared.app import App
from shared.dataset.version import VERSION
from shared.errors import NotFound
from shared.records import layout
from shared.records.layout import STATE
from shared.records.run import Data, Run, Source
from shared.records.store import decoded


def model_is_there(app: App, model: str) -> bool:
    """Whether the workspace has the model `name:version`.

    A no is asked for again: what is missed may be trained anew, and one 404 of Azure's is not worth the GPU hours.
    """
    name, _, version = model.rpartition(":")
    return bool(name) and any(app.cloud.models.get(name, version) for _ in range(2))


def can_be_deployed(app: App, model: str, job: str = "") -> bool:
    """Whether the workspace has the model, or the job that made it, of whose output it can be registered again.

    `job`: where it is not the one that the model's version is named like.
    """
    if model_is_there(app, model):
        return True
    made = app.cloud.jobs.get(job or model.rpartition(":")[2]) if model else None
    return made is not None and made.status == "Completed"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run made that went live: the same data and settings need not be trained again."""

    run: str
    model: str


def trained(app: App, run: Run) -> Trained | None:
    """What was made of the run's data and settings before, and went live. None as well where they are not known yet.

    Raises Unreadable where somebody broke what was noted: to train on a doubt costs more than to wait.
    """
    if not run.attempt.fingerprint:
        return None
    try:
        name = layout.trained(run.line, run.attempt.fingerprint)
        data, _ = app.cloud.blobs.read(STATE, name)
    except NotFound:
        return None
    return decoded(data, Trained, f"{STATE}/{name}")


def content_of(source: Source) -> str:
    """Equal for the same bytes that are read, by the same rules, and trained on, with the same settings; nothing has to
    be read for it.

    "" where that is not known: storage has no MD5 of a file, or the hub's commit is still open.
    """
    files = [(part, file.name, file.size, file.md5) for part, several in source.parts.items() for file in several]
    known = all(file.md5 for file in source.files) and (source.files or source.hub_commit)
    if not known or (source.hub and not source.hub_commit):
        return ""
    settings = [source.base_model, source.policy, source.pinned_hub, sorted(source.parameters.items())]
    return hashlib.sha256(msgspec.json.encode([VERSION, files, settings], order="sorted")).hexdigest()[:32]


def known_data(app: App, run: Run) -> Data | None:
    """What a job has found in the very bytes of the run's data before; None where nobody knows. Raises Unreadable."""
    content = content_of(run.source)
    if not content:
        return None
    try:
        name = layout.content(run.line, content)
        data, _ = app.cloud.blobs.read(STATE, name)
    except NotFound:
        return None
    return decoded(data, Data, f"{STATE}/{name}")


def note_data(app: App, run: Run) -> None:
    """Remembers what the run's job has found in its data, for runs of the same bytes; what is rejected is not noted."""
    content, data = content_of(run.source), run.attempt.data
    if content and data and not data.rejected:
        app.cloud.blobs.write(STATE, layout.content(run.line, content), msgspec.json.encode(data))


def note_trained(app: App, run: Run, *, first: bool = False) -> None:
    """Remembers the run as the one that made a model of its data and settings.

    With `first` only where none is remembered yet: raises Conflict else.
    """
    made = Trained(run=run.id, model=run.attempt.model)
    app.cloud.blobs.write(
        STATE, layout.trained(run.line, run.attempt.fingerprint), msgspec.json.encode(made), if_none_match=first
    )
