"""Azure ML says that a job changed (Event Grid, RunCompleted and RunStatusChanged, through the queue `job-events`)."""

import azure.functions as func

from functions import CONNECTION

blueprint = func.Blueprint()


@blueprint.queue_trigger("message", queue_name="job-events", connection=CONNECTION)
def job_finished(message: func.QueueMessage) -> None:
    """Wakes the run whose job it is."""
    from shared.app import app
    from shared.intake.arrivals import job_changed
    from shared.messages import deliver

    deliver(app(), "job-events", message.get_body(), job_changed)
