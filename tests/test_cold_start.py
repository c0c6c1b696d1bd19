"""The benchmark of a cold start: what it measures against, and that the app stays near it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cold_start


def test_the_empty_app_has_as_many_triggers_of_the_same_kinds(tmp_path: Path) -> None:
    kinds = ["queueTrigger", "queueTrigger", "timerTrigger", "httpTrigger"]
    cold_start.write_empty_app(tmp_path, kinds)
    triggers = cold_start.index(tmp_path)["triggers"]
    assert isinstance(triggers, list)
    assert [trigger["type"] for trigger in triggers] == kinds


@pytest.mark.slow
def test_importing_and_indexing_costs_little_more_than_an_empty_app() -> None:
    result = cold_start.measure(7)
    assert result["triggers"] >= 8
    assert result["ratio"] <= cold_start.LIMIT
