"""What happened, in order, for tests to check: `GET /_local/history`.

Every status of a job, every model version, every state and the end of an endpoint and a deployment, every change of
traffic. It hears of them from the store, so that nothing is left out. In memory alone; localcloud/server.py makes it.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

type Json = dict[str, Any]

MOST = 100_000
_STATES = {"deployments": "deployments", "onlineEndpoints": "endpoints"}


class History:
    """The entries: {at, kind, name, state} or, for kind traffic, {at, kind, name, traffic}. `at` is local time.

    A deployment's name is `endpoint/deployment`, a model's `name:version`; the state of what was deleted is Deleted. A
    job that failed has `why`. Traffic has no zeros.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.entries: deque[Json] = deque(maxlen=MOST)

    def watch(self, kind: str, name: str, old: Json | None, new: Json | None) -> None:
        """Take in a change of a document; those of other kinds are nothing to tell."""
        if kind == "jobs" and new and new["parent"] is None and new["status"] != (old or {}).get("status"):
            self._add("jobs", name, state=new["status"], **({"why": new["error"]} if new["error"] else {}))
        elif kind == "models" and new and old is None:
            self._add("models", name.replace("/", ":"), state="Created")
        elif told := _STATES.get(kind):
            before, after = (document and document["properties"] for document in (old, new))
            if after is None:
                self._add(told, name, state="Deleted")
            elif after["provisioningState"] != (before or {}).get("provisioningState"):
                self._add(told, name, state=after["provisioningState"])
            if kind == "onlineEndpoints" and after and _traffic(after) != _traffic(before):
                self._add("traffic", name, traffic=_traffic(after))

    def _add(self, kind: str, name: str, **more: Any) -> None:
        self.entries.append({"at": self._now().isoformat(), "kind": kind, "name": name} | more)

    def routes(self) -> list[Route]:
        """GET `/_local/history` -> the entries, oldest first; DELETE forgets them."""
        return [Route("/_local/history", self._route, methods=["GET", "DELETE"])]

    async def _route(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.entries.clear()
            return Response(status_code=204)
        return JSONResponse(list(self.entries))


def _traffic(properties: Json | None) -> Json:
    return {name: percent for name, percent in properties["traffic"].items() if percent} if properties else {}
