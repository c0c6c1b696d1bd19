"""The Cloud as a whole: cheap to import, one a process, made once however many threads ask."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from localcloud.stack import Stack
from shared.cloud import Cloud


def test_importing_it_imports_no_sdk() -> None:
    modules = "blobs, clients, computes, endpoints, failures, jobs, metrics, models, queues, registry, topic"
    code = f"import sys; from shared.cloud import {modules}; print([m for m in sys.modules if m.startswith('azure')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_storage_alone_does_not_import_azure_ml(cloud_env: Stack) -> None:
    code = (
        "import sys; from shared.app import app; app().cloud.blobs.now(); "
        "print('azure.ai.ml' in sys.modules, 'azure.storage.queue' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_threads_share_one_client(azure: Cloud) -> None:
    together = Barrier(8)

    def ask(_: int) -> int:
        together.wait()
        return id(azure.clients.blob_service)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_a_process_that_starts_while_azure_is_away_recovers(cloud_env: Stack) -> None:
    """azure-ai-ml asks for the cloud's metadata while it is imported: that fails, and must not stick."""
    code = """
from shared.app import app
from shared.errors import Transient
azure = app().cloud
try:
    azure.computes.get("nobody")
except Transient as error:
    print("transient:", error)
input()
print(azure.computes.get("nobody"))
"""
    cloud_env.control("POST", "/_local/faults", {"path": "/metadata/endpoints", "status": 503, "count": 1000})
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            told = process.stdout.readline()
        finally:
            cloud_env.control("DELETE", "/_local/faults")
        rest, _ = process.communicate("\n", timeout=60)
    assert told.startswith("transient: compute nobody in workspace local:")
    assert rest.strip() == "None"
