"""`droptune local fault` and `droptune local pretend`: what is typed is what the local cloud is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.__main__ import main
from localcloud.options import KINDS
from localcloud.stack import Stack

Type = Callable[[str], list[str]]


@pytest.fixture
def typed(cloud: Stack, capsys: pytest.CaptureFixture[str]) -> Iterator[Type]:
    """Type a command; returns the lines that it tells."""

    def typed(line: str) -> list[str]:
        code = main([*line.split(), "--state", str(cloud.state)])
        told = capsys.readouterr()
        assert (code, told.err) == (0, "")
        return told.out.splitlines()

    cloud.control("DELETE", "/_local/faults")
    cloud.control("DELETE", "/_local/pretend")
    yield typed
    main(["fault", "clear", "--state", str(cloud.state)])
    main(["pretend", "clear", "--state", str(cloud.state)])


def asked(cloud: Stack) -> dict[str, Any]:
    """The only fault there is."""
    [fault] = cloud.control("GET", "/_local/faults")
    return dict(fault)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_fault(cloud: Stack, typed: Type, kind: str) -> None:
    [line] = typed(f"fault add {kind} --path ^/none$")
    assert "^/none$" in line
    assert KINDS[kind][1].items() - {("path", "/deployments/")} <= asked(cloud).items()


def test_options_go_over_the_kind(cloud: Stack, typed: Type) -> None:
    line = "fault add throttled --service blob --method PUT --path ^/none$ --query comp=block --skip 2 --count all"
    [told] = typed(f"{line} --retry-after 9 --moment after --code Slow")
    assert told == "blob PUT ^/none$?comp=block  after the effect: 429 Slow; all to come, after 2 more, 0 so far"
    wanted = {"service": "blob", "skip": 2, "count": None, "retry_after": 9, "status": 429, "moment": "after"}
    assert wanted.items() <= asked(cloud).items()


def test_events_are_disturbed_and_left_alone_again(cloud: Stack, typed: Type) -> None:
    line = "fault events delay 3 --topic azureml --match ^none$ --seconds 90"
    assert typed(line) == ["events of azureml ^none$  delay 3 more, 0 held"]
    [made] = cloud.control("GET", "/_local/eventgrid")["disturbances"]
    assert (made["what"], made["count"], made["seconds"]) == ("delay", 3, 90)
    assert typed("fault clear") == ["nothing was asked for"]
    assert cloud.control("GET", "/_local/eventgrid")["disturbances"] == []


def test_rules_of_what_pretends(cloud: Stack, typed: Type) -> None:
    typed("pretend jobs --match ^none$ --seconds 600 --outcome Failed --why gone --count 2 --metric eval_loss=1.5")
    told = typed("pretend deployments --match /none$ --answer {question}")
    assert told == ["jobs ^none$  Failed after 600 s, 2 more", "deployments /none$  Succeeded after 0 s, always"]
    rules = cloud.control("GET", "/_local/pretend")
    assert (rules["jobs"][0]["metrics"], rules["jobs"][0]["why"]) == ({"eval_loss": 1.5}, "gone")
    assert rules["deployments"][0]["answer"] == "{question}"
    assert typed("pretend list") == told
    assert typed("pretend clear") == ["nothing was asked for"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fault add --path (", "no regular expression"),
        ("fault job no-such-job Failed", "404"),
        ("pretend jobs --seconds -1", "0 or more"),
    ],
)
def test_a_refusal_is_told(cloud: Stack, capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    assert main([*line.split(), "--state", str(cloud.state)]) == 2
    assert said in capsys.readouterr().err


def test_without_a_cloud_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fault", "list", "--state", str(tmp_path)]) == 2
    assert "no local cloud is running" in capsys.readouterr().err
