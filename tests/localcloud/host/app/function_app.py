"""An app that shows what the host gives it. Queues carry the prefix of their test; results are messages too."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-echo", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="result", queue_name="%PREFIX%-results", connection="AzureWebJobsStorage")
def echo(message: func.QueueMessage, result: func.Out[str]) -> None:
    """Passes a message on, with what came with it."""
    logging.getLogger("app").info("echo got %s", message.id)
    result.set(
        json.dumps(
            {
                "body": message.get_body().decode(),
                "id": message.id,
                "dequeue_count": message.dequeue_count,
                "inserted": str(message.insertion_time),
                "expires": str(message.expiration_time),
                "next_visible": str(message.time_next_visible),
                "receipt": message.pop_receipt,
                "pid": os.getpid(),
            }
        )
    )


@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-fails", connection="AzureWebJobsStorage")
def fails(message: func.QueueMessage) -> None:
    """Always raises."""
    raise RuntimeError(f"no luck with {message.get_body().decode()}")


@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-parked-poison", connection="AzureWebJobsStorage")
def parked(message: func.QueueMessage) -> None:
    """Raises as well, on a poison queue."""
    raise RuntimeError("parked for ever")


@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-held", connection="AzureWebJobsStorage")
def held(message: func.QueueMessage) -> None:
    """Says in a file FOLDER/started that it runs, and ends when there is a file FOLDER/go."""
    folder = Path(message.get_body().decode())
    with (folder / "started").open("a") as started:
        started.write(f"{os.getpid()} {message.dequeue_count}\n")
    pause = threading.Event()
    while not (folder / "go").exists():
        pause.wait(0.05)
    (folder / "done").touch()


@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%")
@app.queue_output(arg_name="result", queue_name="%PREFIX%-ticks", connection="AzureWebJobsStorage")
def tick(timer: func.TimerRequest, result: func.Out[str]) -> None:
    """Says that the timer fired, where, and what it was told."""
    last = timer.schedule_status.get("Last")  # type: ignore[attr-defined] # missing in the base class alone
    result.set(json.dumps({"past_due": timer.past_due, "pid": os.getpid(), "last": last}))


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True, use_monitor=False)
@app.queue_output(arg_name="result", queue_name="%PREFIX%-starts", connection="AzureWebJobsStorage")
def at_start(timer: func.TimerRequest, result: func.Out[str]) -> None:
    """Runs when a host starts."""
    result.set(json.dumps({"past_due": timer.past_due}))


@app.route(route="items/{id:int}/{*rest}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
def items(req: func.HttpRequest) -> func.HttpResponse:
    """Answers with the request."""
    seen = {
        "method": req.method,
        "params": dict(req.route_params),
        "query": dict(req.params),
        "body": req.get_body().decode(),
        "header": req.headers.get("X-Test"),
    }
    cookie = "taste=sweet; Path=/; HttpOnly; SameSite=Lax"
    return func.HttpResponse(
        json.dumps(seen),
        status_code=201,
        mimetype="application/json",
        headers={"X-Answer": "yes", "Set-Cookie": cookie},
    )


@app.route()
def guarded(req: func.HttpRequest) -> str:
    """Needs the key."""
    return "open"


@app.route(auth_level=func.AuthLevel.ANONYMOUS)
def breaks(req: func.HttpRequest) -> func.HttpResponse:
    """Always raises."""
    raise RuntimeError("broken on purpose")


@app.route(auth_level=func.AuthLevel.ANONYMOUS)
async def endless(req: func.HttpRequest) -> func.HttpResponse:
    """Never answers."""
    await asyncio.Event().wait()
    return func.HttpResponse()
