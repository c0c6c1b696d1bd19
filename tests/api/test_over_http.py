"""The same asked over HTTP: status, JSON, and who asks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from azure.functions import HttpRequest

from functions import commands as functions
from shared.api import requests
from shared.api.access import Caller
from shared.app import App
from shared.app import app as this_process
from shared.lifecycle.phase import Phase
from shared.records.run import Run
from tests.kit.records import run_of


def test_answers_are_json_with_a_status(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING)

    def asked(command: str, key: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        status, answer = requests.on_run(app, command, key, body, Caller())
        return status, json.loads(answer)

    assert asked("cancel", "rnone")[0] == 404
    assert asked("dance", run.id) == (404, {"error": "there is no command dance: there are retry, cancel, approve"})
    assert asked("approve", run.id)[0] == 409
    for bad in (b"[]", b"{", b'{"by": 3}', b"x" * 5000, b"\xff"):
        assert asked("cancel", run.id, bad)[0] == 400, bad
    assert run_of(app, run) == run
    status, answer = asked("cancel", run.id, b'{"by": "ada\\u0007 l"}')
    assert (status, list(answer)) == (200, ["told", "runs"])
    assert run_of(app, run).why == "cancelled by ada l (claimed)"
    status, answer_ = requests.on_line(app, "pin", "lnone", b"", Caller())
    assert (status, b"lnone" in answer_) == (404, True)


def test_who_is_signed_in_counts_more_than_what_is_said(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING)
    requests.on_run(app, "cancel", run.id, b'{"by": "eve"}', Caller("ada@example.org", proven=True))
    assert run_of(app, run).why == "cancelled by ada@example.org"


def test_the_functions_take_what_the_host_gives_them(app: App, make_run: Callable[..., Run]) -> None:
    run = make_run(phase=Phase.TRAINING)
    assert this_process().runs.load(run.id)
    try:
        answers = [
            function.build().get_user_function()(
                HttpRequest(
                    method="POST",
                    url="/",
                    headers={"Content-Type": "application/json"},
                    route_params={"id": key, "command": command},
                    body=b'{"by": "ada"}',
                )
            )
            for function, key, command in (
                (functions.command_run, run.id, "cancel"),
                (functions.command_line, "lnone", "Pin"),
            )
        ]
    finally:
        this_process().cloud.close()
        this_process.cache_clear()
    assert [answer.status_code for answer in answers] == [200, 404]
    assert [answer.mimetype for answer in answers] == ["application/json"] * 2
    assert run_of(app, run).why == "cancelled by ada (claimed)"


@pytest.mark.parametrize(
    ("command", "body", "told"),
    [
        ("pin", b'{"until": "2w"}', "pin takes no until: nothing was done"),
        ("stop", b'{"end": true, "hours": "x"}', "stop takes no hours and no end"),
        ("keep", b'{"untill": "2w"}', "unknown field"),
    ],
)
def test_what_a_command_does_not_take_is_refused_and_not_passed_over(
    app: App, command: str, body: bytes, told: str
) -> None:
    """`keep` for two weeks, misspelt, would keep for good."""
    status, answer = requests.on_line(app, command, "lnone", body, Caller())
    assert status == 400
    assert told in json.loads(answer)["error"]
