"""Whom people mean: a run by the beginning of its id or by its folder, whose newest run is meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.api import run_commands, views
from shared.api.named import run_named
from shared.app import App
from shared.errors import NotFound, Permanent
from shared.lifecycle.phase import Phase
from shared.records.run import Entry, Run
from tests.kit.records import NOW

type Make = Callable[..., Run]


def test_a_run_is_named_by_its_id_and_by_the_beginning_of_it(app: App, make_run: Make) -> None:
    run, other = make_run("aa"), make_run("b")
    assert run_named(app, run.id).record == run
    assert run_named(app, run.id[:-1]).record == run
    assert run_named(app, other.id).record == other


def test_an_id_is_meant_whole_where_another_begins_with_it(app: App, make_run: Make) -> None:
    run = make_run("a")
    make_run("ab")
    assert run_named(app, run.id).record == run


def test_a_beginning_of_several_names_them(app: App, make_run: Make) -> None:
    runs = [make_run(name) for name in "abcdefg"]
    with pytest.raises(Permanent, match=rf"7 runs begin with {runs[0].id[:-1]}: {runs[0].id}, .* and 2 more"):
        run_named(app, runs[0].id[:-1])


def test_a_folder_means_its_newest_run_whatever_changed_last(app: App, make_run: Make) -> None:
    """What was made last, and not what ended last."""
    made = {
        name: make_run(name, phase=phase, since=NOW + since, history=(Entry(at=NOW + at, phase=phase, what="made"),))
        for name, phase, at, since in (
            ("old", Phase.FAILED, timedelta(0), timedelta(hours=9)),
            ("new", Phase.TRAINING, timedelta(hours=1), timedelta(hours=2)),
        )
    }
    assert run_named(app, made["new"].source.folder).record == made["new"]
    told = run_commands.cancel(app, made["new"].source.folder, by="ada")
    assert told == f"run {made['new'].id} ends as cancelled; its job is cancelled"


@pytest.mark.parametrize("name", ["rnothing", "no-such-folder", "..", "a/b", "\u202e", ""])
def test_who_is_not_there_is_told_how_runs_are_named(app: App, name: str) -> None:
    with pytest.raises(NotFound, match="name one by its id, by the beginning of it, or by its dataset's folder"):
        run_named(app, name)


def test_runs_are_chosen_by_folder_phase_and_number(app: App, make_run: Make) -> None:
    failed, working = make_run("a", phase=Phase.FAILED), make_run("b", phase=Phase.TRAINING)
    folder = failed.source.folder

    def ids(**wanted: str) -> list[str]:
        status, body = views.runs(app, {"folder": folder, **wanted})
        assert status == 200, body
        return [each["id"] for each in json.loads(body)["runs"]]

    app.runs.retire(failed.id)
    assert set(ids()) == {failed.id, working.id}
    assert ids(phase="failed") == [failed.id]
    assert len(ids(limit="1")) == 1
    assert views.runs(app, {"folder": "another"})[1].startswith(b'{"version":1,"runs":[],')


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"limit": "0"}, "limit is '0': it must be a number from 1 to 1000"),
        ({"limit": "9" * 30}, "it must be a number from 1 to 1000"),
        ({"limit": "many"}, "limit is 'many'"),
        ({"phase": "lives"}, "there is no phase 'lives': there are received, prepared"),
    ],
)
def test_a_choice_that_is_none_is_told(app: App, wanted: dict[str, str], why: str) -> None:
    status, body = views.runs(app, wanted)
    assert status == 409
    assert why in json.loads(body)["error"]
