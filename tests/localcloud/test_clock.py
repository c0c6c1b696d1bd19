"""Local time: faster, ahead, never back, and kept over restarts."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from localcloud.clock import LocalClock
from localcloud.environment import time_in

HOUR = timedelta(hours=1)


def ahead(clock: LocalClock) -> float:
    """Hours before real time."""
    return (clock.now() - datetime.now(UTC)) / HOUR


def test_it_starts_as_real_time() -> None:
    assert abs(ahead(LocalClock())) < 0.001


def test_a_jump_and_then_a_faster_rate() -> None:
    clock = LocalClock()
    clock.advance(HOUR)
    assert ahead(clock) == pytest.approx(1, abs=0.001)
    clock.set_rate(1_000_000)
    assert clock.real(timedelta(seconds=1_000_000)) == pytest.approx(1)
    before = clock.now()
    while clock.now() - before < HOUR:  # 3.6 ms
        pass
    assert ahead(clock) > 2


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_stops_time_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        LocalClock().set_rate(rate)


def test_it_never_goes_back() -> None:
    with pytest.raises(ValueError, match="can't go back"):
        LocalClock().advance(-HOUR)


def test_through_a_crash_it_runs_on_at_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    LocalClock(path).set_rate(3600)
    earlier(path, seconds=10)
    assert ahead(LocalClock(path)) == pytest.approx(10 * 3599 / 3600, abs=0.5)
    assert LocalClock(path).rate == 3600


def test_while_stopped_it_runs_like_real_time(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    clock = LocalClock(path)
    clock.advance(HOUR)
    clock.set_rate(3600)
    clock.close()
    saved = ahead(clock)
    earlier(path, seconds=1000)
    again = LocalClock(path)
    assert ahead(again) == pytest.approx(saved, abs=0.5)
    assert again.rate == 3600


def test_a_crash_after_a_stop_and_a_start_does_not_turn_it_back(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    stopped = LocalClock(path)
    stopped.set_rate(1_000_000)
    stopped.close()
    crashed = LocalClock(path)
    started = crashed.now()
    while (seen := crashed.now()) - started < HOUR:  # 3.6 ms
        pass
    assert LocalClock(path).now() >= seen
    crashed.set_rate(60)
    seen = crashed.now()
    assert LocalClock(path).now() >= seen


def earlier(path: Path, *, seconds: float) -> None:
    """As if the file had been written that long ago."""
    saved = json.loads(path.read_text())
    saved["real"] -= seconds
    saved["local"] -= seconds
    path.write_text(json.dumps(saved))


def test_a_jump_ends_a_sleep() -> None:
    async def scenario() -> float:
        clock = LocalClock()
        started = time.monotonic()
        async with asyncio.timeout(10):
            sleep = asyncio.create_task(clock.sleep(HOUR))
            await asyncio.sleep(0)
            clock.advance(HOUR)
            await sleep
        return time.monotonic() - started

    assert asyncio.run(scenario()) < 5


def test_a_faster_rate_shortens_a_sleep() -> None:
    async def scenario() -> None:
        clock = LocalClock()
        async with asyncio.timeout(10):
            sleep = asyncio.create_task(clock.sleep(HOUR))
            await asyncio.sleep(0)
            clock.set_rate(36_000)
            await sleep

    asyncio.run(scenario())


def control(clock: LocalClock, method: str, wanted: object = None) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=clock.routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            return await client.request(method, "/_local/clock", json=wanted)

    return asyncio.run(call())


def test_control() -> None:
    clock = LocalClock()
    assert control(clock, "GET").json()["rate"] == 1
    answer = control(clock, "POST", {"advance": 3600, "rate": 2}).json()
    assert answer["rate"] == clock.rate == 2
    assert ahead(clock) == pytest.approx(1, abs=0.01)
    assert abs(datetime.fromisoformat(answer["now"]) - clock.now()) < timedelta(seconds=30)


@pytest.mark.parametrize(
    "wanted",
    [{"rate": 0}, {"advance": -1}, {"rate": "fast"}, {"rate": "inf"}, {"advance": 1e12}, {"advance": 1e300}, []],
)
def test_control_refuses_nonsense(wanted: object) -> None:
    answer = control(LocalClock(), "POST", wanted)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "InvalidClock"


def test_the_time_of_a_cloud_is_read_from_its_folder(tmp_path: Path) -> None:
    assert time_in(tmp_path) is None
    clock = LocalClock(tmp_path / "clock.json")
    clock.advance(timedelta(days=2))
    found = time_in(tmp_path)
    assert found
    assert abs(found - clock.now()) < timedelta(seconds=1)
    (tmp_path / "clock.json").write_text("{}")
    assert time_in(tmp_path) is None
