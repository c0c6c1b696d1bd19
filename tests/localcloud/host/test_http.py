"""HTTP triggers and the admin routes of a running host."""

from __future__ import annotations

import httpx
import pytest

from tests.kit.host import KEY, HostProcess, Queues, Start
from tests.kit.waiting import eventually


@pytest.fixture(scope="module")
def prefix() -> str:
    return "http"


@pytest.fixture(scope="module")
def host(start: Start, prefix: str) -> HostProcess:
    return start(prefix, AzureFunctionsJobHost__functionTimeout="00:00:01").ready()


def test_a_function_gets_the_request_and_its_answer_is_passed_on(host: HostProcess) -> None:
    answer = httpx.post(f"{host.url}/api/items/7/a/b%20c?x=1&y=ü", content="häh", headers={"X-Test": "seen"})
    assert answer.status_code == 201
    assert answer.json() == {
        "method": "POST",
        "params": {"id": "7", "rest": "a/b c"},
        "query": {"x": "1", "y": "ü"},
        "body": "häh",
        "header": "seen",
    }
    assert answer.headers["X-Answer"] == "yes"
    assert answer.headers["Content-Type"] == "application/json"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("taste=sweet")
    assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/items/seven/x"), ("DELETE", "/api/items/7/x"), ("GET", "/items/7/x"), ("GET", "/api/nothing")],
)
def test_what_no_route_fits_is_not_found(host: HostProcess, method: str, path: str) -> None:
    assert httpx.request(method, host.url + path).status_code == 404


def test_a_function_with_a_key_opens_by_header_or_query(host: HostProcess) -> None:
    url = f"{host.url}/api/guarded"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"x-functions-key": "wrong"}).status_code == 401
    by_header = httpx.get(url, headers={"x-functions-key": KEY})
    assert (by_header.status_code, by_header.text) == (200, "open")
    assert httpx.get(url, params={"code": KEY}).status_code == 200


def test_a_function_that_raises_answers_500_and_says_why_in_the_log(host: HostProcess) -> None:
    answer = httpx.get(f"{host.url}/api/breaks")
    assert (answer.status_code, answer.text) == (500, "")
    eventually(lambda: "RuntimeError: broken on purpose" in host.log)


def test_a_function_that_takes_too_long_fails(host: HostProcess) -> None:
    assert httpx.get(f"{host.url}/api/endless", timeout=30).status_code == 500
    eventually(lambda: "it ran longer than host.json's functionTimeout, 0:00:01" in host.log)


def test_the_host_tells_what_it_runs(host: HostProcess) -> None:
    assert httpx.get(host.url).status_code == 200
    assert httpx.get(f"{host.url}/admin/host/status").json()["state"] == "Running"
    functions = {entry["name"]: entry for entry in httpx.get(f"{host.url}/admin/functions").json()}
    assert set(functions) == {
        "echo",
        "fails",
        "parked",
        "held",
        "tick",
        "at_start",
        "items",
        "guarded",
        "breaks",
        "endless",
    }
    assert functions["tick"]["config"]["bindings"][0]["schedule"] == "%SCHEDULE%"


def test_any_function_but_an_http_one_is_run_by_hand(host: HostProcess, queues: Queues) -> None:
    def call(name: str, **given: str) -> int:
        return httpx.post(
            f"{host.url}/admin/functions/{name}", json={"input": given.get("input")}, headers={"x-functions-key": KEY}
        ).status_code

    assert call("tick") == 202
    assert queues.result("ticks")["past_due"] is False
    assert call("fails", input="by hand") == 202
    eventually(lambda: "no luck with by hand" in host.log)
    assert call("items") == 400
    assert call("nothing") == 404
    assert httpx.post(f"{host.url}/admin/functions/tick").status_code == 401
