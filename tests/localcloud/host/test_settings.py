"""What is wrong with an app or its settings is said in clear words, and nothing starts."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from localcloud.host.queues import Backoff, decode, encode
from localcloud.host.settings import HostError, QueueSettings, load, resolve
from tests.kit.host import Start

QUEUE = (
    '@app.queue_trigger(arg_name="m", queue_name="%NAME%", connection="Here")\ndef f(m: func.QueueMessage) -> None: ...'
)
BLOB = '@app.blob_trigger(arg_name="b", path="a/b", connection="Here")\ndef f(b: func.InputStream) -> None: ...'
RETRY = '@app.retry(strategy="fixed_delay", max_retry_count="1", delay_interval="00:00:01")\n' + QUEUE
TIMER = '@app.timer_trigger(arg_name="t", schedule="*/5 * * * *")\ndef f(t: func.TimerRequest) -> None: ...'
PARAMETER = (
    '@app.queue_trigger(arg_name="m", queue_name="q", connection="Here")\ndef f(n: func.QueueMessage) -> None: ...'
)


@pytest.mark.parametrize(
    ("code", "settings", "said"),
    [
        ("import absent", {}, "function_app.py can't be indexed: ModuleNotFoundError: No module named 'absent'"),
        ("", {}, "0 functions found"),
        (PARAMETER, {}, "are declared in Python but not in the function definition"),
        (BLOB, {}, "function f: its binding 'b' is a blobTrigger (IN), but the local host knows only"),
        (QUEUE, {}, "function f, queueTrigger 'm': its queueName is '%NAME%', but there is no app setting NAME"),
        (QUEUE, {"NAME": "q"}, "function f, queueTrigger 'm': app setting Here__queueServiceUri is missing"),
        (RETRY, {"NAME": "q"}, "function f: the local host knows no retry policies"),
        (TIMER, {}, "function f: its schedule '*/5 * * * *' has 5 fields"),
    ],
)
def test_a_faulty_app_ends_the_host_with_the_reason(
    start: Start, tmp_path: Path, code: str, settings: dict[str, str], said: str
) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(f"import azure.functions as func\napp = func.FunctionApp()\n{code}\n")
    host = start("faulty", app=tmp_path, **settings)
    assert host.process.wait(20) == 1
    assert said in host.log
    assert "ready" not in host.log


def test_host_json_is_read_with_the_hosts_defaults_and_overrides(tmp_path: Path) -> None:
    queues = {
        "batchSize": 8,
        "visibilityTimeout": "00:00:30",
        "maxPollingInterval": "00:00:02",
        "messageEncoding": "none",
    }
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": queues}}))
    settings = load(tmp_path, {"AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "7"})
    assert settings.function_timeout == timedelta(minutes=30)
    assert settings.route_prefix == "api"
    assert settings.queues == QueueSettings(
        batch_size=8,
        new_batch_threshold=4,
        max_dequeue_count=7,
        visibility_timeout=timedelta(seconds=30),
        max_polling_interval=timedelta(seconds=2),
        base64=False,
    )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is not JSON"),
        ('{"functionTimeout": "5 minutes"}', "functionTimeout"),
        ('{"extensions": {"queues": {"batchSize": 33}}}', "batchSize"),
        ('{"extensions": {"queues": {"messageEncoding": "utf8"}}}', "messageEncoding"),
    ],
)
def test_a_wrong_host_json_is_refused_by_the_settings_name(tmp_path: Path, document: str, said: str) -> None:
    (tmp_path / "host.json").write_text(document)
    with pytest.raises(HostError, match=said):
        load(tmp_path, {})


def test_settings_between_percent_signs_are_resolved() -> None:
    assert resolve("a-%ONE%-%TWO%", {"ONE": "1", "TWO": "2"}, where="here") == "a-1-2"
    with pytest.raises(HostError, match="here is '%THREE%', but there is no app setting THREE"):
        resolve("%THREE%", {}, where="here")


def test_polling_slows_down_from_100_ms_to_the_longest_interval() -> None:
    backoff = Backoff(2)
    waits = [backoff.next() for _ in range(8)]
    assert waits[0] == 0.1
    assert waits == sorted(waits)
    assert waits[-1] == 2
    backoff.reset()
    assert backoff.next() == 0.1


@pytest.mark.parametrize("text", ["", "plain", "grüezi \N{PARTY POPPER}"])
def test_messages_survive_their_encoding(text: str) -> None:
    assert decode(encode(text, base64=True), base64=True).decode() == text
    assert decode(encode(text, base64=False), base64=False).decode() == text


@pytest.mark.parametrize("text", ["not base64!", "YWJ", "YWJj=", '{"a": 1}'])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not Base64"):
        decode(text, base64=True)
