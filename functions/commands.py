"""What people ask for, over HTTP: POST with a function key, answered with what happens next, or why it can't be."""

import azure.functions as func

from functions import as_response

blueprint = func.Blueprint()


@blueprint.route("runs/{id}/{command}", methods=["POST"], trigger_arg_name="request")
def command_run(request: func.HttpRequest) -> func.HttpResponse:
    """Retries, cancels or approves a run."""
    from shared.api import requests
    from shared.app import app

    given = request.route_params
    return as_response(requests.on_run(app(), given["command"], given["id"], request.get_body(), request.headers))


@blueprint.route("lines/{id}/{command}", methods=["POST"], trigger_arg_name="request")
def command_line(request: func.HttpRequest) -> func.HttpResponse:
    """Rolls a line back, revives it, pins or unpins it."""
    from shared.api import requests
    from shared.app import app

    given = request.route_params
    return as_response(requests.on_line(app(), given["command"], given["id"], request.get_body(), request.headers))


@blueprint.route("recover", methods=["POST"], trigger_arg_name="request")
def recover(request: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
    """Makes lost records again from what Azure shows."""
    from shared.api import requests
    from shared.app import app

    return as_response(requests.recovered(app()))
