"""What Azure shows beside a line's record: people's doing is told, what the app itself is about to note is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.api.seen import Seen
from shared.cloud.endpoints import Endpoint
from shared.records.line import Line, Retiring, Standing, State, TearingDown
from tests.kit.records import NOW, serving

LINE = Line(id="l", folder="faq", base_model="m", endpoint="e", serving=serving("ra"), state=Standing())
BEFORE = Retiring(deployment="rbefore-1", model="m:0", until=NOW)
GONE, TAKEN = "endpoint e is gone", "deployment ra-1 has no traffic any more: somebody took it away"


@pytest.mark.parametrize(
    ("rollout", "state", "traffic", "told", "serves"),
    [
        ("", Standing(), {"ra-1": 100}, "", True),
        ("", Standing(), {"ra-1": 10, "others": 90}, "", True),
        ("", Standing(), {}, TAKEN, False),
        ("", Standing(), {"others": 100}, TAKEN, False),
        ("", Standing(), {"rbefore-1": 100}, TAKEN, False),
        ("", Standing(), None, GONE, False),
        ("rb", Standing(), {"rb-1": 100}, "", True),  # until it has noted that it serves
        ("rb", Standing(), {"rbefore-1": 100}, "", True),  # which a rollback takes up
        ("rb", Standing(), {}, TAKEN, False),
        ("rb", Standing(), {"others": 100}, TAKEN, False),
        ("rb", Standing(), None, GONE, False),
        ("", TearingDown(whole=False, emptied=None), {"ra-1": 100}, "", True),
        ("", TearingDown(whole=False, emptied=None), {}, "", False),
        ("", TearingDown(whole=True, emptied=None), None, "", False),
    ],
)
def test_what_serves_is_as_azure_shows_it(
    rollout: str, state: State, traffic: dict[str, int] | None, told: str, *, serves: bool
) -> None:
    line = replace(LINE, rollout=rollout, state=state, retiring=(BEFORE,))
    there = Endpoint(name="e", id="/e", state="Succeeded", scoring_uri="", traffic=traffic or {})
    shown = Seen(endpoints={} if traffic is None else {"e": there})
    assert shown.differs(line).startswith(told)
    assert bool(shown.differs(line)) == bool(told)
    assert (shown.serving(line) is not None) == serves


def test_what_serves_is_as_recorded_where_azure_can_not_be_asked() -> None:
    shown = Seen(endpoints=None, why="no network")
    assert (shown.serving(LINE), shown.differs(LINE)) == (LINE.serving, "")
