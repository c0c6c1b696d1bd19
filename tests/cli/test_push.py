"""`droptune push` against the local cloud: what is sent, what is not, and what an upload that is stopped leaves."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from azure.core.exceptions import ResourceNotFoundError

from cli.__main__ import main
from cli.upload import container_at
from localcloud.stack import Stack
from shared.api.schema import RunList
from shared.app import App
from shared.cloud import uploads as uploading
from shared.cloud.uploads import Changed, Uploads, content_of
from shared.errors import Conflict, Permanent
from shared.intake.folder import read_folder, runs_of
from shared.records.layout import DATASETS
from tests.kit.near_app import near_app, upload_events
from tests.kit.paths import ROOT
from tests.kit.rows import chats
from tests.kit.waiting import eventually

BLOCK = 1000
"""Bytes of a block, where a file is to have many."""


@pytest.fixture(scope="module")
def state(_app: App, cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names the app, which works while a test asks for `app`."""
    with near_app(_app, cloud, tmp_path_factory.mktemp("near") / "state") as state:
        yield state


@pytest.fixture
def data(tmp_path: Path, folder: str) -> Path:
    """A dataset's folder with a file to train on."""
    made = tmp_path / folder
    made.mkdir()
    (made / "train.jsonl").write_bytes(chats(30))
    return made


@pytest.fixture
def uploads(app: App, cloud: Stack) -> Iterator[Uploads]:
    made = container_at(f"{cloud.urls['blob']}/{DATASETS}", cloud.state)
    yield made
    made.close()


class Said:
    """What the command said, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        try:
            self.code = main([str(each) for each in arguments])
        except SystemExit as end:
            self.code = int(end.code or 0)
        self.out, self.err = capsys.readouterr()


def there(app: App, folder: str) -> dict[str, bytes]:
    found = {blob.name.removeprefix(f"{folder}/"): blob.name for blob in app.cloud.blobs.list(DATASETS, f"{folder}/")}
    return {name: app.cloud.blobs.read(DATASETS, path)[0] for name, path in found.items()}


def uncommitted(app: App, path: str) -> int:
    """Blocks that wait for their commit."""
    try:
        _, found = app.cloud.blobs._blob(DATASETS, path).get_block_list("uncommitted")
    except ResourceNotFoundError:
        return 0
    return len(found)


# What goes up --------------------------------------------------------------------------------------------------------


def test_a_folder_goes_up_and_the_run_is_named(
    app: App, cloud: Stack, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "finetune.yaml").write_text("train: train.jsonl\ntest: test.jsonl\nsplit: {test: 20}\n")
    (data / "test.jsonl").write_bytes(chats(12, 100))
    (data / "README.md").write_text("about it")
    cloud.control("DELETE", "/_local/ledger")
    cloud.control("POST", "/_local/ledger", {"storage": True})
    said = Said(capsys, "push", data, "--state", state)
    assert (said.code, said.err) == (0, "")
    [run] = runs_of(read_folder(app, folder))
    sent = there(app, folder)
    assert set(sent) == {"train.jsonl", "test.jsonl", "finetune.yaml"}
    noted = {blob.name.rpartition("/")[2]: blob.md5 for blob in app.cloud.blobs.list(DATASETS, f"{folder}/")}
    assert noted == {name: md5(content, usedforsecurity=False).hexdigest() for name, content in sent.items()}
    assert said.out.splitlines()[:2] == [f"app       the local cloud in {state}", f"dataset   datasets/{folder}"]
    assert "shows     12 test rows: a drop under 34 points can't be seen" in said.out
    assert "no effect split.test: it is test.jsonl, and not cut" in said.out
    for line in ("30 rows  new", "12 rows  new", "stays     README.md", "nothing yet: this is its first version"):
        assert line in said.out
    assert f"a run that trains {app.settings.training.base_model}\n" in said.out
    assert said.out.endswith(f"run {run} has started\nnext: droptune watch {run}\n")
    cloud.control("POST", "/_local/ledger", {"storage": False})
    asked = [each for each in cloud.control("GET", "/_local/ledger") if each["method"] == "PUT"]
    made = [each["path"].rpartition("/")[2] for each in asked if "comp=blocklist" in each["query"]]
    assert made == ["finetune.yaml", "test.jsonl", "train.jsonl"], "what is trained on comes last"


def test_pieces_go_up_as_one_dataset_and_a_late_one_takes_those_that_are_there(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train.jsonl").unlink()
    (data / "data").mkdir()
    for n in (1, 2):
        (data / "data" / f"chats_{n}.jsonl").write_bytes(chats(30, 30 * n))
    (data / "data" / "test.jsonl").write_bytes(chats(12, 100))
    said = Said(capsys, "push", data, "--state", state)
    assert (said.code, said.err) == (0, "")
    assert set(there(app, folder)) == {"data/chats_1.jsonl", "data/chats_2.jsonl", "data/test.jsonl"}
    for line in ("data/chats_1.jsonl", "30 rows  new", "12 rows  new", "a run that trains"):
        assert line in said.out
    run = said.out.split()[-1]
    (data / "data" / "chats_1.jsonl").unlink()
    (data / "data" / "test.jsonl").unlink()
    (data / "data" / "chats_3.jsonl").write_bytes(chats(30, 90))
    said = Said(capsys, "push", data, "--state", state)
    assert (said.code, said.err) == (0, "")
    assert "takes     data/chats_1.jsonl, data/test.jsonl too, which" in said.out
    assert "shows" not in said.out, "the test rows are those of the file that is there"
    assert set(there(app, folder)) == {*(f"data/chats_{n}.jsonl" for n in (1, 2, 3)), "data/test.jsonl"}
    assert said.out.endswith(f"run {run} has started\nnext: droptune watch {run}\n"), "it has not begun to read"


def test_a_piece_of_several_is_said_to_wait_for_the_others(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in (1, 2):
        (data / f"rows_{n}_of_2.jsonl").write_bytes(chats(30, 30 * n))
    said = Said(capsys, "push", data / "rows_1_of_2.jsonl", "--as", folder, "--state", state)
    assert (said.code, said.err) == (0, "")
    assert "starts    " not in said.out
    assert said.out.endswith(
        f"datasets/{folder} waits for rows_2_of_2.jsonl, which the names of the other pieces speak of: push it too, "
        "which starts a run\n"
    )
    said = Said(capsys, "push", data / "rows_2_of_2.jsonl", "--as", folder, "--state", state)
    [run] = runs_of(read_folder(app, folder))
    assert said.out.endswith(f"run {run} has started\nnext: droptune watch {run}\n")
    assert "takes     rows_1_of_2.jsonl too" in said.out


@pytest.mark.parametrize("data_of", ["train: train.jsonl", "source: owner/name"])
def test_what_planning_would_refuse_sends_no_byte(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str], data_of: str
) -> None:
    for spec, told in (
        (
            "model: Phi-3-medium-4k-instruct",
            "line 2, column 8: model Phi-3-medium-4k-instruct:6 has retired from fine-",
        ),
        ("model: Phi-44", "line 2, column 8: model Phi-44 in registry azureml: "),
        ("parameters: {epochs: 3}", "line 2, column 14: parameters: 'epochs' is not a parameter; did you mean num_"),
        ("parameters: {num_train_epochs: 0}", "line 2, column 32: parameters: num_train_epochs is 0 (from finetune."),
    ):
        (data / "finetune.yaml").write_text(f"{data_of}\n{spec}\n")
        said = Said(capsys, "push", data, "--state", state)
        assert (said.code, said.out) == (2, "")
        assert f"{data}/finetune.yaml, {told}" in said.err
    assert there(app, folder) == {}


def test_a_second_training_file_is_not_sent_to_a_folder_that_has_one(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/other.jsonl", chats(20))
    said = Said(capsys, "push", data, "--state", state)
    assert (said.code, said.out) == (2, "")
    told = " ".join(said.err.split())
    assert f"with what datasets/{folder} has already (--as NAME pushes to another folder): 2 training files" in told
    assert set(there(app, folder)) == {"other.jsonl"}
    (data / "finetune.yaml").write_text(told.rpartition("this line: ")[2])
    assert Said(capsys, "push", data, "--state", state).code == 0


def test_the_same_again_sends_nothing(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Said(capsys, "push", data, "--state", state, "--json")
    assert first.code == 0
    [run] = msgspec.json.decode(first.out, type=RunList).runs
    etags = [blob.etag for blob in app.cloud.blobs.list(DATASETS, f"{folder}/")]
    said = Said(capsys, "push", data, "--state", state)
    assert said.code == 0
    assert "sent      nothing: the same files are there\n" in said.out
    assert said.out.endswith(f"run {run.id} of the same files is received\nnext: droptune watch {run.id}\n")
    assert [blob.etag for blob in app.cloud.blobs.list(DATASETS, f"{folder}/")] == etags


def test_what_another_tool_has_uploaded_is_known_by_its_md5(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(30))
    assert "sent      nothing" in Said(capsys, "push", data, "--state", state).out


def test_other_content_is_replaced_with_yes_alone(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", b"other")
    refused = Said(capsys, "push", data, "--state", state)
    assert refused.code == 2
    assert f"datasets/{folder}/train.jsonl holds something else, which this would replace: say --yes" in refused.err
    assert there(app, folder) == {"train.jsonl": b"other"}
    assert Said(capsys, "push", data, "--state", state, "--yes").code == 0
    assert there(app, folder) == {"train.jsonl": chats(30)}


@pytest.mark.thorough
def test_a_new_test_file_starts_a_run_of_the_same_training_file(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Said(capsys, "push", data, "--state", state).code == 0
    [before] = runs_of(read_folder(app, folder))
    (data / "test.jsonl").write_bytes(chats(12, 100))
    said = Said(capsys, "push", data, "--state", state)
    [run] = runs_of(read_folder(app, folder))
    assert said.code == 0
    assert run != before
    assert said.out.endswith(f"run {run} has started\nnext: droptune watch {run}\n")
    assert "of it had been sent before" in said.out


@pytest.mark.thorough
def test_a_file_goes_into_a_folder_of_its_name(
    app: App, state: Path, tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{folder}.jsonl"
    path.write_bytes(chats(30))
    app.cloud.blobs.write(DATASETS, f"{folder}/test.jsonl", chats(12, 100))
    said = Said(capsys, "push", path, "--state", state)
    assert said.code == 0
    assert f"takes     test.jsonl too, which datasets/{folder} has already\n" in said.out
    assert there(app, folder)[f"{folder}.jsonl"] == chats(30)
    assert Said(capsys, "push", path, "--state", state, "--as", f"{folder}-2").code == 0
    assert list(there(app, f"{folder}-2")) == [f"{folder}.jsonl"]


# What does not -------------------------------------------------------------------------------------------------------


def test_what_would_be_refused_sends_no_byte(
    app: App, cloud: Stack, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train.jsonl").write_bytes(chats(30) + b"{\n")
    checked = Said(capsys, "check", data)
    said = Said(capsys, "push", data, "--state", state)
    assert (said.code, checked.code) == (1, 1)
    assert said.out.split(" in ")[0] == checked.out.split(" in ")[0], "the same words"
    assert said.err == f"droptune: nothing was uploaded of {data}\n"
    assert (there(app, folder), uncommitted(app, f"{folder}/train.jsonl")) == ({}, 0)
    assert json.loads(Said(capsys, "push", data, "--state", state, "--json").out)["rejected"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{data}/none"], "there is no file or folder"),
        (["{data}", "--as", "a/b"], "'a/b' is not a dataset folder's name"),
        (["{data}", "--as", ".."], "give another with --as NAME"),
        (["{data}/test.jsonl"], "is by its name no file to train on"),
        (["{data}/odd.txt"], "odd.txt is not read: its name does not end in .jsonl"),
        (["{data}/sub"], "nothing to train on in"),
        (["{data}", "--json", "--follow"], "use it without --follow"),
        (["{data}", "--state", "{data}/none"], "start one with `droptune local up`"),
        (["{data}", "--url", "http://127.0.0.1:1"], "can't be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], told: str, app: App, state: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("test.jsonl", "odd.txt"):
        (data / name).write_bytes(chats(12))
    (data / "sub").mkdir()
    where = [] if {"--state", "--url"} & set(arguments) else ["--state", state]
    said = Said(capsys, "push", *(each.format(data=data) for each in arguments), *where)
    assert said.code == 2
    assert told in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_finetune_yaml_that_is_there_is_not_passed_over(
    app: App, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/finetune.yaml", b"train: other.jsonl\n")
    said = Said(capsys, "push", data, "--state", state)
    assert said.code == 2
    assert "has a finetune.yaml, which says what is trained on" in said.err


def test_who_may_not_upload_is_told_the_role(
    app: App, cloud: Stack, state: Path, data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.control("POST", "/_local/faults", {"service": "blob", "method": "PUT", "path": folder, "status": 403})
    said = Said(capsys, "push", data, "--state", state)
    assert said.code == 2
    assert "you may not upload there (AuthorizationPermissionMismatch): have someone give you the role" in said.err
    assert "Storage Blob Data Contributor" in said.err
    assert said.err.count("\n") == 1
    assert there(app, folder) == {}


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("https://acct.blob.core.windows.net/datasets", True),
        ("https://acct.z12.blob.storage.azure.net/datasets", True),
        ("http://acct.blob.core.windows.net/datasets", False),
        ("https://acct.blob.core.windows.net.evil.example/datasets", False),
        ("https://evil.example/acct.blob.core.windows.net", False),
        ("https://acct.blob.core.windows.net@evil.example/datasets", False),
        ("https://localhost:1/droptune/datasets", False),
        ("", False),
    ],
)
def test_a_token_goes_to_azures_storage_alone(address: str, *, ours: bool, tmp_path: Path) -> None:
    from cli.errors import CliError

    if ours:
        assert container_at(address, tmp_path)
    else:
        with pytest.raises(CliError, match=r"no blob storage of Azure's|not of the local cloud"):
            container_at(address, tmp_path)


# Stopped, changed, overtaken -----------------------------------------------------------------------------------------


def test_an_upload_that_was_stopped_leaves_nothing_and_goes_on(
    app: App, uploads: Uploads, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_events(app)
    path = tmp_path / "train.jsonl"
    path.write_bytes(os.urandom(40 * BLOCK - 1))
    content = content_of(path, block=BLOCK)
    monkeypatch.setattr(uploading, "SENDERS", 1)
    told: list[int] = []

    def stopped(size: int) -> None:
        told.append(size)
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uploads.stage(f"{folder}/train.jsonl", content, stopped)
    assert 4 <= uncommitted(app, f"{folder}/train.jsonl") < 40
    assert there(app, folder) == {}
    told.clear()
    known = uploads.stage(f"{folder}/train.jsonl", content, told.append)
    assert 4 * BLOCK <= known < content.size
    assert sum(told) == content.size
    uploads.commit(f"{folder}/train.jsonl", content)
    assert there(app, folder) == {"train.jsonl": path.read_bytes()}
    assert len(_events(app, folder)) == 1


def _events(app: App, folder: str) -> list[Any]:
    """Those of the folder, and none is on its way any more: a later one has come."""
    app.cloud.blobs.write(DATASETS, f"{folder}-marker/train.jsonl", b"x")
    found: list[Any] = []

    def come() -> bool:
        found.extend(json.loads(each) for each in upload_events(app))
        return any(f"{folder}-marker" in each["subject"] for each in found)

    eventually(come)
    return [each for each in found if f"/{folder}/" in each["subject"]]


def test_a_file_that_changes_meanwhile_is_never_mixed(
    app: App, uploads: Uploads, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"a" * 10 * BLOCK)
    content = content_of(path, block=BLOCK)
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(9 * BLOCK)
        file.write(b"b")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Changed):
        uploads.stage(f"{folder}/train.jsonl", content, lambda _: None)
    with pytest.raises(Changed):
        content.still()
    replaced = content_of(path, block=BLOCK)
    path.unlink()
    with pytest.raises(Changed):
        replaced.still()
    assert there(app, folder) == {}


@pytest.mark.parametrize("how", ["while it is checked", "once it is sent"])
def test_a_push_of_a_file_that_changes_commits_nothing(
    app: App,
    state: Path,
    data: Path,
    folder: str,
    how: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cli import check

    owner, name = (check, "judged") if how == "while it is checked" else (Uploads, "stage")
    real: Callable[..., Any] = getattr(owner, name)

    def changing(*arguments: Any) -> Any:
        done = real(*arguments)
        with (data / "train.jsonl").open("ab") as file:
            file.write(chats(1, 200))
        return done

    monkeypatch.setattr(owner, name, changing)
    said = Said(capsys, "push", data, "--state", state)
    assert said.code == 2
    assert f"{data}/train.jsonl has changed" in said.err
    assert "nothing was uploaded" in said.err
    assert there(app, folder) == {}


def test_of_two_pushes_one_wins_whole_and_the_other_is_told(
    app: App,
    state: Path,
    data: Path,
    folder: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (data / "test.jsonl").write_bytes(chats(12, 100))
    real, other = Uploads.stage, {"train.jsonl": b"theirs"}  # ours begins with test.jsonl

    def overtaken(self: Uploads, name: str, *arguments: Any) -> int:
        if name.endswith("train.jsonl"):
            for each, content in other.items():
                app.cloud.blobs.write(DATASETS, f"{folder}/{each}", content)
        return real(self, name, *arguments)

    monkeypatch.setattr(Uploads, "stage", overtaken)
    said = Said(capsys, "push", data, "--state", state)
    assert said.code == 2
    assert "since this push began: nothing of yours is there" in said.err
    assert there(app, folder) == other


def test_a_commit_is_on_what_was_seen(app: App, uploads: Uploads, tmp_path: Path, folder: str) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 3 * BLOCK)
        contents.append(content_of(tmp_path / name, block=BLOCK))
        uploads.stage(f"{folder}/x", contents[-1], lambda _: None)
    etag = uploads.commit(f"{folder}/x", contents[0])
    assert uploads.commit(f"{folder}/x", contents[0]) == etag, "an answer that was lost"
    for replaces in (None, "0x0"):
        with pytest.raises(Conflict):
            uploads.commit(f"{folder}/x", contents[1], replaces=replaces)
    assert there(app, folder) == {"x": b"a" * 3 * BLOCK}
    uploads.stage(f"{folder}/x", contents[1], lambda _: None)
    uploads.commit(f"{folder}/x", contents[1], replaces=etag)
    assert there(app, folder) == {"x": b"b" * 3 * BLOCK}


def test_blocks_of_another_tool_are_told_of(app: App, uploads: Uploads, tmp_path: Path, folder: str) -> None:
    app.cloud.blobs._blob(DATASETS, f"{folder}/x").stage_block("short", b"x", length=1)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(Permanent, match="another tool's unfinished upload is there"):
        uploads.stage(f"{folder}/x", content_of(tmp_path / "x"), lambda _: None)


# On a terminal, and killed -------------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cli", *map(str, arguments)]


@pytest.mark.thorough
@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
def test_on_a_terminal_it_asks(app: App, state: Path, data: Path, folder: str, answer: str, code: int) -> None:
    app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", b"other")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, command("push", data, "--state", state))
    shown, asked = "", False
    while select.select([terminal], [], [], 60)[0]:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # it has ended
            break
        if "[y/N]" in shown and not asked:
            asked = True
            os.write(terminal, f"{answer}\n".encode())
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code, shown
    assert f"Replace datasets/{folder}/train.jsonl? [y/N]" in shown
    assert there(app, folder)["train.jsonl"] == (b"other" if code else chats(30))


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_push_of_2_gb_takes_less_than_100_mb(app: App, state: Path, data: Path, folder: str) -> None:
    """All of its processes together; what they share counts once."""
    path = data / "train.jsonl"
    with path.open("wb") as file:
        at = 0
        while file.tell() < 2_000_000_000:
            file.write(chats(20_000, at))
            at += 20_000
    try:
        with subprocess.Popen(command("push", data, "--state", state), cwd=ROOT, stdout=subprocess.PIPE) as process:
            push, most = psutil.Process(process.pid), 0
            while process.poll() is None:
                most = max(most, sum(map(_memory, [push, *push.children(recursive=True)])))
                time.sleep(0.05)
        assert process.returncode == 0
        assert most < 100_000_000
        [blob] = app.cloud.blobs.list(DATASETS, f"{folder}/")
        assert blob.size == path.stat().st_size
    finally:
        path.unlink()
        app.cloud.blobs.delete(DATASETS, f"{folder}/train.jsonl")


def _memory(process: psutil.Process) -> int:
    """Bytes, of what is shared its part; 0 for one that has just ended."""
    try:
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.uss))
    except psutil.Error:
        return 0


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_push_that_is_ended_in_the_middle_goes_on(
    app: App,
    cloud: Stack,
    state: Path,
    data: Path,
    folder: str,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upload_events(app)
    (data / "train.jsonl").write_bytes(
        b"".join(chats(1, at, prompt="Question {n} " + "x" * 100_000) for at in range(240))
    )
    slow = {"service": "blob", "method": "PUT", "path": folder, "query": "comp=block&", "skip": 3, "count": None}
    cloud.control("POST", "/_local/faults", slow | {"moment": "delay", "delay": 20})
    process = subprocess.Popen(
        command("push", data, "--state", state), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    eventually(lambda: uncommitted(app, f"{folder}/train.jsonl") >= 3)
    process.send_signal(number)
    _, error = process.communicate(timeout=10)  # sooner than the blocks that are under way
    cloud.control("DELETE", "/_local/faults")
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert error == "droptune: stopped: the same command goes on with what is still missing\n"
    assert there(app, folder) == {}
    assert _events(app, folder) == []
    said = Said(capsys, "push", data, "--state", state)
    assert said.code == 0
    assert "of it had been sent before" in said.out
    assert there(app, folder) == {"train.jsonl": (data / "train.jsonl").read_bytes()}
