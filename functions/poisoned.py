"""Messages that failed again and again: a bug, or not ours. The run that one names is parked where people see it."""

import azure.functions as func

from functions import CONNECTION

blueprint = func.Blueprint()


def _park(queue: str, message: func.QueueMessage) -> None:
    from shared.app import app
    from shared.messages import park

    park(app(), queue, message.id or "unnamed", message.get_body())


@blueprint.queue_trigger("message", queue_name="dataset-events-poison", connection=CONNECTION)
def poisoned_dataset_event(message: func.QueueMessage) -> None:
    """Keeps the event; the sweep finds the upload all the same."""
    _park("dataset-events", message)


@blueprint.queue_trigger("message", queue_name="prepare-poison", connection=CONNECTION)
def poisoned_prepare(message: func.QueueMessage) -> None:
    """Parks the run."""
    _park("prepare", message)


@blueprint.queue_trigger("message", queue_name="job-events-poison", connection=CONNECTION)
def poisoned_job_event(message: func.QueueMessage) -> None:
    """Keeps the event; the sweep looks at the job all the same."""
    _park("job-events", message)


@blueprint.queue_trigger("message", queue_name="run-steps-poison", connection=CONNECTION)
def poisoned_run_step(message: func.QueueMessage) -> None:
    """Parks the run."""
    _park("run-steps", message)
