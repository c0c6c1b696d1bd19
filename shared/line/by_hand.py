"""What somebody did by hand to what a line serves, noted at once because a person wants it served again.

The cleanup (cleanup.py) notes the same by itself, once it has seen it twice.
"""

from __future__ import annotations

from dataclasses import replace

from shared.app import App
from shared.errors import Permanent
from shared.line.access import is_active, save_and_send
from shared.records.base import FRESH
from shared.records.line import Line, Retiring
from shared.records.owner import not_on_line, not_ours


def without_what_is_gone(app: App, line: Line, etag: str) -> Line:
    """The line, saved, without what somebody deleted of what serves, or took the traffic from. Raises Permanent.

    A deployment that stands without traffic retires: whoever serves its model again takes it up as it stands.
    """
    serving = line.serving
    if serving is None or line.is_going:
        return line
    now = app.cloud.blobs.now()
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint and endpoint.traffic.get(serving.deployment):
        raise Permanent(f"line {line.id} serves {serving.model} at endpoint {line.endpoint}")
    if is_active(app, line.rollout):
        raise Permanent(f"run {line.rollout} is being rolled out: droptune watch {line.rollout} shows how far it is")
    if now - serving.since < FRESH:
        raise Permanent(
            f"line {line.id} began to serve {serving.model} at {serving.since:%Y-%m-%d %H:%M} UTC, and Azure may show "
            f"late what is so new: try again after {serving.since + FRESH:%Y-%m-%d %H:%M} UTC"
        )
    if endpoint is None:
        gone = replace(line.without_endpoint(now), rollout="")
        why = "somebody deleted the endpoint, and wants it back"
    elif refused := not_ours(line, endpoint.name, endpoint.tags):
        raise Permanent(refused)
    elif there := app.cloud.endpoints.deployment(line.endpoint, serving.deployment):
        if refused := not_on_line(line, there.name, there.tags):
            raise Permanent(refused)
        retires = Retiring(deployment=serving.deployment, model=serving.model, until=now + app.settings.rollout.grace)
        gone = replace(line.without_serving(now), retiring=(*line.retiring, retires))
        why = f"somebody gave deployment {serving.deployment} 0 % of the traffic, and wants it back"
    else:
        gone = line.without_serving(now)
        why = f"somebody deleted {serving.deployment}, and wants it back"
    return save_and_send(app, gone.to_send(now, "Endpoint.TornDown", why), etag)[0]
