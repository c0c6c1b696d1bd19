"""Timer triggers: on one host at a time, at most once after a jump, and as past due after a pause."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from localcloud.clock import LocalClock
from localcloud.host.settings import HostError
from localcloud.host.timers import Schedule
from tests.kit.host import Queues, Start
from tests.kit.waiting import eventually


class Clock:
    """The local cloud's clock, served on its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def advance(self, **time: float) -> None:
        """Jump ahead by a timedelta of these arguments."""
        httpx.post(self.url, json={"advance": timedelta(**time).total_seconds()}).raise_for_status()


@pytest.fixture
def clock() -> Iterator[Clock]:
    listener = socket.create_server(("127.0.0.1", 0))

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    async def serve() -> None:
        await server.serve(sockets=[listener])

    app = Starlette(routes=LocalClock().routes())
    server = Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    yield Clock(f"http://127.0.0.1:{listener.getsockname()[1]}/_local/clock")
    server.should_exit = True
    thread.join(5)
    listener.close()


@pytest.mark.thorough
def test_one_host_runs_a_timer_and_another_takes_over(start: Start, prefix: str, queues: Queues, clock: Clock) -> None:
    options, settings = ("--clock", clock.url), {"SCHEDULE": "0 */5 * * * *"}
    started = [start(prefix, *options, **settings) for _ in range(2)]
    hosts = {host.ready().pid: host for host in started}
    eventually(lambda: sum("tick.Listener is waited for" in host.log for host in started) == 1)
    queues.result("starts")
    assert queues.count("ticks") == 0

    clock.advance(hours=3)  # 36 occurrences
    first = queues.result("ticks")
    assert not first["past_due"]
    clock.advance(minutes=5)
    second = queues.result("ticks")
    assert second["pid"] == first["pid"]
    assert second["last"] > first["last"]

    assert hosts.pop(first["pid"]).stop() < 2
    clock.advance(minutes=5)
    third = queues.result("ticks")
    assert third["pid"] in hosts
    assert queues.count("ticks") == 0

    hosts.pop(third["pid"]).stop()
    clock.advance(days=2)
    last = start(prefix, *options, **settings).ready()
    late = queues.result("ticks")
    assert late["past_due"]
    assert late["pid"] == last.pid
    eventually(lambda: "Executed 'Functions.tick' (Succeeded" in last.log)
    assert last.log.count("Executing 'Functions.tick'") == 1


def test_a_day_has_to_fit_day_of_month_and_day_of_week() -> None:
    friday_13th = Schedule("30 0 12 13 * 5", function="f")
    assert friday_13th.after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 2, 13, 12, 0, 30, tzinfo=UTC)


def test_the_next_occurrence_is_later_than_the_moment_asked_for() -> None:
    every_five = Schedule("0 */5 * * * *", function="f")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert every_five.after(noon) == noon + timedelta(minutes=5)
    assert every_five.after(noon - timedelta(microseconds=1)) == noon


@pytest.mark.parametrize(
    ("expression", "frequent"), [("0 * * * * *", False), ("*/30 * * * * *", True), ("0 0 3 * * *", False)]
)
def test_timers_that_fire_more_than_once_a_minute_are_not_monitored(expression: str, frequent: bool) -> None:
    assert Schedule(expression, function="f").frequent == frequent


@pytest.mark.parametrize("expression", ["*/5 * * * *", "00:05:00", "0 0 25 * * *", "0 0 0 30 2 *", ""])
def test_other_schedules_are_refused_by_name(expression: str) -> None:
    with pytest.raises(HostError, match="function sweep: its schedule"):
        Schedule(expression, function="sweep")
