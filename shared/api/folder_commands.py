"""What a person asks of a dataset's folder: to look into it. A blob that was renamed or undeleted raises no event.

run_commands.py says how commands answer.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.api.asked import may_name_line, such
from shared.api.seen import after_live_now
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.intake.arrivals import look_into
from shared.intake.folder import read_folder, runs_of
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.records.run import Run
from shared.records.store import readable


def start(app: App, name: str, *, by: str = "") -> str:  # noqa: ARG001 - what it makes is what an upload would make
    """Makes the runs that the folder yields now. What it has yielded before, and runs or ended, is only named."""
    if not may_name_line(name):
        raise NotFound(f"there is no {such('folder', name)}")
    folder = read_folder(app, name)
    if not folder.files:
        raise NotFound(f"there is no {such('folder', name)} in the container {DATASETS}, or it is empty")
    ids = runs_of(folder)
    known = [loaded.record for run in ids if (loaded := readable(app.runs, run))]
    look_into(app, name, came=app.cloud.blobs.now())
    if waiting := folder.contents.waiting if not folder.unread else None:
        raise Permanent(f"{DATASETS}/{name} waits for {waiting}: upload it")
    if not ids:
        ignored = "; ".join(f"{file}: {why}" for file, why in folder.contents.ignored.items())
        raise Permanent(f"{DATASETS}/{name} holds nothing to train on: {ignored}")
    begun = f"is rejected: {folder.problem}" if folder.problem else "has started"
    if folder.archived:
        begun = f"waits: {folder.problem}"
    new = [run for run in ids if run not in {each.id for each in known} and readable(app.runs, run)]
    if folder.problem and known and not new:
        known = known[-1:]
    if new and not folder.problem:
        known = []
    return "; ".join([*(f"run {run} {begun}" for run in new), *(_of_the_same_files(app, run) for run in known)])


def _of_the_same_files(app: App, run: Run) -> str:
    """What has become of a run that there is already."""
    if run.phase == Phase.LIVE:
        return after_live_now(app, run)
    told = f"run {run.id} of the same files is {run.phase}"
    if run.phase in (Phase.REJECTED, Phase.UNCHANGED):  # another attempt would come to the same
        return f"{told}: {run.why}"
    return f"{told}: droptune retry {run.id} tries it again" if run.phase.ended else told


ON_FOLDERS: dict[str, Callable[..., str]] = {"start": start}
