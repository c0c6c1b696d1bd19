"""Which run or line people mean: by an id, by the beginning of a run's id, or by a dataset's folder.

Raises NotFound, and Permanent where several are meant, with their names. Called by the commands and the views.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from shared import naming
from shared.api.asked import may_name_line, such
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.records.layout import RUNS, STATE
from shared.records.line import Line
from shared.records.run import Run
from shared.records.store import Loaded, Unreadable, readable

SEARCHED = 1000
"""Runs among which a folder's newest is looked for."""
_SHOWN = 5
_LOOKED_AT = 20
"""Of a folder's runs that changed last: one of them is the one that was made last."""


def run_named(app: App, name: str) -> Loaded[Run]:
    """The run of that id, the one whose id begins so, or the newest of that folder. Raises Unreadable too."""
    if naming.is_id(name) and (loaded := app.runs.load(name)):
        return loaded
    if newest := _newest_of(app, name) if may_name_line(name) else None:
        return newest
    begun = _beginning_with(app, name) if naming.is_id(name) else []
    if len(begun) > 1:
        more = f" and {len(begun) - _SHOWN} more" if len(begun) > _SHOWN else ""
        raise Permanent(f"{len(begun)} runs begin with {name}: {', '.join(begun[:_SHOWN])}{more}")
    if begun and (loaded := app.runs.load(begun[0])):
        return loaded
    how = "name one by its id, by the beginning of it, or by its dataset's folder: `droptune runs` lists them"
    raise NotFound(f"there is no {such('run', name)}: {how}")


def line_named(app: App, name: str) -> Loaded[Line]:
    """The line by its id, its endpoint's name, or its folder where that has one line only."""
    unknown = f"there is no {such('line', name)}"
    how = "name one by its id, its endpoint or its dataset's folder"
    if not may_name_line(name):
        raise NotFound(f"{unknown}: {how}")
    if loaded := app.lines.load(name):
        return loaded
    found, broken = list[Loaded[Line]](), list[str]()
    own = naming.line_id(name, app.settings.training.base_model, installation=app.settings.storage.installation)
    for key in dict.fromkeys((own, *app.lines.standing())):
        try:
            loaded = app.lines.load(key)
        except Unreadable as error:
            broken.append(str(error))
        else:
            found += [loaded] if loaded and name in (loaded.record.endpoint, loaded.record.folder) else []
    if not found:
        read = f" among those that can be read ({'; '.join(broken)})" if broken else ""
        raise NotFound(f"{unknown}{read}: {how}")
    if len(found) > 1:
        each = ", ".join(f"{line.id} ({line.base_model})" for line, _ in found)
        raise Permanent(f"{name} has several lines: name one of {each}")
    return found[0]


def _beginning_with(app: App, name: str) -> list[str]:
    """Ids of runs, as many as are looked for elsewhere: a letter may be the beginning of all that ever were."""
    blobs = islice(app.cloud.blobs.list(STATE, f"{RUNS}/{name}"), SEARCHED)
    return [blob.name.removeprefix(f"{RUNS}/").removesuffix(".json") for blob in blobs]


def _newest_of(app: App, folder: str) -> Loaded[Run] | None:
    """The run of the folder that was made last."""
    marks, _ = app.runs.summaries(SEARCHED)
    of_folder = [mark.id for mark in marks if mark.folder == folder][:_LOOKED_AT]
    found = [loaded for run in of_folder if (loaded := readable(app.runs, run))]
    return max(found, key=lambda each: _made(each.record), default=None)


def _made(run: Run) -> datetime:
    return run.history[0].at if run.history else run.since
