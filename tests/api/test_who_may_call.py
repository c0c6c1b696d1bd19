"""Every route, asked by everybody, of the real local host over HTTP.

The routes come from the app's own index, so that a new one is asked too. `OK`: the app itself has answered. A POST
brings a body that no command takes, so that being let in shows (400) and changes nothing.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest

from localcloud.environment import foreign
from localcloud.stack import Stack
from shared.api.line_commands import ON_LINES
from shared.api.run_commands import ON_RUNS
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.records.run import Run
from tests.kit.host import KEY, HostProcess
from tests.kit.paths import ROOT
from tests.kit.records import run_of

type Routes = list[tuple[str, str, int]]
type Ask = Callable[..., httpx.Response]
OK = 0
SECRET = "the platform's, which knows who is signed in"
VIEWERS, OPERATORS = "11111111-AAAA-4000-8000-000000000001", "22222222-bbbb-4000-8000-000000000002"
ENTRA = {"API_AUTH": "entra", "API_VIEWERS": f"another, {VIEWERS}", "API_OPERATORS": OPERATORS}
MODES = {
    "key": {"API_AUTH": "key"},
    "entra": ENTRA | {"WEBSITE_AUTH_ENABLED": "True", "LOCAL_LOGIN_SECRET": SECRET},
    "entra, without the platform": ENTRA | {"WEBSITE_AUTH_ENABLED": "False", "LOCAL_LOGIN_SECRET": SECRET},
    "misspelt": ENTRA | {"API_AUTH": "Entra", "WEBSITE_AUTH_ENABLED": "True", "LOCAL_LOGIN_SECRET": SECRET},
}
JSON = {"Content-Type": "application/json"}


def routes_of(trigger: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """A trigger's routes, each command apart: the method, the path, and the status where the app answers."""
    for command in ON_RUNS if trigger["route"].startswith("runs") else ON_LINES:
        path = trigger["route"].format(id="rnone", command=command)
        for method in trigger["methods"]:
            yield method, path, 400 if method == "POST" else 404 if "rnone" in path else 200


def signed_in(name: str, *groups: str, secret: str = SECRET, **more: Any) -> dict[str, str]:
    """The header of somebody whom the platform knows."""
    claims = {"oid": f"id-of-{name}", "preferred_username": name, "groups": groups, **more}
    return {"Authorization": f"Bearer {jwt.encode(claims, secret, 'HS256')}"}


def forged() -> dict[str, str]:
    """What the platform would say of an operator, said by the caller."""
    claims = {"claims": [{"typ": "groups", "val": OPERATORS}]}
    principal = base64.b64encode(json.dumps(claims).encode()).decode()
    names = {"": principal, "-id": "id-of-eve", "-name": "eve@example.org", "-idp": "aad"}
    return {f"X-MS-CLIENT-PRINCIPAL{name}": value for name, value in names.items()}


WITH_KEY, VIEWER, OPERATOR = (
    {"x-functions-key": KEY},
    signed_in("vera@example.org", VIEWERS.lower()),
    signed_in("otto@example.org", "a-group", OPERATORS),
)
BOTH = WITH_KEY | OPERATOR
"""Lets in by either mode: what is wrong with the rest of the request is seen."""
FOREIGN = {"Origin": "https://evil.example"}

CASES: dict[str, tuple[dict[str, str], tuple[int, int], tuple[int, int]]] = {
    # headers, and what GET and POST get: with keys, with Entra
    "no key": ({}, (401, 401), (401, 401)),
    "wrong key": ({"x-functions-key": "wrong"}, (401, 401), (401, 401)),
    "key": (WITH_KEY, (OK, OK), (401, 401)),
    "forged principal": (forged(), (401, 401), (401, 401)),
    "forged principal, with a key": (forged() | WITH_KEY, (OK, OK), (401, 401)),
    "viewer": (VIEWER, (401, 401), (OK, 403)),
    "viewer with an operator's forged principal": (VIEWER | forged(), (401, 401), (OK, 403)),
    "operator": (OPERATOR, (401, 401), (OK, OK)),
    "operator by a role": (signed_in("an-app", roles=OPERATORS), (401, 401), (OK, OK)),
    "member of no group": (signed_in("nina@example.org", "a-group"), (401, 401), (403, 403)),
    "token of somebody else's": (signed_in("eve", OPERATORS, secret="x" * 32), (401, 401), (401, 401)),
    "own Origin": (BOTH | {"Origin": "OWN"}, (OK, OK), (OK, OK)),
    "foreign Origin": (BOTH | FOREIGN, (OK, 403), (OK, 403)),
    "Origin null": (BOTH | {"Origin": "null"}, (OK, 403), (OK, 403)),
    "foreign Origin, no key": (FOREIGN, (401, 401), (401, 401)),
    "Origin of the host in front": (BOTH | FOREIGN | {"X-Forwarded-Host": "evil.example"}, (OK, OK), (OK, OK)),
    "Sec-Fetch-Site same-origin": (BOTH | {"Sec-Fetch-Site": "same-origin"}, (OK, OK), (OK, OK)),
    "Sec-Fetch-Site cross-site": (BOTH | {"Sec-Fetch-Site": "cross-site"}, (OK, 403), (OK, 403)),
    "Sec-Fetch-Site same-site": (BOTH | {"Sec-Fetch-Site": "same-site"}, (OK, 403), (OK, 403)),
    "JSON in UTF-8": (BOTH | {"Content-Type": "Application/JSON; charset=utf-8"}, (OK, OK), (OK, OK)),
    "a form": (BOTH | {"Content-Type": "application/x-www-form-urlencoded"}, (OK, 415), (OK, 415)),
    "plain text": (BOTH | {"Content-Type": "text/plain"}, (OK, 415), (OK, 415)),
    "no content type": (BOTH | {"Content-Type": ""}, (OK, 415), (OK, 415)),
}


@pytest.fixture(scope="module")
def routes(triggers: list[dict[str, Any]]) -> Routes:
    """Those of all triggers."""
    return sorted({route for each in triggers if each["type"] == "httpTrigger" for route in routes_of(each)})


@pytest.fixture(scope="module")
def urls(
    cloud: Stack, triggers: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The app's address in each mode. Queues and timers are left alone: they are other tests'."""
    ours = {name: value for name, value in os.environ.items() if name not in foreign()}
    off = {f"AzureWebJobs.{each['function']}.Disabled": "true" for each in triggers if each["type"] != "httpTrigger"}
    common = ours | cloud.environment | off | {"LOCAL_FUNCTION_KEY": KEY}
    logs = tmp_path_factory.mktemp("modes")
    hosts = {
        mode: HostProcess(logs / f"{number}.log", common | settings, app=ROOT)
        for number, (mode, settings) in enumerate(MODES.items())
    }
    yield {mode: host.ready().url for mode, host in hosts.items()}
    for host in hosts.values():
        host.kill()


@pytest.fixture(scope="module")
def ask(urls: dict[str, str]) -> Iterator[Ask]:
    """Sends a request in a mode."""
    with httpx.Client(timeout=60) as client:

        def ask(mode: str, method: str, path: str, headers: dict[str, str], body: str = "[]") -> httpx.Response:
            given = {name: value.replace("OWN", urls[mode]) for name, value in headers.items()}
            return client.request(
                method, f"{urls[mode]}/api/{path}", headers=given, content=body if method == "POST" else None
            )

        yield ask


def test_all_routes_are_asked_and_looking_changes_nothing(routes: Routes) -> None:
    assert {(method, path) for method, path, _ in routes} == {
        *(
            ("GET", path)
            for path in ("health", "about", "status", "runs", "folders", "lines", "cleanup", "models", "cost")
        ),
        *(("GET", f"runs/rnone{part}") for part in ("", "/answers", "/logs")),
        *(("GET", f"lines/rnone{part}") for part in ("", "/question")),
        ("POST", "folders/rnone/start"),
        *(("POST", f"runs/rnone/{command}") for command in ON_RUNS),
        *(("POST", f"lines/rnone/{command}") for command in ON_LINES),
        ("POST", "recover"),
    }


@pytest.mark.parametrize("mode", MODES)
def test_the_host_asks_for_keys_unless_the_app_knows_people(mode: str, urls: dict[str, str]) -> None:
    found = httpx.get(f"{urls[mode]}/admin/functions").json()
    levels = {each["name"]: each["config"]["bindings"][0]["authLevel"] for each in found}
    wants = "ANONYMOUS" if mode.startswith("entra") else "FUNCTION"
    assert levels == dict.fromkeys(levels, wants) | {"health": "ANONYMOUS"}


@pytest.mark.parametrize("mode", ["key", "entra"])
@pytest.mark.parametrize("case", CASES)
def test_every_route_lets_in_who_may_call(mode: str, case: str, routes: Routes, ask: Ask) -> None:
    headers, by_key, by_entra = CASES[case]
    for method, path, answered in routes:
        expected = (by_key if mode == "key" else by_entra)[method == "POST"]
        expected = answered if path == "health" else expected or answered
        answer = ask(mode, method, path, JSON | headers)
        assert answer.status_code == expected, (method, path, answer.text)
        if expected == 400:
            assert "body has to be" in answer.json()["error"]
        elif expected != 200 and not (mode == "key" and expected == 401):  # those are the host's
            assert len(answer.json()["error"]) > 10


@pytest.mark.parametrize("case", CASES)
def test_without_the_platform_nobody_gets_in(case: str, routes: Routes, ask: Ask) -> None:
    for method, path, _ in routes:
        answer = ask("entra, without the platform", method, path, JSON | CASES[case][0])
        assert answer.status_code == 503, (method, path, answer.text)
        if path == "health":
            assert answer.json() == {"status": "not ok"}
        else:
            assert "switch it on for this app, or set API_AUTH to key" in answer.json()["error"]


@pytest.mark.parametrize("case", CASES)
def test_with_a_mode_that_nobody_knows_nobody_gets_in(case: str, routes: Routes, ask: Ask) -> None:
    headers = CASES[case][0]
    for method, path, _ in routes:
        answer = ask("misspelt", method, path, JSON | headers)
        if path == "health":
            assert (answer.status_code, answer.json()) == (503, {"status": "not ok"})
        elif headers.get("x-functions-key") == KEY:
            assert answer.status_code == 503, (method, path)
            assert "API_AUTH='Entra' is not one of key, entra" in answer.json()["error"]
        else:
            assert (answer.status_code, answer.text) == (401, ""), (method, path)


def test_who_has_asked_is_proven_or_claimed(ask: Ask, app: App, make_run: Callable[..., Run]) -> None:
    said = '{"by": "ada\\u202e@example.org"}'
    for number, (mode, headers, name) in enumerate(
        (
            ("key", WITH_KEY, "ada@example.org (claimed)"),
            ("key", WITH_KEY | forged(), "eve@example.org (claimed)"),
            ("entra", OPERATOR | forged(), "otto@example.org"),
        )
    ):
        run = make_run(str(number), phase=Phase.TRAINING)
        answer = ask(mode, "POST", f"runs/{run.id}/cancel", JSON | headers, said)
        assert answer.status_code == 200, answer.text
        assert run_of(app, run).why == f"cancelled by {name}"
