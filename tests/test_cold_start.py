"""The benchmark of a cold start: what it measures against, and that the app loads little more than that."""

from __future__ import annotations

from pathlib import Path

from benchmarks import cold_start


def test_the_empty_app_has_as_many_triggers_of_the_same_kinds(tmp_path: Path) -> None:
    kinds = ["queueTrigger", "queueTrigger", "timerTrigger", "httpTrigger"]
    cold_start.write_empty_app(tmp_path, kinds)
    triggers = cold_start.index(tmp_path)["triggers"]
    assert isinstance(triggers, list)
    assert [trigger["type"] for trigger in triggers] == kinds


def test_the_app_loads_little_more_than_an_empty_one() -> None:
    """The ratio of times is the benchmark's to tell: on a machine that does other things too it proves nothing."""
    result = cold_start.measure(1)
    assert result["triggers"] >= 8
    assert result["ratio"] > 0
    assert result["app_modules"] <= result["empty_modules"] + 12, "function_app, functions and their nine modules"
