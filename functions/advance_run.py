"""A run, or the teardown of a line's endpoint, is to be looked at (queue `run-steps`)."""

import azure.functions as func

from functions import CONNECTION

blueprint = func.Blueprint()


@blueprint.queue_trigger("message", queue_name="run-steps", connection=CONNECTION)
def advance_run(message: func.QueueMessage) -> None:
    """Takes it as far as it goes now."""
    from shared.app import app
    from shared.messages import deliver, step

    deliver(app(), "run-steps", message.get_body(), step)
