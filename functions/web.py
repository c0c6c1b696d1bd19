"""What people and the command line see, over HTTP: the app itself, runs and lines as JSON. Read only."""

import azure.functions as func

from functions import as_response, respond

blueprint = func.Blueprint()


@blueprint.route("health", trigger_arg_name="request", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def health(request: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001
    """Whether all is well, and nothing else: it is anybody's."""
    from shared.api.health import health

    return as_response(health())


@blueprint.route("about", trigger_arg_name="request", methods=["GET"])
def about(request: func.HttpRequest) -> func.HttpResponse:
    """Whether the settings are complete and storage answers, what is wrong, and what this process ignored so far."""
    from shared.api.health import about

    return respond(request, lambda app, _: about(app))


@blueprint.route("runs", trigger_arg_name="request", methods=["GET"])
def runs(request: func.HttpRequest) -> func.HttpResponse:
    """The runs that work, then those that ended last, newest first; `folder`, `phase` and `limit` choose among them."""
    from shared.api import views

    return respond(request, lambda app, _: views.runs(app, request.params))


@blueprint.route("runs/{id}", trigger_arg_name="request", methods=["GET"])
def run(request: func.HttpRequest) -> func.HttpResponse:
    """One run, by its id, the beginning of it, or its folder: its record, the report on its data, its job's metrics."""
    from shared.api import views

    return respond(request, lambda app, _: views.run(app, request.route_params["id"]))


@blueprint.route("runs/{id}/answers", trigger_arg_name="request", methods=["GET"])
def answers(request: func.HttpRequest) -> func.HttpResponse:
    """What the gate asked the run's deployment and the one that served, with their answers."""
    from shared.api import views

    return respond(request, lambda app, _: views.answers(app, request.route_params["id"]))


@blueprint.route("runs/{id}/logs", trigger_arg_name="request", methods=["GET"])
def logs(request: func.HttpRequest) -> func.HttpResponse:
    """The log of the run's deployment."""
    from shared.api import views

    return respond(request, lambda app, _: views.logs(app, request.route_params["id"]))


@blueprint.route("folders", methods=["GET"], trigger_arg_name="request")
def folders(request: func.HttpRequest) -> func.HttpResponse:
    """The dataset folders that are no run yet, and the files that each waits for."""
    from shared.api import views

    return respond(request, lambda app, _: views.folders(app))


@blueprint.route("lines", trigger_arg_name="request", methods=["GET"])
def lines(request: func.HttpRequest) -> func.HttpResponse:
    """The lines: what serves, what is idle, what the cleanup saved."""
    from shared.api import views

    return respond(request, lambda app, _: views.lines(app))


@blueprint.route("lines/{id}", trigger_arg_name="request", methods=["GET"])
def line(request: func.HttpRequest) -> func.HttpResponse:
    """One line, by its id, its endpoint or its folder."""
    from shared.api import views

    return respond(request, lambda app, _: views.line(app, request.route_params["id"]))


@blueprint.route("cleanup", trigger_arg_name="request", methods=["GET"])
def verdicts(request: func.HttpRequest) -> func.HttpResponse:
    """What the cleanup made of the lines at its last look; `line`: of one alone."""
    from shared.api import views

    return respond(request, lambda app, _: views.cleanup(app, request.params.get("line", "")))


@blueprint.route("lines/{id}/question", trigger_arg_name="request", methods=["GET"])
def question(request: func.HttpRequest) -> func.HttpResponse:
    """A held-out row to ask the line's endpoint: `row`, or any."""
    from shared.api import views

    wanted = request.params.get("row", "")
    return respond(request, lambda app, _: views.question(app, request.route_params["id"], wanted))


@blueprint.route("cost", trigger_arg_name="request", methods=["GET"])
def cost(request: func.HttpRequest) -> func.HttpResponse:
    """What a period cost and what teardowns saved: `for` says which, `by` line, run or day."""
    from shared.api import views

    return respond(request, lambda app, _: views.cost(app, request.params))


@blueprint.route("status", trigger_arg_name="request", methods=["GET"])
def status(request: func.HttpRequest) -> func.HttpResponse:
    """What serves, what needs a person, and what goes on by itself."""
    from shared.api import views

    return respond(request, lambda app, _: views.status(app))


@blueprint.route("models", trigger_arg_name="request", methods=["GET"])
def models(request: func.HttpRequest) -> func.HttpResponse:
    """The base models that a finetune.yaml may name, and whether this app can use them; `name` chooses among them.

    With `exact` it is the one of just that name, or without a name the app's own, and what the component takes.
    """
    from shared.api import views

    name, exact = request.params.get("name", ""), request.params.get("exact", "") == "true"
    return respond(request, lambda app, _: views.models(app, name, exact=exact))
