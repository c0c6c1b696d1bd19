"""A blob was written to the container `datasets` (Event Grid, BlobCreated, through the queue `dataset-events`)."""

import azure.functions as func

from functions import CONNECTION

blueprint = func.Blueprint()


@blueprint.queue_trigger("message", queue_name="dataset-events", connection=CONNECTION)
def dataset_uploaded(message: func.QueueMessage) -> None:
    """Makes the runs that the upload's folder yields."""
    from shared.app import app
    from shared.intake.arrivals import uploaded
    from shared.messages import deliver

    deliver(app(), "dataset-events", message.get_body(), uploaded)
