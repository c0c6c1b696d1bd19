"""The local cloud as a whole: its processes are accounted for, whatever happens to them, and its state lives on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import psutil
import pytest
import requests
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from localcloud.environment import Description, app_environment, child_environment
from localcloud.stack import Stack, StackError, find
from tests.kit.paths import ROOT
from tests.kit.waiting import eventually

APP = """
import azure.functions as func

app = func.FunctionApp()

@app.route("hello", auth_level=func.AuthLevel.ANONYMOUS)
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "function_app.py").write_text(APP)
    (folder / "host.json").write_text('{"version": "2.0"}')
    return folder


@pytest.fixture
def stack(tmp_path: Path, app: Path) -> Iterator[Stack]:
    """Not started yet."""
    stack = Stack(tmp_path / "state", app=app)
    yield stack
    stack.stop()


def family(description: Description) -> list[psutil.Process]:
    """The guards that the description names, and everything below them."""
    guards = [found for name, known in description.processes.items() if name != "supervisor" and (found := find(known))]
    return [*guards, *(child for guard in guards for child in guard.children(recursive=True))]


def listening(description: Description) -> list[str]:
    """The names of the ports on which somebody answers."""

    def answers(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return [name for name, port in description.ports.items() if answers(port)]


@pytest.mark.thorough
def test_a_start_a_stop_and_another_start(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.start(host=False)
    stack.start(host=False)
    first, members = stack.description, family(stack.description)
    assert len(members) == 4  # two guards, Azurite, the server
    assert set(listening(first)) == set(first.ports) - {"host"}
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    with (
        DefaultAzureCredential() as credential,
        BlobServiceClient(stack.urls["blob"], credential=credential) as service,
        QueueClient(stack.urls["queue"], "dataset-events", credential=credential) as events,
    ):
        service.get_blob_client("state", "kept").upload_blob(b"kept")
        stack.control("POST", "/_local/clock", {"advance": 3600})
        local = datetime.fromisoformat(stack.control("GET", "/_local/clock")["now"])
        assert stamped(service) - datetime.now(UTC) > timedelta(minutes=59)

        service.get_blob_client("datasets", "last").upload_blob(b"last")
        stack.stop()
        assert psutil.wait_procs(members, timeout=1)[1] == []
        assert listening(first) == []

        stack.start(host=False)
        assert stack.description.ports == first.ports
        assert service.get_blob_client("state", "kept").download_blob().readall() == b"kept"
        assert stamped(service) >= local.replace(microsecond=0)
        assert events.get_queue_properties().approximate_message_count == 1  # a clean stop loses no event


def stamped(service: BlobServiceClient) -> datetime:
    """The Date header of an answer."""
    dates: list[str] = []
    service.get_service_properties(raw_response_hook=lambda answer: dates.append(answer.http_response.headers["Date"]))
    return parsedate_to_datetime(dates[0])


def test_what_is_kept_secret_is_its_owners_alone(cloud: Stack) -> None:
    assert cloud.state.stat().st_mode & 0o777 == 0o700
    assert (cloud.state / "cloud.json").stat().st_mode & 0o777 == 0o600


def test_a_second_one_says_so_in_one_line(cloud: Stack) -> None:
    with pytest.raises(StackError, match=rf"already running in {cloud.state} \(process {os.getpid()}\): stop it"):
        Stack(cloud.state).start()
    assert cloud.control("GET", "/_local/health")


@pytest.mark.thorough
def test_a_port_that_was_taken_meanwhile_is_given_up(stack: Stack) -> None:
    stack.start(host=False)
    ports = dict(stack.description.ports)
    stack.stop()
    with socket.create_server(("127.0.0.1", ports["management"])):
        stack.start(host=False)
        now = stack.description.ports
    assert {name for name in ports if ports[name] != now[name]} == {"management"}


def test_the_server_comes_back_after_a_crash(stack: Stack) -> None:
    stack.start(host=False)
    members = family(stack.description)
    stack.kill_server()
    assert "management" not in listening(stack.description)
    assert sum(member.is_running() for member in members) == 2
    stack.start_server()
    assert stack.control("GET", "/_local/health")


@pytest.mark.thorough
def test_what_ends_by_itself_is_started_again(stack: Stack) -> None:
    stack.start(host=False)
    assert stack.tend() == []
    for name in ("server", "azurite"):
        guard = find(stack.description.processes[name])
        assert guard is not None
        guard.children()[0].kill()
        [line] = eventually(stack.tend)
        assert re.match(rf"{name} ended with code 137; starting it again in 1 s \(log: ", line)
        assert eventually(stack.tend) == [f"{name} runs again"]
    assert len(family(stack.description)) == 4


def test_the_host_runs_the_app_and_comes_back(stack: Stack) -> None:
    stack.start()
    url = f"{stack.urls['host']}/api/hello"

    def hello() -> bytes:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
            return bytes(answer.read())

    assert hello() == b"hello"
    stack.kill_host()
    assert "host" not in listening(stack.description)
    stack.start_host()
    assert hello() == b"hello"


def test_an_app_that_does_not_load_leaves_nothing_running(stack: Stack, app: Path) -> None:
    (app / "function_app.py").write_text("import nowhere")
    with pytest.raises(StackError, match=r"(?s)host ended with code 1: see .*host\.log.*nowhere"):
        stack.start()
    description = described(stack.state)
    assert description.processes == {}
    assert listening(description) == []


def test_nothing_survives_a_supervisor_that_is_killed(tmp_path: Path, supervisors: Supervisors) -> None:
    state = tmp_path / "state"
    supervisor, _ = supervisors(state)
    description = described(state)
    members = family(description)
    assert len(members) == 4
    supervisor.kill()
    supervisor.communicate()
    assert command("down", state).communicate()[0] == f"no local cloud is running in {state}\n"
    again = Stack(state)
    try:
        again.start(host=False)  # at once, while the guards are still at work
        assert psutil.wait_procs(members, timeout=1)[1] == []
        assert again.description.key == description.key
    finally:
        again.stop()
    assert listening(description) == []


def command(name: str, state: Path, *more: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "localcloud", name, "--state", str(state), *more]
    if name == "up":
        arguments.append("--no-host")
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


type Supervisors = Callable[[Path], tuple[subprocess.Popen[str], list[str]]]


@pytest.fixture
def supervisors() -> Iterator[Supervisors]:
    """Starts supervisors and waits until they are ready: the process, and what it has printed. None outlives a test."""
    with ExitStack() as started:

        def running(state: Path) -> tuple[subprocess.Popen[str], list[str]]:
            supervisor = started.enter_context(command("up", state))
            started.callback(supervisor.kill)  # its guards end the rest
            assert supervisor.stdout is not None
            printed = [supervisor.stdout.readline()]
            while printed[-1] and not printed[-1].startswith("ready"):
                printed.append(supervisor.stdout.readline())
            return supervisor, printed

        yield running


def described(state: Path) -> Description:
    description = Description.load(state)
    assert description is not None
    return description


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, "down"])
def test_up_and_its_ends(tmp_path: Path, supervisors: Supervisors, way: signal.Signals | str) -> None:
    state = tmp_path / "state"
    supervisor, printed = supervisors(state)
    description = described(state)
    members = family(description)
    if isinstance(way, signal.Signals):
        supervisor.send_signal(way)
    else:
        assert command("down", state).communicate()[0] == f"stopped the local cloud in {state}\n"
    assert supervisor.communicate(timeout=20)[0].endswith("stopped\n")
    assert supervisor.returncode == 0
    assert f"management  {description.management_url}\n" in printed
    assert psutil.wait_procs(members, timeout=1)[1] == []
    assert listening(description) == []


def test_up_on_a_state_in_use_fails_in_one_line(cloud: Stack) -> None:
    second = command("up", cloud.state)
    printed, _ = second.communicate(timeout=20)
    assert second.returncode == 2
    said = f"droptune: a local cloud is already running in {cloud.state} (process {os.getpid()}): stop it with "
    assert printed.startswith(said + f"`droptune local down --state {cloud.state}`")
    assert printed.count("\n") == 1


def test_env_is_for_a_shell(cloud: Stack) -> None:
    printed, _ = command("env", cloud.state).communicate(timeout=20)
    shell = f"{printed}\nenv"
    seen = subprocess.run(
        ["sh", "-c", shell], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    variables = dict(line.split("=", 1) for line in seen.stdout.splitlines())
    assert app_environment(cloud.description).items() <= variables.items()


def test_env_needs_a_cloud(tmp_path: Path) -> None:
    process = command("env", tmp_path)
    assert process.communicate(timeout=20)[0].startswith(f"droptune: no local cloud is running in {tmp_path}")
    assert process.returncode == 2


def test_the_way_to_the_internet_is_closed_and_watched(cloud_env: Stack) -> None:
    before = cloud_env.control("GET", "/_local/denied")
    for url in ("https://example.invalid/", "http://example.invalid/"):
        try:
            answer = requests.get(url, timeout=10)
        except requests.exceptions.ProxyError:
            continue
        assert answer.status_code == 403
    after = cloud_env.control("GET", "/_local/denied")[len(before) :]
    expected = ["CONNECT example.invalid:443 HTTP/1.", "GET http://example.invalid/ HTTP/1."]
    assert [attempt["request"][:-1] for attempt in after] == expected


def test_children_inherit_nobodys_azure(cloud: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "of a real tenant")
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=real")
    environment = child_environment(cloud.description, {"ONE": "more"})
    assert environment["ONE"] == "more"
    assert environment["PATH"] == os.environ["PATH"]
    assert not {"AZURE_CLIENT_SECRET", "APPLICATIONINSIGHTS_CONNECTION_STRING"} & environment.keys()
