"""`droptune check`: what it takes from a folder, what it says, its exit codes, and what it does without."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.files import LocalFile
from tests.kit.dataset.conversations import USER
from tests.kit.paths import ROOT
from tests.kit.rows import chats, of, row


def good(count: int = 60, start: int = 0) -> list[bytes]:
    return [row(f"prompt {number}", f"answer {number}") for number in range(start, start + count)]


def write(path: Path, rows: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in rows))
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No local cloud of whoever runs this has a say."""
    monkeypatch.setattr("cli.apps.REPO", tmp_path)
    monkeypatch.chdir(tmp_path)


class Answer:
    """What the command said, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        self.code = main(["check", *map(str, arguments)])
        self.out, self.err = capsys.readouterr()

    def json(self) -> Any:
        return json.loads(self.out)


# Verdicts ------------------------------------------------------------------------------------------------------------


def test_good_rows_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "chats.jsonl", good())
    said = Answer(capsys, path)
    assert (said.code, said.err) == (0, "")
    assert f"  chats.jsonl  train  messages  60 rows  {path.stat().st_size / 1024:.4g} KiB\n" in said.out
    assert "\ngood  60 rows: " in said.out
    assert "cut from train, by conversation" in said.out
    assert "Checked for Phi-4, which is trained where neither finetune.yaml nor BASE_MODEL names another" in said.out
    assert '"content":"answer ' in said.out.partition("First rows")[2]


def test_bad_rows_are_shown_with_place_reason_beginning_and_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = good(20)
    rows[16] = of({"role": "narrator", "content": "hi"})
    said = Answer(capsys, write(tmp_path / "train.jsonl", rows))
    assert said.code == 1
    offset = sum(len(line) + 1 for line in rows[:16])
    assert f"  train.jsonl:17 (byte {offset:,})  unknown_role  the role of message 1 is 'narrator'\n" in said.out
    assert f"      {rows[16].decode()}\n" in said.out
    assert "  unknown_role  1  Use one of the roles system, user, assistant, tool.\n" in said.out
    assert "\nSplit\n" not in said.out


def test_warnings_are_shown_and_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Answer(capsys, write(tmp_path / "train.jsonl", good() + good(1)))
    assert said.code == 0
    assert "train.jsonl:61  duplicate_row  the same row as train.jsonl, line 1" in said.out
    assert "1 row is a copy of a row before it in the same file." in said.out


def test_faults_that_say_the_same_are_shown_as_one_or_all_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "train.jsonl", [*good(30), *[b"{"] * 1100])
    said = Answer(capsys, path)
    assert said.out.count(")  not_json  ") == 1
    assert "      and 1,099 more like it: lines 32 to 1,030 ...\n" in said.out
    assert "--all" not in said.out
    said = Answer(capsys, path, "--all")
    assert said.out.count(")  not_json  ") == 1000
    assert "and 100 more\n" in said.out


def test_every_rule_has_its_warnings_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Answer(capsys, write(tmp_path / "train.jsonl", good(40) + good(3)), "--context", 3)
    assert said.code == 0
    assert said.out.count("  over_context  about") == 1
    assert "      and 42 more like it: lines 2 to 43\n" in said.out
    assert said.out.count("  duplicate_row  the same") == 1
    assert "      and 2 more like it: lines 42 to 43\n" in said.out
    assert "Not checked" not in said.out


def test_faults_that_differ_are_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [of({"role": f"x{chr(97 + at // 26)}{chr(97 + at % 26)}", "content": "x"}) for at in range(50)]
    path = write(tmp_path / "train.jsonl", [*good(30), *odd])
    said = Answer(capsys, path)
    assert said.out.count(")  unknown_role  ") == 20
    assert "  and 30 more; --all shows 50 of them\n" in said.out


def test_tool_turns_need_a_model_that_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}
    answer = {"role": "assistant", "content": "It is there."}
    path = write(tmp_path / "a.jsonl", [*good(30), of(USER, calls, {"role": "tool", "content": "there"}, answer)])
    said = Answer(capsys, path)
    assert said.code == 1
    assert "--tools" in said.out
    assert Answer(capsys, path, "--tools").code == 0


@pytest.mark.parametrize(
    ("name", "data", "code", "told"),
    [
        ("a.jsonl", b"", 1, "  a.jsonl  empty_file  the file has no rows"),
        ("a.parquet", b"PAR1", 1, "  a.parquet  not_parquet  "),
        (
            "a.jsonl.gz",
            gzip.compress(b"".join(line + b"\n" for line in good()), mtime=0),
            0,
            "a.jsonl.gz  train  messages",
        ),
        ("a.csv", b"prompt,response\n" + b"".join(b"p%d,r\n" % n for n in range(50)), 0, "train  prompt_response  50"),
        ("A.JSON", b"[" + b",\n".join(good()) + b"]", 0, "A.JSON  train  messages  60 rows"),
        ("few.jsonl", row() + b"\n", 1, "too_few_rows  1 good row to train on; min_rows is 10"),
    ],
)
def test_files_of_every_kind(
    name: str, data: bytes, code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    said = Answer(capsys, tmp_path / name)
    assert told in said.out
    assert said.code == code


def test_parquet_is_told_by_row_group_and_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [json.loads(line) for line in good(40)]
    rows[25]["messages"][1]["content"] = " "
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=20)
    said = Answer(capsys, tmp_path / "a.parquet")
    assert said.code == 1
    assert "  a.parquet, row group 1, row 6  blank_content  " in said.out


# Folders -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_taken_as_the_app_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "train_sft.jsonl", good())
    write(tmp_path / "test_sft.jsonl", good(5, 100))
    write(tmp_path / "sub" / "more.jsonl", [b"{"])
    (tmp_path / "train_gen.jsonl").write_text("{}")
    (tmp_path / "notes.txt").write_text("x")
    said = Answer(capsys, tmp_path)
    assert said.code == 0
    assert re.search(r"train_sft.jsonl +train +messages +60 rows", said.out)
    assert re.search(r"test_sft.jsonl +test +messages +5 rows", said.out)
    told = flat(said.out.partition("Not used")[2])
    assert "notes.txt its name does not end in" in told
    assert "train_gen.jsonl a file of prompts" in told
    assert "sub/ a folder" in told
    assert "test_sft.jsonl" not in told
    assert "There is no finetune.yaml: checked by the defaults." in said.out


def test_several_training_files_are_refused_with_the_line_that_names_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jsonl", "b.jsonl", "test.jsonl"):
        write(tmp_path / name, good())
    said = Answer(capsys, tmp_path)
    assert said.code == 2
    assert "2 training files in one folder (a.jsonl, b.jsonl)" in flat(said.err)
    (tmp_path / "finetune.yaml").write_text(flat(said.err).rpartition("this line: ")[2])
    again = Answer(capsys, tmp_path)
    assert again.code == 0
    assert "b.jsonl finetune.yaml does not name it" in flat(again.out)


def test_finetune_yaml_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.jsonl", [*good(), b"{"])
    write(tmp_path / "b.jsonl", [b"{"])
    spec = tmp_path / "finetune.yaml"
    spec.write_text("train: a.jsonl\non_bad_rows: drop\nparameters: {num_train_epochs: 1}\n")
    said = Answer(capsys, tmp_path)
    assert said.code == 0
    assert "Bad rows, which are left out" in said.out
    assert "1 bad row was left out" in said.out
    assert "b.jsonl  finetune.yaml does not name it" in said.out
    assert "Model and parameters were held against what Azure had published" in said.out
    other = tmp_path / "other" / "strict.yaml"
    other.parent.mkdir()
    other.write_text("train: a.jsonl\nmax_bad_percent: 1\n")
    assert Answer(capsys, tmp_path, "--spec", other).code == 1
    assert Answer(capsys, tmp_path / "a.jsonl").code == 1
    assert Answer(capsys, tmp_path / "a.jsonl", "--spec", spec).code == 0


@pytest.mark.parametrize(
    ("files", "arguments", "told"),
    [
        ({}, ["none.jsonl"], "there is no file or folder"),
        ({}, ["."], "nothing to train on in"),
        ({"notes.txt": "x"}, ["."], "(notes.txt: its name does not end in"),
        ({"test.jsonl": "{}"}, ["."], "(test.jsonl: a test file is never trained on; if it is"),
        ({"notes.txt": "x"}, ["notes.txt"], "notes.txt is not read: its name does not end in .jsonl, .ndjson"),
        ({"finetune.yaml": "train: a.jsonl"}, ["."], "waits for a.jsonl, which finetune.yaml names: put it there"),
        (
            {"finetune.yaml": "train: train.json", "Train.jsonl": "{}"},
            ["."],
            "waits for train.json, which finetune.yaml names (there is Train.jsonl: name that, if it is meant)",
        ),
        ({"data-1-of-2.csv": ""}, ["."], "waits for data-2-of-2.csv, which the names of the other pieces speak of"),
        ({"finetune.yaml": "train: a.jsonl"}, ["finetune.yaml"], "is a specification: check its folder"),
        ({"finetune.yaml": "trian: a.jsonl"}, ["."], "train"),
        ({"finetune.yaml": "source: owner/chats"}, ["."], "names owner/chats on the hub: get it with `droptune fetch`"),
        (
            {"finetune.yaml": "source: owner/chats\npercent: 5"},
            ["."],
            "starts one run, which trains Phi-4 on split train of owner/chats on the hub, the first 5 %",
        ),
        ({"a.jsonl": "{}"}, [".", "--spec", "none.yaml"], "none.yaml can't be read: No such file"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_2(
    files: dict[str, str],
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        Path(name).write_text(text)
    said = Answer(capsys, *arguments)
    assert said.code == 2
    assert told in said.err
    assert said.err.startswith("droptune: ")
    assert said.err.count("\n") == 1
    assert not said.out


def test_a_context_is_a_number_of_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "a.jsonl", "--context", "many"])
    assert ended.value.code == 2
    assert "'many' is no number of tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "spec", "told"),
    [
        (16, "", "16 test rows: a drop under 30 points can't be seen, as it may be chance. max_drop is 5: chance"),
        (1, "", "1 test row: no drop can be seen, however great, as it may be chance; upload a test file with more"),
        (16, "gate: {max_drop: 40}\n", "16 test rows: a drop under 30 points can't be seen, as it may be chance.\n"),
        (50, "gate: {rows: 20}\n", "of 50 test rows the gate asks 20: a drop under 26 points can't be seen, as it may"),
        (16, "gate: {rows: 0}\n", ""),
        (16, "strategy: replace\n", ""),
    ],
)
def test_what_the_test_rows_can_show_is_told(
    rows: int, spec: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train.jsonl", good())
    write(tmp_path / "test.jsonl", good(rows, 100))
    if spec:
        (tmp_path / "finetune.yaml").write_text(f"train: train.jsonl\ntest: test.jsonl\n{spec}")
    said = Answer(capsys, tmp_path)
    assert said.code == 0
    assert told in said.out
    assert ("can't be seen" in said.out or "can be seen" in said.out) == bool(told)
    assert Answer(capsys, tmp_path, "--json").json()["shows"].startswith(f"{rows} test row")


def test_what_an_upload_starts_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "chats.jsonl", good())
    write(tmp_path / "held.jsonl", good(20, 100))
    (tmp_path / "finetune.yaml").write_text(
        "train: chats.jsonl\ntest: held.jsonl\nsplit: {test: 20}\napprove: manual\nmax_bad_percent: 1\n"
    )
    told = flat(Answer(capsys, tmp_path).out.partition("What an upload starts")[2])
    for text in (
        "starts one run, which trains Phi-4 on chats.jsonl",
        "validation cut from the training rows: 10 %",
        "test held.jsonl",
        "it waits until a person approves it",
        "no effect max_bad_percent: one bad row is enough",
        "no effect split.test: it is held.jsonl, and not cut",
    ):
        assert text in told
    write(tmp_path / "chats.jsonl", [b"{", *good()])
    said = Answer(capsys, tmp_path)
    assert said.code == 1
    assert "What an upload starts\n  a run that is rejected, as said above: nothing is trained" in said.out
    (tmp_path / "held.jsonl").unlink()
    said = Answer(capsys, tmp_path)
    assert said.code == 2
    assert "waits for held.jsonl, which finetune.yaml names: put it there, as an upload starts nothing" in said.err


# Output --------------------------------------------------------------------------------------------------------------


def test_json_is_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "train.jsonl", [*good(), b"{", row("\U0001f600")])
    said = Answer(capsys, path, "--json")
    report = prepare(files={"train": LocalFile(path)}, sinks=None)
    assert said.json() == json.loads(json.dumps(report.as_dict()))
    assert said.code == 1


EVIL = b'{"messages": [{"role": "\x1b]0;title\x07", "content": "\\u202ex"}]} \xe2\x80\xae \xc2\x9b31m'


def test_nothing_in_a_row_or_a_name_reaches_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[31m\n\u202e.jsonl"
    write(tmp_path / name, [*good(), EVIL, of({"role": "\x1b[2J", "content": "x"})])
    (tmp_path / "no\x1bte").write_text("x")
    for path in (tmp_path, tmp_path / name, tmp_path / "no\x1bte"):
        said = Answer(capsys, path)
        assert not set("\x1b\x07\x9b\u202e\r\0") & set(said.out + said.err)
    assert r"a\x1b[31m\n\u202e.jsonl" in Answer(capsys, tmp_path).out
    assert r"\x1b]0;title\x07" in Answer(capsys, tmp_path).out


def in_child(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "check", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def on_terminal(*arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code and everything that a terminal gets."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "cli", "check", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # how Linux tells that the other side is closed
        pass
    finally:
        os.close(ours)
        code = child.wait()
    return code, said.decode()


def test_what_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [*good(), of({"role": "größe", "content": "x"})])
    done = in_child(path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1
    assert rb"the role of message 1 is 'gr\xf6\xdfe'" in done.stdout
    assert b"  ####" in done.stdout


def test_a_pipe_gets_whole_lines_and_no_bar(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [*good(), row("x" * 300)[:-1]])
    done = in_child(path)
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert re.search(rb"\n +\{\"messages\": .{100,}\n", done.stdout)


def test_a_terminal_of_80_columns_gets_colour_a_bar_and_lines_that_fit(tmp_path: Path) -> None:
    write(tmp_path / "chats_for_the_owl_shop.jsonl", [*good(300), row("x" * 300)[:-1], *good(3)])
    write(tmp_path / "test.jsonl", good(20, 900))
    code, shown = on_terminal(tmp_path, COLUMNS="80", TERM="xterm-256color")
    assert code == 1
    assert "\x1b[1;31mbad\x1b[0m" in shown
    assert re.search(r"chats_for_the_owl_s… .*━.* kB", shown)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.replace("\r\n", "\n")).split("\n")
    assert max(len(line.rpartition("\r")[2]) for line in lines) <= 80
    assert "█" in shown


# What it does without, and with ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "allowed"), [("jsonl", set()), ("csv", set()), ("parquet", {"pyarrow"})])
def test_neither_azure_nor_the_hub_is_loaded(kind: str, allowed: set[str], tmp_path: Path) -> None:
    path = tmp_path / f"train.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist([json.loads(line) for line in good()]), path)
    else:
        write(path, good() if kind == "jsonl" else [b"prompt,response", *(b"p%d,r" % number for number in range(50))])
    (tmp_path / "finetune.yaml").write_text(f"train: {path.name}\n")
    code = (
        "import sys\nfrom cli.__main__ import main\ncode = main(['check', sys.argv[1], '--json'])\n"
        "heavy = ('azure', 'opentelemetry', 'datasets', 'huggingface_hub', 'pandas', 'pyarrow', 'localcloud')\n"
        "print(code, *sorted({name.split('.')[0] for name in sys.modules} & {*heavy}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["0", *allowed]


def test_progress_ends_at_the_size_with_two_processes(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [*good(30_000), row("x" * 100_000)])
    told: list[int] = []
    found = prepare_files(
        files={"train": LocalFile(path)}, out=None, processes=2, piece=path.stat().st_size // 2, progress=told.append
    )
    assert sum(told) == path.stat().st_size
    assert found == prepare(files={"train": LocalFile(path)}, sinks=None)


@pytest.mark.slow
def test_a_large_file_is_read_by_all_cores_from_the_command_line(tmp_path: Path) -> None:
    rows = [row(f"prompt {number}", "answer " * 2000) for number in range(10_000)]
    rows[-2] = b"{"
    path = write(tmp_path / "train.jsonl", rows)
    done = in_child(path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["faults"][0]["line"] == 9_999
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (b"2026-01-01: x\n", "line 2, column 1: the key 2026-01-01 is a date; put it in quotes"),
        (b"percent: 1" + b":59" * 400 + b".5\n", "is a number in base 60; write it as a decimal"),
        (b"model: ../../x\n", "model is '../../x'; it must be 1 to 255 letters"),
        (b"model: \xff\n", "line 2, column 8: it is not UTF-8; save it as UTF-8"),
    ],
)
def test_whatever_bytes_a_spec_has_it_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: bytes, told: str
) -> None:
    write(tmp_path / "train.jsonl", good())
    (tmp_path / "finetune.yaml").write_bytes(b"train: train.jsonl\n" + spec)
    said = Answer(capsys, tmp_path)
    assert (said.code, said.out) == (2, "")
    assert told in flat(said.err)
    assert said.err.startswith("droptune: ")
    assert said.err.count("\n") == 1


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_many_short_rows_take_less_than_90_mb_in_each_process(tmp_path: Path) -> None:
    """What is kept to find copies goes to disk; `droptune push` of 2 GB has 100 MB for each of its processes."""
    with (tmp_path / "train.jsonl").open("wb") as file:
        for at in range(0, 2_400_000, 20_000):
            file.write(chats(20_000, at))
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom cli.__main__ import main\n"
        "if __name__ == '__main__':\n"
        "    main(['check', sys.argv[1], '--json'])\n"
        # Of itself getrusage says what pytest had, from which it was forked.
        "    status = Path('/proc/self/status').read_text()\n"
        "    print(status.partition('VmHWM:')[2].split()[0], file=sys.stderr)\n"
        "    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
    )
    script = tmp_path / "measured.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "train.jsonl"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["rows"] == 2_400_000
    assert max(map(int, done.stderr.split())) * 1024 < 90_000_000, done.stderr
