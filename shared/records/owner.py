"""Whose a job, a model's version, a deployment or an endpoint is: everybody who changes or deletes one asks here.

Ours is what has the name that is derived from its tags, *and* these tags, *and* a record that knows it; where the
record is lost, one that can be made again for this installation (api/recover.py). All else is somebody else's, a
copy with our tags too, and nothing is done to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared import naming
from shared.naming import INSTALLATION_TAG, LINE_TAG, OWNER_TAGS, Made, made_for, tag
from shared.records.line import Line
from shared.records.run import Run
from shared.records.tags import line_of
from shared.settings import Settings


def is_of_run(run: Run, name: str, tags: Mapping[str, str]) -> bool:
    """Whether the job, or the model's version, of this name was made for an attempt of the run."""
    made = made_for(name, tags)
    return made is not None and made.run == run.id and _of(run.line, run.installation, made)


def is_on_line(line: Line, name: str, tags: Mapping[str, str]) -> bool:
    """Whether the deployment of this name, on the line's endpoint, was made for a run of the line."""
    return _of(line.id, line.installation, made_for(name, tags))


def is_endpoint_of(line: Line, name: str, tags: Mapping[str, str]) -> bool:
    """Whether the endpoint of this name was made for the line."""
    return name == line.endpoint and _missing(line, tags) == {}


def not_ours(line: Line, name: str, tags: Mapping[str, str]) -> str:
    """Why the endpoint is not changed, and what ends that; "" for the line's own."""
    if is_endpoint_of(line, name, tags):
        return ""
    wanted = ", ".join(f"{key}={value}" for key, value in _missing(line, tags).items())
    return f"endpoint {name} lacks the tags {wanted}, and counts as somebody else's: with them, what waits goes on"


def not_on_line(line: Line, name: str, tags: Mapping[str, str]) -> str:
    """Why the deployment of this name, on the line's endpoint, is not changed, and what ends that; "" for ours.

    Somebody took its tags off, or made another one in its place.
    """
    if is_on_line(line, name, tags):
        return ""
    run, _, attempt = name.rpartition("-")
    wanted = dict(zip(OWNER_TAGS, (run, attempt, line.id, line.installation), strict=True))
    lacks = ", ".join(f"{key}={value}" for key, value in wanted.items() if tag(tags, key) != value)
    return f"deployment {name} lacks the tags {lacks}, and counts as somebody else's: with them, what waits goes on"


def is_at_home(settings: Settings, run: Run, endpoint: str) -> bool:
    """Whether the endpoint of this name is the one on which this installation deploys the run.

    Who copies an endpoint copies what is on it under its own name, which is unique on an endpoint only.
    """
    what = (run.source.folder, run.source.base_model)
    return endpoint == naming.endpoint_name(*what, *settings.workspace.scope, installation=run.installation)


def line_of_endpoint(settings: Settings, name: str, tags: Mapping[str, str]) -> Line | None:
    """The line that the endpoint of this name was made for, by this installation; None: it is somebody else's.

    Without asking for a record: of what the tags say the very name has to follow.
    """
    line = line_of(tags)
    return line if line and is_derived(settings, line) and is_endpoint_of(line, name, tags) else None


def is_derived(settings: Settings, line: Line) -> bool:
    """Whether the line's id and its endpoint's name are those that this installation gives."""
    what, installation = (line.folder, line.base_model), settings.storage.installation
    return (
        line.installation == installation
        and line.id == naming.line_id(*what, installation=installation)
        and line.endpoint == naming.endpoint_name(*what, *settings.workspace.scope, installation=installation)
    )


def _of(line: str, installation: str, made: Made | None) -> bool:
    return made is not None and (made.line, made.installation) == (line, installation)


def _missing(line: Line, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that the line's endpoint has to have, and these are not."""
    wanted = {LINE_TAG: line.id, INSTALLATION_TAG: line.installation}
    return {key: value for key, value in wanted.items() if tag(tags, key) != value}
