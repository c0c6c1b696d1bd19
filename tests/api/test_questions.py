"""GET lines/LINE/question: rows that were held out, for people who want to ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from shared.api import views
from shared.api.schema import QuestionView, Refused
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records import layout
from shared.records.layout import PREPARED, RUNS, STATE
from shared.records.line import Line
from shared.records.run import Restores, Run
from tests.kit.records import serving
from tests.kit.rows import jsonl, messages

SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = [*messages("T?"), {"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]
CHATS: list[Any] = [[*messages("a", "b"), *messages("c", "d")], TOOL, [SYSTEM, *messages("e", "f")]]

NO_ROWS = ["3", "0000000019", "0" * 5000 + "1"]
NO_ROWS += ["0", "-1", "1.0", "x", "²", "٣", " 1", "9" * 5000, "\x1b[2J"]


def question(app: App, line: Line, row: str = "") -> QuestionView:
    status, body = views.question(app, line.folder, row)
    assert status == 200, body
    return msgspec.json.decode(body, type=QuestionView)


def refused(app: App, line: Line, row: str = "") -> tuple[int, str]:
    status, body = views.question(app, line.folder, row)
    return status, msgspec.json.decode(body, type=Refused).error


def hold_out(app: App, prepared: str, chats: list[Any] = CHATS) -> None:
    rows = jsonl({"messages": each} for each in chats)
    app.cloud.blobs.write(PREPARED, layout.part_of(prepared, "test"), rows)


def test_rows_are_those_of_the_test_file_that_can_be_asked(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    run = make_run(phase=Phase.LIVE)
    line = make_line(serving=serving(run.id), latest=serving(run.id))
    hold_out(app, run.prepared)
    first, second = question(app, line, "1"), question(app, line, "2")
    assert (first.run, first.number, first.count) == (run.id, 1, 2)
    assert first.question == [*messages("a", "b"), {"role": "user", "content": "c"}]
    assert first.expected == "d"
    assert (second.question, second.expected) == ([SYSTEM, {"role": "user", "content": "e"}], "f")
    assert question(app, line) in (first, second)


@pytest.mark.parametrize("rows", [NO_ROWS[:3], pytest.param(NO_ROWS[3:], marks=pytest.mark.thorough)])
def test_a_row_that_is_none_is_refused(
    rows: list[str], app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    run = make_run(phase=Phase.LIVE)
    line = make_line(serving=serving(run.id), latest=serving(run.id))
    hold_out(app, run.prepared)
    for row in rows:
        status, why = refused(app, line, row)
        assert status == 409
        assert why.endswith("it must be a number from 1 to 2")
        assert len(why) < 120
        assert "\x1b" not in why


@pytest.mark.thorough
def test_what_was_torn_down_and_what_is_checked_can_be_asked_about(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    run = make_run(phase=Phase.CHECKING)
    hold_out(app, run.prepared)
    assert question(app, make_line("a", folder="torn-down", latest=serving(run.id)), "1").run == run.id
    assert question(app, make_line("b", folder="first-one", rollout=run.id), "1").run == run.id


@pytest.mark.thorough
def test_what_serves_again_has_the_rows_of_what_it_restores(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    origin = make_run("o", phase=Phase.LIVE)
    hold_out(app, origin.prepared)
    back = Restores(run=origin.id, instead_of="x", rollback=True)
    again = make_run("r", phase=Phase.LIVE, restores=back, data_of=origin.prepared)
    assert question(app, make_line(serving=serving(again.id), latest=serving(again.id)), "2").expected == "f"


@pytest.mark.thorough
def test_where_there_is_no_row_a_sentence_says_what_can_be_done(
    app: App, make_run: Callable[..., Run], make_line: Callable[..., Line]
) -> None:
    status, why = refused(app, make_line("a", folder="new-one"))
    assert (status, "has served nothing yet" in why) == (404, True)
    tools = make_run("t", phase=Phase.LIVE)
    line = make_line("b", folder="tools-only", serving=serving(tools.id), latest=serving(tools.id))
    for chats in (None, [TOOL]):
        if chats:
            hold_out(app, tools.prepared, chats)
        status, why = refused(app, line)
        assert status == 404
        assert "ask with a text of your own" in why
    app.cloud.blobs.delete(STATE, layout.record(RUNS, tools.id))
    status, why = refused(app, line)
    assert (status, f"run {tools.id} is lost" in why) == (404, True)
