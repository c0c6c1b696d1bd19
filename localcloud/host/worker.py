"""Microsoft's Python worker library, called in this process.

Indexing, binding checks, decoding, the thread pool for plain functions and the marshalling of exceptions are its work
and so the same as on Azure. It gets an event loop in a thread of its own: there it is a process of its own, and an
`async` function that blocks must not keep the host from renewing what it holds. Called by `__main__` (index) and
`invocations`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from localcloud.host.settings import HostError

TRIGGERS = ("queueTrigger", "timerTrigger", "httpTrigger")
OUTPUTS = ("queue", "http")


@dataclass(frozen=True, kw_only=True)
class Function:
    """One indexed function. `trigger` and `outputs` (by name) are bindings as function.json would hold them."""

    id: str
    name: str
    trigger: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]]

    @property
    def kind(self) -> str:
        """Its trigger's type, one of TRIGGERS."""
        return str(self.trigger["type"])


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The worker's answer. `outputs`: protobuf TypedData by binding name; `error`: None when it succeeded."""

    outputs: Mapping[str, Any]
    error: str | None = None


def load_protocol() -> SimpleNamespace:
    """The messages between host and worker.

    They ship nowhere but in the wheel of azure-functions-runtime-v1, as `tests/protos`. That is loaded by its path,
    under another name: `tests` is this project's own package, and its `__init__` wants grpc, which nobody needs here.
    """
    folder = str(distribution("azure-functions-runtime-v1").locate_file("tests/protos"))
    package = ModuleType("functions_rpc")
    package.__path__ = [folder]
    sys.modules[package.__name__] = package
    nullable = importlib.import_module("functions_rpc.shared.NullableTypes_pb2")
    messages = importlib.import_module("functions_rpc.FunctionRpc_pb2")
    return SimpleNamespace(**{**vars(nullable), **vars(messages)})


class Worker:
    """The worker and its app. One per process: the library keeps its state in module globals."""

    def __init__(self, app: Path) -> None:
        self._app = app
        self.protocol = load_protocol()
        self._loop = asyncio.new_event_loop()

    def index(self) -> list[Function]:
        """Import the app and list its functions.

        Raises:
            HostError: the app has no function_app.py, can't be imported, has no functions, or one with a binding that
                this host doesn't know.
        """
        import azure_functions_runtime as runtime

        script = self._app / os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
        if not script.exists():
            raise HostError(f"0 functions found: there is no {script}")
        sys.path.insert(0, str(self._app))
        threading.Thread(target=self._loop.run_forever, name="worker", daemon=True).start()
        init = self.protocol.WorkerInitRequest(function_app_directory=str(self._app))
        started = self._call(runtime.worker_init_request(self._message(worker_init_request=init))).result()
        if started.result.status != self.protocol.StatusResult.Success:
            failure = started.result.exception
            message, advice, _ = failure.message.partition(". Cannot find module. ")
            # For a failed import the worker raises once more, with the same and all of sys.path.
            trace = failure.stack_trace.rpartition("\n\nDuring handling of")[0] if advice else failure.stack_trace
            raise HostError(f"0 functions found: {script} can't be indexed: {message}", trace=trace)
        runtime.start_threadpool_executor()
        request = self._message(functions_metadata_request=self.protocol.FunctionsMetadataRequest())
        listed = self._call(runtime.functions_metadata_request(request)).result().function_metadata_results
        if not listed:
            raise HostError(f"0 functions found: {script} defines an app without functions")
        return [self._function(entry) for entry in listed]

    async def invoke(
        self, function: Function, invocation: str, data: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> Answer:
        """Run a function.

        `data` is the trigger's value as one field of TypedData; `metadata` holds texts and what JSON can hold.
        Cancelling this cancels an `async` function; a plain one's thread can't be stopped.
        """
        import azure_functions_runtime as runtime

        typed = self.protocol.TypedData
        request = self.protocol.InvocationRequest(
            invocation_id=invocation,
            function_id=function.id,
            input_data=[self.protocol.ParameterBinding(name=function.trigger["name"], data=typed(**data))],
            trigger_metadata={
                name: typed(string=value) if isinstance(value, str) else typed(json=json.dumps(value))
                for name, value in metadata.items()
            },
        )
        running = self._call(runtime.invocation_request(self._message(invocation_request=request)))
        response = await asyncio.wrap_future(running)
        if response.result.status != self.protocol.StatusResult.Success:
            failure = response.result.exception
            return Answer(outputs={}, error=failure.stack_trace.strip() or failure.message)
        outputs = {output.name: output.data for output in response.output_data}
        if response.HasField("return_value"):
            outputs["$return"] = response.return_value
        return Answer(outputs=outputs)

    def _call[T](self, call: Coroutine[Any, Any, T]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _message(self, **content: Any) -> SimpleNamespace:
        message = self.protocol.StreamingMessage(**content)
        return SimpleNamespace(request=message, properties={"protos": self.protocol, "host": "127.0.0.1"})

    def _function(self, entry: Any) -> Function:
        bindings = [json.loads(text) for text in entry.raw_bindings]
        triggers = [binding for binding in bindings if binding["type"] in TRIGGERS]
        outputs = [binding for binding in bindings if binding["type"] in OUTPUTS and binding["direction"] == "OUT"]
        for binding in bindings:
            if binding not in triggers and binding not in outputs:
                raise HostError(
                    f"function {entry.name}: its binding {binding['name']!r} is a {binding['type']} "
                    f"({binding['direction']}), but the local host knows only {', '.join(TRIGGERS)} "
                    f"and outputs to {', '.join(OUTPUTS)}"
                )
        if len(triggers) != 1:
            raise HostError(f"function {entry.name}: it has {len(triggers)} triggers, but needs exactly one")
        if entry.HasField("retry_options"):
            raise HostError(f"function {entry.name}: the local host knows no retry policies")
        return Function(
            id=entry.function_id, name=entry.name, trigger=triggers[0], outputs={out["name"]: out for out in outputs}
        )
