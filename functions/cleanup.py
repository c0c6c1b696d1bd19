"""Endpoints that nobody uses: on a timer, gives notice and later tears down."""

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.timer_trigger("timer", schedule="%CLEANUP_SCHEDULE%")
def cleanup(timer: func.TimerRequest) -> None:  # noqa: ARG001
    """Judges every line's endpoint."""
    from shared.app import app
    from shared.line.cleanup import cleanup

    cleanup(app())
