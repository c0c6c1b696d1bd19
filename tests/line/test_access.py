"""Who may change a line's endpoint, and what those who wait for that are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.app import App
from shared.errors import Permanent
from shared.lifecycle.phase import Phase
from shared.line.access import held_by, own
from shared.records import layout
from shared.records.layout import STATE
from shared.records.line import Line
from shared.records.run import Ending, Parked, Waiting
from tests.kit.carried import AT, EMPTY
from tests.kit.clouds import forget

LINE = Line(id="l", folder="faq", base_model="Phi-4", endpoint="e")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phase": Phase.DEPLOYING}, "the rollout of run OTHER"),
        ({"phase": Phase.ROLLED_BACK, "ending": Ending(phase=Phase.ROLLED_BACK, why="w")}, ""),
        ({"phase": Phase.LIVE}, ""),
        (
            {"phase": Phase.CHECKING, "waiting": Waiting(why="an approval", hold="approval")},
            "the rollout of run OTHER, which itself waits (an approval); droptune cancel OTHER ends it",
        ),
        (
            {"phase": Phase.CHECKING, "parked": Parked(at=AT, why="a bug")},
            "the rollout of run OTHER, which is parked (a bug); droptune cancel OTHER ends it",
        ),
        ({"phase": Phase.CHECKING, "waiting": Waiting(why="the endpoint")}, "the rollout of run OTHER"),
    ],
)
def test_a_rollout_holds_the_line_until_it_has_ended(app: App, key: str, changes: dict[str, object], told: str) -> None:
    other = replace(EMPTY, id=f"r{key}", **changes)  # type: ignore[arg-type]
    app.runs.create(other)
    line = replace(LINE, rollout=other.id)
    assert held_by(app, line, EMPTY) == told.replace("OTHER", other.id)
    assert held_by(app, line, other) == "", "it is its own"
    forget(app)


def test_nobody_holds_a_line_that_is_free_or_whose_run_is_gone(app: App, key: str) -> None:
    assert held_by(app, LINE, EMPTY) == ""
    assert held_by(app, replace(LINE, rollout=f"r{key}"), EMPTY) == ""


def test_a_run_that_can_not_be_read_holds_its_line(app: App, key: str) -> None:
    app.cloud.blobs.write(STATE, layout.record(layout.RUNS, f"r{key}"), b"{")
    held = held_by(app, replace(LINE, rollout=f"r{key}"), EMPTY)
    assert f"state/runs/r{key}.json can't be read" in held
    assert held.endswith("mend that blob, or delete it and recover")


def test_nobody_moves_the_traffic_of_a_line_that_another_run_has(app: App, key: str) -> None:
    run = replace(EMPTY, id=f"r{key}", line=f"l{key}")
    line = replace(LINE, id=run.line, rollout=run.id)
    assert app.lines.create(line)
    assert own(app, run)[0] == line
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(line, rollout=""), loaded.etag)
    with pytest.raises(Permanent, match="not this run's any more, but nobody's"):
        own(app, run)
