"""Tags of what a test makes in the app's place, so that it counts as the app's own."""

from __future__ import annotations

from shared.naming import ATTEMPT_TAG, INSTALLATION_TAG, LINE_TAG, RUN_TAG
from shared.records.line import Line
from shared.records.run import Run

HERE = "here"
"""The installation of records that are made up."""


def made_for(line: Line | Run, name: str) -> dict[str, str]:
    """Of the job, model's version or deployment `name` (a run's id, a dash, an attempt's number) of the line."""
    run, _, attempt = name.rpartition("-")
    own = line.line if isinstance(line, Run) else line.id
    return {RUN_TAG: run, ATTEMPT_TAG: attempt, LINE_TAG: own, INSTALLATION_TAG: line.installation}


def of_line(line: Line) -> dict[str, str]:
    """Of the line's endpoint."""
    return {LINE_TAG: line.id, INSTALLATION_TAG: line.installation}
