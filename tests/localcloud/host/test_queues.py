"""Queue triggers on real storage: what a function gets, and what becomes of messages that fail or whose host dies."""

from __future__ import annotations

import time
from base64 import b64decode
from datetime import datetime, timedelta
from pathlib import Path

from tests.kit.host import Queues, Start
from tests.kit.waiting import eventually


def test_a_message_is_run_once_with_its_metadata_and_then_gone(start: Start, prefix: str, queues: Queues) -> None:
    queues.send("echo", "grüezi")
    host = start(prefix).ready()
    result = queues.result("results")
    assert result["body"] == "grüezi"
    assert result["dequeue_count"] == 1
    assert result["id"]
    assert result["receipt"]
    inserted, expires, hidden = (
        datetime.fromisoformat(result[name]) for name in ("inserted", "expires", "next_visible")
    )
    assert expires - inserted == timedelta(days=7)
    assert hidden > inserted
    assert eventually(lambda: queues.count("echo") == 0)
    assert "Executing 'Functions.echo' (Reason='New queue message detected on" in host.log
    assert "Executed 'Functions.echo' (Succeeded, Id=" in host.log
    assert f"echo got {result['id']}" in host.log
    assert host.stop() < 2


def test_failing_messages_end_in_the_poison_queue(start: Start, prefix: str, queues: Queues) -> None:
    queues.send("fails", "this")
    queues.send("parked-poison", "that")
    queues.send("echo", "not base64!", encoded=False)
    host = start(prefix).ready()
    assert b64decode(queues.take("fails-poison")) == b"this"
    assert host.log.count("Executed 'Functions.fails' (Failed") == 3
    assert "RuntimeError: no luck with this" in host.log
    assert queues.take("echo-poison") == "not base64!"
    assert host.log.count("can't reach 'Functions.echo': it is not Base64") == 1
    assert eventually(lambda: queues.count("fails") == queues.count("echo") == 0)

    # What fails in a poison queue stays there, hidden.
    eventually(lambda: host.log.count("Executed 'Functions.parked' (Failed") == 1)
    assert queues.client("parked-poison").receive_message() is None
    assert queues.count("parked-poison") == 1
    assert queues.count("parked-poison-poison") == 0


def test_a_message_stays_hidden_while_its_function_runs(
    start: Start, prefix: str, queues: Queues, tmp_path: Path
) -> None:
    queues.send("held", str(tmp_path))
    host = start(prefix, "--lease", "2").ready()
    eventually((tmp_path / "started").exists)
    after_the_lease = time.monotonic() + 3
    eventually(lambda: queues.client("held").receive_message() or time.monotonic() > after_the_lease)
    (tmp_path / "go").touch()
    eventually(lambda: queues.count("held") == 0)
    assert (tmp_path / "started").read_text() == f"{host.pid} 1\n"


def test_a_killed_hosts_message_comes_back(start: Start, prefix: str, queues: Queues, tmp_path: Path) -> None:
    queues.send("held", str(tmp_path))
    killed = start(prefix, "--lease", "2").ready()
    # Not just the file: the host may be killed between its making and its writing.
    eventually(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text() == f"{killed.pid} 1\n")
    killed.kill()
    (tmp_path / "go").touch()
    other = start(prefix).ready()
    eventually((tmp_path / "done").exists)
    assert (tmp_path / "started").read_text() == f"{killed.pid} 1\n{other.pid} 2\n"
    assert eventually(lambda: queues.count("held") == 0)


def test_two_hosts_share_a_queue_without_doing_anything_twice(start: Start, prefix: str, queues: Queues) -> None:
    for number in range(12):
        queues.send("echo", str(number))
    hosts = [start(prefix), start(prefix)]
    results = [queues.result("results") for _ in range(12)]
    assert sorted(int(result["body"]) for result in results) == list(range(12))
    assert {result["dequeue_count"] for result in results} == {1}
    assert eventually(lambda: queues.count("echo") == 0)
    assert queues.count("results") == 0
    assert {result["pid"] for result in results} <= {host.ready().pid for host in hosts}
