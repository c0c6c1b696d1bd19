"""What can go wrong at one external call, and how it is made to happen there.

A `Break` names a call by what it does and at which stage of a run, so that it means the same in the next run. It breaks
once, and remembers whether the run came by; several can be armed for one run. Used by the crash matrix and the chaos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.kit.worlds.wire import Call, HostDied, Wire, lost
from tests.kit.worlds.world import Control

CRASHES = ("dies before", "dies after", "answer lost")
"""The host is gone before the call or after its effect; or it lives, and never hears of the effect."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A failure that the local cloud answers with. `times`: 1, or so often that the SDK gives up trying again."""

    name: str
    body: dict[str, Any]
    times: int = 5


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="429 with Retry-After", body={"status": 429, "retry_after": 2}),
        Fault(name="500", body={"status": 500}),
        Fault(name="503", body={"status": 503}),
        Fault(name="reset", body={"reset": True}),
        Fault(name="401", body={"status": 401}, times=2),
        Fault(name="404", body={"status": 404}, times=1),
        Fault(name="409", body={"status": 409}, times=1),
        Fault(name="412", body={"status": 412}, times=1),
        Fault(name="stale", body={"moment": "stale", "seconds": 60}, times=1),
        Fault(name="latency", body={"moment": "delay", "delay": 0.1}, times=1),
    )
}

_STORAGE = re.compile(r"^/droptune/")
_JUST_MADE = re.compile(r"/workspaces/[^/]+/(jobs/RUN|models/.*/RUN|.*/deployments/RUN)$")
_OURS = re.compile(r"/workspaces/[^/]+/(jobs/RUN|models/.*RUN|onlineEndpoints/ENDPOINT)(/|$)")


def fits(fault: Fault, call: Call) -> bool:
    """Whether the real service may answer this call with that: 404 for what was just made, 412 where If-Match is."""
    storage, read = bool(_STORAGE.match(call.place)), call.method in ("GET", "HEAD")
    match fault.name:
        case "404":
            new = call.stage.startswith(("prepared", "training", "registered", "deploying"))
            return read and new and bool(_JUST_MADE.search(call.place))
        case "stale":
            return read and bool(_OURS.search(call.place))
        case "409":
            return not read and not storage
        case "412":
            may_be = "/active/" not in call.place or call.names_etag  # of markers, some are written whatever is there
            return call.method == "PUT" and "/state/" in call.place and may_be
        case "429 with Retry-After":
            return not storage
        case _:
            return True


@dataclass(kw_only=True)
class Break:
    """One case: at the first call of that name, `what` happens."""

    call: str
    what: str
    met: bool = False

    @property
    def name(self) -> str:
        """To be told."""
        return f"{self.call}: {self.what}"


@contextmanager
def broken(wire: Wire, control: Control, breaks: Iterable[Break]) -> Iterator[None]:
    """In the block, the host of this wire meets the breaks. A run is counted from the block's beginning."""
    waiting = {each.call: each for each in breaks}
    now: dict[int, Break] = {}

    def before(call: Call) -> None:
        found = waiting.pop(call.name, None)
        if found is None:
            return
        found.met, now[call.number] = True, found
        if found.what == "dies before":
            raise HostDied
        if fault := FAULTS.get(found.what):
            asked = {
                "service": call.service,
                "method": call.method,
                "path": f"^{re.escape(unquote(call.path))}$",
                "count": fault.times,
            }
            control("POST", "/_local/faults", asked | fault.body)

    def after(call: Call) -> None:
        match now.get(call.number):
            case Break(what="dies after"):
                raise HostDied
            case Break(what="answer lost"):
                lost(call)

    wire.listen()
    wire.before, wire.after = before, after
    try:
        yield
    finally:
        wire.before = wire.after = None
        control("DELETE", "/_local/faults")


def every(calls: Iterable[Call]) -> Iterator[Break]:
    """All cases for the calls of a run that were recorded, those that were made twice at a stage taken once."""
    for call in {call.name: call for call in calls}.values():
        for what in (*CRASHES, *(name for name, fault in FAULTS.items() if fits(fault, call))):
            yield Break(call=call.name, what=what)
