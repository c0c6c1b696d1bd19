"""The triggers of the Function App: each binds a queue, a timer or a route to one call.

What they call is imported inside the functions: indexing the app must cost what an empty app costs, and an import error
must show as a failed invocation that names it, never as "0 functions found".
"""

import azure.functions as func

CONNECTION = "DROPTUNE_STORAGE"
"""Prefix of the settings of the app's storage account; its queues carry everything that happens."""


def as_response(answer: tuple[int, bytes]) -> func.HttpResponse:
    """The response of an HTTP trigger. What it says is shaped in shared/api/."""
    status, body = answer
    return func.HttpResponse(body, status_code=status, mimetype="application/json")
