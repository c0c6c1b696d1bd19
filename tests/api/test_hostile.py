"""A real host, and what means it harm: ids that are none, names that forge lines of its log, and a crowd at its door.

The routes come from the app's own index, so that one that is new is tried too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from cli.__main__ import main
from localcloud.environment import foreign
from localcloud.stack import Stack
from shared import naming
from shared.api.asked import may_name_line
from shared.api.line_commands import ON_LINES
from shared.api.run_commands import ON_RUNS
from shared.app import App
from shared.lifecycle.phase import Phase
from shared.logs import visible
from shared.records.layout import DATASET_EVENTS_QUEUE, DATASETS, STATE
from tests.kit.carried import LINE, RUN
from tests.kit.host import KEY, HostProcess
from tests.kit.hostile import WORST, harm, poisoned
from tests.kit.paths import ROOT
from tests.kit.waiting import eventually

WITH_KEY = {"x-functions-key": KEY, "Content-Type": "application/json"}
FORGED = "[2026-01-01T00:00:00.000Z] run r1 went live"
IDS = (
    f"r1\n{FORGED}",
    WORST,
    "..",
    "../x",
    "r1/../../lines/l1",
    "..\\x",
    "r1?comp=list#",
    "r1%2f..",
    "r1 ",
    "<script>",
    "r" * 3000,
)


type Start = Callable[..., HostProcess]


@pytest.fixture(scope="module")
def start(cloud: Stack, triggers: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts hosts that answer over HTTP, and listen to what the functions of these names listen to."""
    ours = {name: value for name, value in os.environ.items() if name not in foreign()}
    made: list[HostProcess] = []

    def start(*listening: str) -> HostProcess:
        silent = (each["function"] for each in triggers if each["type"] != "httpTrigger")
        off = {f"AzureWebJobs.{each}.Disabled": "true" for each in silent if each not in listening}
        log = tmp_path_factory.mktemp("hostile") / "host.log"
        made.append(HostProcess(log, ours | cloud.environment | off | {"LOCAL_FUNCTION_KEY": KEY}, app=ROOT))
        return made[-1].ready()

    yield start
    for each in made:
        each.kill()


@pytest.fixture(scope="module")
def host(start: Start) -> HostProcess:
    """One that does nothing by itself: what it asks of Azure is what a request has it ask."""
    return start()


@pytest.fixture(scope="module")
def listening(start: Start) -> HostProcess:
    """One that hears of uploads."""
    return start("dataset_uploaded")


@pytest.fixture
def calls(cloud: Stack) -> Iterator[list[Any]]:
    """What the block's requests have the app ask of blobs and of Azure ML; queues are the host's own business."""
    cloud.control("POST", "/_local/ledger", {"storage": True})
    cloud.control("DELETE", "/_local/ledger")
    found: list[Any] = []
    yield found
    cloud.control("POST", "/_local/ledger", {"storage": False})


def asked_of_azure(cloud: Stack) -> list[tuple[str, str]]:
    ledger = cloud.control("GET", "/_local/ledger")
    return [(each["method"], each["path"]) for each in ledger if each["service"] != "queue"]


def places(triggers: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Method, path with one place to fill, and what it is called: each place of each route."""
    for each in triggers:
        for name in re.findall(r"\{(\w+)", each.get("route", "")) if each["type"] == "httpTrigger" else ():
            for method, command in product(each["methods"], ON_RUNS if "runs" in each["route"] else ON_LINES):
                others = re.sub(rf"\{{(?!{name}\b)(\w+)[^}}]*\}}", command, each["route"])
                yield method, re.sub(r"\{\w+[^}]*\}", "{}", others), name


def test_what_can_be_no_id_is_refused_before_storage_is_asked(
    cloud: Stack, host: HostProcess, triggers: list[dict[str, Any]], calls: list[Any]
) -> None:
    tried = set(places(triggers))
    assert {name for *_, name in tried} == {"id", "command"}
    with httpx.Client(timeout=60, headers=WITH_KEY) as client:
        for (method, path, name), odd in product(sorted(tried), IDS):
            if name == "id" and may_name_line(odd):
                continue  # a folder may be called so, and a run or a line by its folder
            where = f"{host.url}/api/" + path.format(quote(odd, safe="").replace(".", "%2E"))
            answer = client.request(method, where, content='{"by": "eve"}' if method == "POST" else None)
            assert answer.status_code in (400, 404), (method, path, odd, answer.text)
            assert odd.strip() not in answer.text or not odd.strip(), "it is not repeated"
            assert not harm(answer.text)
    assert asked_of_azure(cloud) == [], tried


@pytest.mark.parametrize("good", ["rnone", "lnone"])
def test_what_may_be_an_id_is_looked_for(
    cloud: Stack, host: HostProcess, triggers: list[dict[str, Any]], calls: list[Any], good: str
) -> None:
    """Else the test above would prove nothing."""
    with httpx.Client(timeout=60, headers=WITH_KEY) as client:
        answer = client.post(f"{host.url}/api/lines/{good}/pin", content="{}")
        assert (answer.status_code, good in answer.text) == (404, True)
    assert asked_of_azure(cloud)


def test_a_request_is_one_line_of_the_log(host: HostProcess) -> None:
    before = host.log
    for number, odd in enumerate((f"r1\n{FORGED}", "r1\u2028x", "r1\x1b[2J\u202e")):
        path = f"runs/{quote(f'{odd}{number}', safe='')}/cancel"
        said = httpx.post(f"{host.url}/api/{path}", headers=WITH_KEY, content='{"by": "e\\u202eve\\n"}')
        assert said.status_code == 404
        line = f"cancel of {visible(odd)}{number}, asked for by eve (claimed)"
        eventually(lambda line=line: line in host.log)  # type: ignore[misc]
    added = host.log.removeprefix(before)
    assert not harm(added)
    assert not [line for line in added.splitlines() if line.startswith(FORGED)]
    assert len([line for line in added.splitlines() if "asked for by" in line]) == 3


@pytest.mark.thorough
def test_an_upload_is_one_line_of_the_log_for_each_thing_that_is_said_of_it(
    app: App, listening: HostProcess, key: str
) -> None:
    name = f"faq\u202e{key}"
    app.cloud.blobs.write(DATASETS, f"{name}/tr\u2066ain\n{FORGED}.jsonl", b"{}\n")
    line = f"received {visible(name)}/"
    eventually(lambda: line in listening.log)
    assert not harm(listening.log)
    assert not [each for each in listening.log.splitlines() if each.startswith(FORGED)]
    assert len([each for each in listening.log.splitlines() if visible(name) in each]) == 1
    app.cloud.blobs.write(DATASETS, f"bad{key}\n{FORGED}/train.jsonl", b"{}\n")
    eventually(lambda: "is not a dataset folder's name" in listening.log)
    assert not [each for each in listening.log.splitlines() if each.startswith(FORGED)]
    (refused,) = [each for each in listening.log.splitlines() if "is not a dataset folder's name" in each]
    assert f"'bad{key}"[:8] in refused


@pytest.mark.thorough
def test_a_reason_of_azures_is_one_line_of_the_log(app: App, cloud: Stack, listening: HostProcess, key: str) -> None:
    evil = f"no\u202e{key}\x9b2J"
    fault = {"service": "blob", "path": f"/{DATASETS}", "query": "comp=list", "status": 403, "message": evil}
    cloud.control("POST", "/_local/faults", fault)
    app.cloud.blobs.write(DATASETS, f"faq-{key}/train.jsonl", b"{}\n")
    eventually(lambda: visible(evil) in listening.log)
    app.cloud.clients.queue_service.get_queue_client(DATASET_EVENTS_QUEUE).clear_messages()  # it would come again
    assert not harm(listening.log)
    (line,) = (each for each in listening.log.splitlines() if key in each)
    assert "a message of queue dataset-events comes again in 0:05:00: " in line


@pytest.mark.thorough
def test_a_record_full_of_it_is_shown_and_harms_nobody(
    app: App, host: HostProcess, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real app behind the real command line; tests/cli/test_words.py tries more texts than one."""
    evil = WORST.replace("\x00", "")  # no blob has that in its metadata's names
    run = replace(poisoned(RUN, evil), id=f"r{key}", line=f"l{key}", phase=Phase.TRAINING, ending=None)
    line = replace(poisoned(LINE, evil), id=run.line, endpoint=f"faq-{key}")
    assert app.runs.create(run)
    assert app.lines.create(line)
    where = ["--url", host.url, "--key", KEY]
    for command in (["runs"], ["show", run.id], ["pin", line.id], ["unpin", line.endpoint], ["cancel", run.id]):
        for more in ([], ["--json"]):
            main([*command, *where, *more])
            out, error = capsys.readouterr()
            assert not harm(out + error), command
            assert "forged" in out or command[0] not in ("runs", "show"), error
            assert not [each for each in (out + error).splitlines() if each.startswith(FORGED[:10])]
    assert not harm(host.log)
    for name in (f"runs/{run.id}.json", f"active/{run.id}", f"lines/{line.id}.json", f"standing/{line.id}"):
        app.cloud.blobs.delete(STATE, name)  # other tests sweep


def test_a_crowd_at_the_door_costs_one_call(cloud: Stack, host: HostProcess, calls: list[Any]) -> None:
    def ask(_: int) -> tuple[int, str]:
        answer = client.get(f"{host.url}/api/health")
        return answer.status_code, answer.text

    with ThreadPoolExecutor(16) as many, httpx.Client(timeout=60) as client:
        assert set(many.map(ask, range(100))) == {(200, '{"status":"ok"}')}
    assert len(asked_of_azure(cloud)) <= 1
    told = httpx.get(f"{host.url}/api/about", headers=WITH_KEY).json()
    assert (told["ok"], told["pid"]) == (True, host.pid)
    known = len(asked_of_azure(cloud))
    assert httpx.get(f"{host.url}/api/about", headers=WITH_KEY).json()["ok"]
    assert len(asked_of_azure(cloud)) == known, "who may call has one look in ten seconds, too"


def test_ids_of_runs_and_lines_are_ids() -> None:
    assert naming.is_id(naming.run_id("faq/train.jsonl", {"train.jsonl": "1"}, None, 0, installation="here"))
    assert naming.is_id(naming.line_id("faq", "Phi-4", installation="here"))
    assert not any(map(naming.is_id, (*IDS, "", "-r1", "r1\n")))
