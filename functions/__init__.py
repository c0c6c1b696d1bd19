"""The triggers of the Function App: each binds a queue, a timer or a route to one call.

What they call is imported inside the functions: indexing the app must cost what an empty app costs, and an import error
must show as a failed invocation that names it, never as "0 functions found".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

if TYPE_CHECKING:
    from shared.api.access import Caller
    from shared.api.answers import Answer
    from shared.app import App

CONNECTION = "DROPTUNE_STORAGE"
"""Prefix of the settings of the app's storage account; its queues carry everything that happens."""

_ENTRA = os.environ.get("API_AUTH", "").strip() == "entra"
HTTP_LEVEL = func.AuthLevel.ANONYMOUS if _ENTRA else func.AuthLevel.FUNCTION
"""What the Functions host asks of a caller. With `entra` shared/api/door.py does that; any other value wants a key."""


def respond(request: func.HttpRequest, ask: Callable[[App, Caller], Answer]) -> func.HttpResponse:
    """The response of a route, to whoever may call. What it says is shaped in shared/api/."""
    from shared.api.door import answer

    return as_response(answer(request.method, request.headers, ask, has_key=HTTP_LEVEL is func.AuthLevel.FUNCTION))


def as_response(answer: Answer) -> func.HttpResponse:
    """The response of a route that is open to all."""
    status, body = answer
    return func.HttpResponse(body, status_code=status, mimetype="application/json")
