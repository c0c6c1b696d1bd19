"""The safety net: on a timer, finds what events missed and wakes what is overdue."""

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.timer_trigger("timer", schedule="%SWEEP_SCHEDULE%")
def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001
    """Looks for lost uploads, overdue runs and jobs that ended without an event."""
    from shared.app import app
    from shared.sweep import sweep

    sweep(app())
