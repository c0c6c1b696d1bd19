"""Indexing the app: exactly its functions, and nothing heavy loaded for it."""

import json
import subprocess
import sys

import function_app
from shared.records.layout import DATASET_EVENTS_QUEUE, JOB_EVENTS_QUEUE, PREPARE_QUEUE, STEPS_QUEUE
from tests.kit.paths import ROOT

HEAVY = (
    "azure.ai.ml",
    "azure.storage",
    "azure.identity",
    "azure.eventgrid",
    "azure.monitor",
    "azure.core",
    "datasets",
    "pandas",
    "mlflow",
    "pyarrow",
    "msgspec",
    "yaml",
    "shared",
)
INDEX = """
import json, sys
import function_app
found = sorted(function.get_function_name() for function in function_app.app.get_functions())
print(json.dumps({"functions": found, "modules": sorted(sys.modules)}))
"""
FUNCTIONS = [
    "about",
    "advance_run",
    "answers",
    "cleanup",
    "command_line",
    "command_run",
    "cost",
    "dataset_uploaded",
    "folders",
    "health",
    "job_finished",
    "line",
    "lines",
    "logs",
    "models",
    "poisoned_dataset_event",
    "poisoned_job_event",
    "poisoned_prepare",
    "poisoned_run_step",
    "prepare_dataset",
    "question",
    "recover",
    "run",
    "runs",
    "start_folder",
    "status",
    "sweep",
    "verdicts",
]


def test_indexing_yields_exactly_the_functions_and_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", INDEX], cwd=ROOT, capture_output=True, text=True, check=True)
    index = json.loads(done.stdout)
    assert index["functions"] == FUNCTIONS
    loaded = [
        m for m in index["modules"] if m.split(".")[0] in HEAVY or any(m == h or m.startswith(h + ".") for h in HEAVY)
    ]
    assert loaded == []


def test_the_triggers_listen_to_the_queues_of_the_layout() -> None:
    queues = [
        binding["queueName"]
        for function in function_app.app.get_functions()
        for binding in function.get_dict_repr()["bindings"]
        if binding["type"] == "queueTrigger"
    ]
    ours = (DATASET_EVENTS_QUEUE, JOB_EVENTS_QUEUE, PREPARE_QUEUE, STEPS_QUEUE)
    assert sorted(queues) == sorted([*ours, *(f"{queue}-poison" for queue in ours)])
