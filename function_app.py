"""The Function App: what the Functions host indexes. Every trigger is a module of `functions/`."""

import azure.functions as func

from functions import (
    HTTP_LEVEL,
    advance_run,
    cleanup,
    commands,
    dataset_uploaded,
    job_finished,
    poisoned,
    prepare_dataset,
    sweep,
    web,
)

app = func.FunctionApp(http_auth_level=HTTP_LEVEL)
for module in (dataset_uploaded, prepare_dataset, job_finished, advance_run, poisoned, sweep, cleanup, web, commands):
    app.register_functions(module.blueprint)
