"""`droptune local reset`: a state folder is deleted, and nothing else.

A folder is a local cloud's when its cloud.json says so. What is deleted in it are the names that a local cloud makes,
and of them those alone that were not there before it came; the folder goes when it is empty then. So a cloud that was
started in somebody's own folder, or over a demo's, takes nothing along.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from localcloud.environment import MADE, Description
from localcloud.options import typed
from localcloud.stack import StackError, hold, outlive


def reset(state: Path, *, yes: bool) -> Iterator[str]:
    """Delete it, and yield what to tell. Raises StackError when it is not to be deleted: then all of it is there."""
    place = state.resolve()
    if not place.exists():
        yield f"there is no local cloud in {state}: nothing to delete"
        return
    if Description.load(place) is None:
        raise StackError(f"{state} is no state folder of a local cloud, it has no cloud.json: nothing was deleted")
    with ExitStack() as held:
        if not hold(place, held):
            raise StackError(f"the local cloud in {state} is running: stop it first with `{typed('down', state)}`")
        description = Description.load(place)
        if description is None:
            raise StackError(f"somebody else has just deleted the local cloud in {state}")
        outlive(description)
        if not yes:
            _ask(state)
        for name in MADE:
            if name not in description.found:
                _delete(place / name)
        kept = sorted(each.name for each in place.iterdir())
        if not kept:
            place.rmdir()
    yield f"deleted the local cloud in {state}: `{typed('up', state)}` begins anew"
    if kept:
        yield f"kept what is not the local cloud's: {', '.join(kept)}"


def _ask(state: Path) -> None:
    """Raises StackError unless somebody says yes."""
    what = f"all uploads, runs, models and endpoints of the local cloud in {state}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise StackError(f"this deletes {what}, and nobody can be asked here: say so with --yes")
    sys.stderr.write(f"Delete {ascii(what)[1:-1]}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise StackError("nothing was deleted, as nobody said yes")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
