"""Actions on a run's data: check and copy them, or take the report of the job that did."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.app import App
from shared.dataset.judging.rules import Facts
from shared.dataset.split import Part
from shared.dataset.version import VERSION
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.intake.folder import Folder, datasets_of, read_folder, taken
from shared.line.trained import note_data
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED
from shared.records.run import Data, Run

if TYPE_CHECKING:
    from shared.dataset.reading.files import Source, Table
    from shared.dataset.report import Report

log = logging.getLogger("droptune.run.actions.data")
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a run's record keeps of a report."""

    rejected: str
    splits: dict[str, int]
    digest: str
    version: int = 1


class _Rejected(Exception):
    """Takes back what was written of a dataset that may not be trained on."""


def prepare_data(app: App, run: Run) -> Run:
    """Checks the dataset and copies it, split, to where the job reads it. The report comes last: it says all is there.

    What is above INLINE_LIMIT_MB is left to the job's first step, untouched.
    Takes the validation and test files that the folder has now. If-Match on every read: a file that changes meanwhile
    is somebody's new upload, and the next look finds that out.
    """
    from shared.dataset.preparing.scan import prepare
    from shared.dataset.report_page import page
    from shared.dataset.safety import licences
    from shared.dataset.split import PARTS

    folder = read_folder(app, run.source.folder)
    dataset = datasets_of(folder).get(run.id)
    if dataset is None:
        raise Transient("the folder has changed since it was looked at; it is looked at again", timedelta(seconds=1))
    run = replace(run, source=replace(run.source, **taken(run.source.folder, dataset)))
    run, files = _inputs(app, run)
    if sum(file.size for several in files.values() for file in several) > app.settings.data.inline_limit_mb * MIB:
        return run.in_attempt(in_job=True)
    blobs = app.cloud.blobs
    try:
        with ExitStack() as stack:
            sinks = {
                part: stack.enter_context(blobs.writer(PREPARED, layout.part_of(run.prepared, part))) for part in PARTS
            }
            report = prepare(
                files=files,
                sinks=sinks,
                policy=run.source.policy,
                facts=facts_of(app, run),
                told=app.settings.data.max_rows_shown,
            )
            named = _licences(app, run, folder, files["train"])
            report = licences.told(report, licences.against(named, run.source.base_model))
            if report.rejected:
                raise _Rejected  # noqa: TRY301 - it has to leave through the writers, so that none of them commits
    except Conflict as error:
        raise Transient(f"a file was written to while it was read: {error}", after=timedelta(seconds=1)) from None
    except NotFound as error:
        raise Transient(f"a file was deleted while it was read: {error}", after=timedelta(seconds=1)) from None
    except _Rejected:
        log.info("run %s: %s", run.id, report.summary)
    blobs.write(PREPARED, layout.report_page(run.prepared), page(report).encode())
    blobs.write(PREPARED, layout.report(run.prepared), msgspec.json.encode(report.as_dict()))
    return _reported(run, report)


def _inputs(app: App, run: Run) -> tuple[Run, dict[Part, list[Source | Table]]]:
    """What the run reads, by part; and the run, which remembers the commit that its hub's revision is at."""
    if hub := run.source.pinned_hub:
        from shared.dataset.reading.hub import tables

        commit, found = tables(hub)
        return replace(run, source=replace(run.source, hub_commit=commit)), {part: [found[part]] for part in found}
    source = app.cloud.blobs.source
    return run, {
        part: [source(DATASETS, file.name, file.etag, file.size) for file in files]
        for part, files in run.source.parts.items()
    }


def _licences(app: App, run: Run, folder: Folder, files: Sequence[Source | Table]) -> tuple[str, ...]:
    """As the dataset's card names them: the hub's, or the one that was uploaded with the files."""
    from shared.dataset.safety.licences import CARD, CARD_LIMIT, of_card

    if run.source.pinned_hub:
        from shared.dataset.reading.hub import HubTable

        return next(file.licences for file in files if isinstance(file, HubTable))
    card = folder.files.get(CARD)
    if card is None or card.archived or not card.size:
        return ()
    size = min(card.size, CARD_LIMIT)
    data = app.cloud.blobs.read_at(DATASETS, layout.dataset_file(folder.name, CARD), 0, size, card.etag)
    return of_card(data.decode(errors="replace"))


def facts_of(app: App, run: Run) -> Facts:
    """What the rules ask of the base model; nothing is known of one that can't be trained."""
    try:
        model = app.cloud.registry.model(
            run.source.base_model, run.attempt.plan.model_version if run.attempt.plan else None
        )
    except Permanent:
        return Facts()
    return Facts(context=model.context, tools=model.takes_tools)


def _reported(run: Run, report: Report | _Told) -> Run:
    """The run with what its record keeps of a report."""
    data = Data(fingerprint=_fingerprint(run, report.digest), rows=dict(report.splits), rejected=report.rejected)
    return run.in_attempt(data=data)


def _fingerprint(run: Run, digest: str) -> str:
    """Equal for runs that train the same model on the same rows in the same way. The digest has the rules' version."""
    content = [digest, run.source.base_model, sorted(run.source.parameters.items())]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]


def take_report(app: App, run: Run) -> Run:
    """Takes into the record what the job's first step says of the data that it prepared.

    A job that began before an update of the app has read them by other rules: nobody is told that it knows these bytes.
    """
    told = msgspec.json.decode(app.cloud.blobs.read(PREPARED, layout.report(run.prepared))[0], type=_Told)
    reported = _reported(run, told)
    if told.version == VERSION:
        note_data(app, reported)
    return reported
