"""What people ask for, over HTTP: POST by whoever may step in, answered with what happens next, or why it can't be."""

import azure.functions as func

from functions import respond

blueprint = func.Blueprint()


@blueprint.route("runs/{id}/{command}", methods=["POST"], trigger_arg_name="request")
def command_run(request: func.HttpRequest) -> func.HttpResponse:
    """Retries, cancels or approves a run."""
    from shared.api import requests

    to, body = request.route_params, request.get_body()
    return respond(request, lambda app, caller: requests.on_run(app, to["command"], to["id"], body, caller))


@blueprint.route("lines/{id}/{command}", methods=["POST"], trigger_arg_name="request")
def command_line(request: func.HttpRequest) -> func.HttpResponse:
    """Rolls a line back, revives it, pins or unpins it."""
    from shared.api import requests

    to, body = request.route_params, request.get_body()
    return respond(request, lambda app, caller: requests.on_line(app, to["command"], to["id"], body, caller))


@blueprint.route("folders/{id}/start", methods=["POST"], trigger_arg_name="request")
def start_folder(request: func.HttpRequest) -> func.HttpResponse:
    """Looks into a dataset's folder, and makes the runs that it yields."""
    from shared.api import requests

    to, body = request.route_params, request.get_body()
    return respond(request, lambda app, caller: requests.on_folder(app, "start", to["id"], body, caller))


@blueprint.route("recover", methods=["POST"], trigger_arg_name="request")
def recover(request: func.HttpRequest) -> func.HttpResponse:
    """Makes lost records again from what Azure shows."""
    from shared.api import requests

    return respond(request, lambda app, caller: requests.recovered(app, request.get_body(), caller))
