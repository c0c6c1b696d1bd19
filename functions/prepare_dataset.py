"""A run's dataset is to be checked and copied. A queue of its own: a long dataset never blocks the short steps."""

import azure.functions as func

from functions import CONNECTION

blueprint = func.Blueprint()


@blueprint.queue_trigger("message", queue_name="prepare", connection=CONNECTION)
def prepare_dataset(message: func.QueueMessage) -> None:
    """Takes the run forward from `received`."""
    from shared.app import app
    from shared.messages import deliver, step

    deliver(app(), "prepare", message.get_body(), step)
