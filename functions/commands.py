"""What people ask for, over HTTP: POST with a function key, answered with what happens next, or why it can't be."""

import azure.functions as func

blueprint = func.Blueprint()


def _answer(told: tuple[int, bytes]) -> func.HttpResponse:
    status, body = told
    return func.HttpResponse(body, status_code=status, mimetype="application/json")


@blueprint.route("runs/{id}/{command}", methods=["POST"], trigger_arg_name="request")
def command_run(request: func.HttpRequest) -> func.HttpResponse:
    """Retries, cancels or approves a run."""
    from shared.api import requests
    from shared.app import app

    given = request.route_params
    return _answer(requests.on_run(app(), given["command"], given["id"], request.get_body(), request.headers))


@blueprint.route("lines/{id}/{command}", methods=["POST"], trigger_arg_name="request")
def command_line(request: func.HttpRequest) -> func.HttpResponse:
    """Rolls a line back, revives it, pins or unpins it."""
    from shared.api import requests
    from shared.app import app

    given = request.route_params
    return _answer(requests.on_line(app(), given["command"], given["id"], request.get_body(), request.headers))


@blueprint.route("recover", methods=["POST"], trigger_arg_name="request")
def recover(request: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
    """Makes lost records again from what Azure shows."""
    from shared.api import requests
    from shared.app import app

    return _answer(requests.recovered(app()))
