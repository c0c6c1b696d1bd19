"""The command line's side: what it sends of keys and tokens, to whom, and what it says when they are refused."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.client import AppClient
from cli.errors import CliError
from tests.kit.answering import answering

ERROR = b'{"error": "do this"}'


class _App(BaseHTTPRequestHandler):
    """Answers as its path says: `/STATUS/api/...`; 302 sends to another place of its own."""

    got: list[tuple[str, str, dict[str, str]]]

    def do_GET(self) -> None:
        self.got.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        status = int(self.path.split("/")[1])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = (b'{"told": "done"}' if self.command == "POST" else b'{"runs": []}') if status == 200 else ERROR
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200/login")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server names them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    _App.got = []
    with answering(_App) as url:
        yield url


def client(url: str, **environ: str) -> AppClient:
    return AppClient.of(
        {f"DROPTUNE_{name.upper()}": value for name, value in environ.items()}, url=url, key="", state=Path()
    )


def test_a_command_comes_with_all_that_the_app_wants(url: str) -> None:
    client(f"{url}/200", key="k", token="t\n").ask("runs/r1/cancel", "ada")
    [(method, _, sent)] = _App.got
    assert method == "POST"
    assert {
        "content-type": "application/json",
        "x-functions-key": "k",
        "authorization": "Bearer t",
    }.items() <= sent.items()
    assert not {"origin", "sec-fetch-site"} & sent.keys()


def test_key_and_token_go_to_the_app_alone(url: str) -> None:
    client(f"{url}/302", key="k", token="t").runs()
    (_, _, first), (_, path, second) = _App.got
    assert path == "/200/login"
    assert {"x-functions-key", "authorization"} <= first.keys()
    assert not {"x-functions-key", "authorization"} & second.keys()
    assert "secret" not in repr(client(url, key="secret", token="secret"))


@pytest.mark.parametrize(
    ("status", "environ", "told"),
    [
        (401, {"token": "t"}, "refuses the token in DROPTUNE_TOKEN: get a new one"),
        (401, {"key": "k"}, "wants a token in DROPTUNE_TOKEN (docs/api.md says how): do this"),
        (403, {"token": "t"}, "do this"),
        (503, {"token": "t"}, "do this"),
        (500, {"token": "t"}, "answered 500"),
    ],
)
def test_what_is_refused_says_what_to_do(status: int, environ: dict[str, str], told: str, url: str) -> None:
    with pytest.raises(CliError) as refused:
        client(f"{url}/{status}", **environ).runs()
    assert told in str(refused.value)


def test_the_token_is_taken_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_TOKEN", "t")
    assert main(["runs", "--url", f"{url}/200", "--json"]) == 0
    assert _App.got[0][2]["authorization"] == "Bearer t"
