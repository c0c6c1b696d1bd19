"""Held-out rows of a line's data, for people who want to ask its endpoint something that it was not trained on."""

from __future__ import annotations

import random

from shared.api import schema
from shared.api.asked import number
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.records.line import Line
from shared.records.store import readable
from shared.run.actions.gate import held_out
from shared.serving.payload import conversation_of, expected_of

_OWN = "ask with a text of your own"


def held_out_row(app: App, line: Line, row: str) -> schema.QuestionView:
    """Row number `row`, from 1, of those that can be asked; any of them where it is "".

    Raises NotFound and Permanent, in words.
    """
    last = line.serving or line.latest
    run = last.run if last else line.rollout  # the first version is asked before it serves, too
    if not run:
        raise NotFound(f"line {line.id} has served nothing yet, so that there is no held-out row to ask")
    loaded = readable(app.runs, run)
    if loaded is None:
        raise NotFound(f"the record of run {run} is lost or can't be read, and so its held-out rows: {_OWN}")
    try:
        rows = [
            each for each in sorted(held_out(app, loaded.record), key=lambda each: each[0]) if _can_be_asked(each[1])
        ]
    except NotFound:
        rows = []
    except ValueError as error:
        raise Permanent(f"the held-out rows of run {run} can't be read: {error}; {_OWN}") from None
    if not rows:
        raise NotFound(f"run {loaded.record.id} has no held-out row of text alone: {_OWN}")
    at = number("row", row, len(rows)) if row else random.randint(1, len(rows))  # noqa: S311 - nothing depends on it
    _, found = rows[at - 1]
    return schema.QuestionView(
        run=loaded.record.id,
        number=at,
        count=len(rows),
        question=conversation_of(found),
        expected=expected_of(found),
    )


def _can_be_asked(row: dict[str, object]) -> bool:
    try:
        return bool(conversation_of(row))
    except (ValueError, KeyError):
        return False
