"""What a person asks of a dataset's folder: to look into it. A blob that was renamed or undeleted raises no event.

run_commands.py says how commands answer.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.api.asked import may_name_line, such
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.intake.arrivals import look_into
from shared.intake.folder import read_folder, runs_of
from shared.records.layout import DATASETS
from shared.records.store import readable


def start(app: App, name: str, *, by: str = "") -> str:  # noqa: ARG001 - what it makes is what an upload would make
    """Makes the runs that the folder yields now. What it has yielded before, and runs or ended, is only named."""
    if not may_name_line(name):
        raise NotFound(f"there is no {such('folder', name)}")
    folder = read_folder(app, name)
    if not folder.files:
        raise NotFound(f"there is no {such('folder', name)} in the container {DATASETS}, or it is empty")
    ids = runs_of(folder)
    known = {run: loaded.record.phase for run in ids if (loaded := readable(app.runs, run))}
    look_into(app, name)
    if waiting := folder.contents.waiting if not folder.problem else None:
        raise Permanent(f"{DATASETS}/{name} waits for {', '.join(waiting.for_)}: upload it")
    if not ids:
        ignored = "; ".join(f"{file}: {why}" for file, why in folder.contents.ignored.items())
        raise Permanent(f"{DATASETS}/{name} holds nothing to train on: {ignored}")
    begun = f"is rejected: {folder.problem}" if folder.problem else "has started"
    told = [f"run {run} {begun}" for run in ids if run not in known]
    told += [
        f"run {run} of the same files is {phase}" + (f": droptune retry {run} tries it again" if phase.ended else "")
        for run, phase in known.items()
    ]
    return "; ".join(told)


ON_FOLDERS: dict[str, Callable[..., str]] = {"start": start}
