"""`droptune fetch`: exactly the rows that were asked for, all of the files or none, and mistakes in one line."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from tests.kit.hub import COMMAND, Hub, row, ultrachat

NAME = "HuggingFaceH4/ultrachat_200k"
PAGE = "https://huggingface.co/datasets/acme/chats"
ROWS = {"train_sft": 420, "test_sft": 60, "train_gen": 200, "test_gen": 40}
SHARDS = {"train_sft": 3, "test_sft": 1, "train_gen": 3, "test_gen": 1}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as served:
        files = ultrachat({split: (ROWS[split], SHARDS[split]) for split in ROWS}, text=2000)
        card = files["README.md"].replace(b"license: mit", b"license: cc-by-nc-4.0")
        served.add(NAME, {**files, "README.md": card})
        shard = next(name for name in files if name.startswith("data/test_gen"))
        served.add("acme/broken", {**files, shard: b"PAR1" + b"x" * len(files[shard])})
        yield served


def written(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of all files in a folder, read as UTF-8 JSON Lines."""
    return {path.name: [json.loads(line) for line in path.read_bytes().splitlines()] for path in folder.iterdir()}


def first(percent: int) -> dict[str, list[dict[str, Any]]]:
    return {
        f"{split}.jsonl": [row(split, number, 2000) for number in range(percent * count // 100)]
        for split, count in ROWS.items()
    }


def test_five_percent_of_each_split_become_files(hub: Hub, tmp_path: Path) -> None:
    code = COMMAND.replace(
        "sys.exit(main())", "code = main()\nprint([m for m in sys.modules if m.startswith('azure')])\nsys.exit(code)"
    )
    done = hub.run(code, tmp_path, "fetch", NAME, "--percent", "5", "--out", "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "data") == first(5)
    assert "北京" in (tmp_path / "data" / "train_sft.jsonl").read_text("utf-8")
    assert done.stdout.startswith(f"{NAME} at commit {hub.repos[NAME].branches['main']}\n")
    for split, count in ROWS.items():
        use = {"train_sft": "train", "test_sft": "test"}.get(split, "not used")
        assert re.search(
            rf"^ +{count // 20} rows  data/{split}\.jsonl  {use}  \(the first 5 %", done.stdout, re.MULTILINE
        )
    assert "subject 0 of train_sft" in done.stdout
    assert "\nnote: its licence is cc-by-nc-4.0: for non-commercial purposes only" in done.stdout
    assert done.stdout.endswith("\n[]\n")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_notebooks_spellings_work(hub: Hub, tmp_path: Path) -> None:
    options = ["--dataset", NAME, "--download_dir", "ultrachat_200k_dataset", "--dataset_split_pc", "5"]
    done = hub.droptune(tmp_path, "fetch", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "ultrachat_200k_dataset") == first(5)


@pytest.mark.thorough
def test_a_dataset_is_named_by_its_address(hub: Hub, tmp_path: Path) -> None:
    for address in (f"{PAGE}/viewer/default/test_gen".replace("acme/chats", NAME), f"hf://datasets/{NAME}"):
        done = hub.droptune(tmp_path, "fetch", address, *([] if "viewer" in address else ["--split", "test_gen"]))
        assert (done.returncode, done.stderr) == (0, "")
        folder = tmp_path / "ultrachat_200k_dataset"
        assert written(folder) == {"test_gen.jsonl": first(100)["test_gen.jsonl"]}
        (folder / "test_gen.jsonl").unlink()


def test_a_folder_without_a_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fetch", NAME, "--out", ""])
    assert ended.value.code == 2
    assert "--out/--download_dir: it is empty, and no folder's name" in capsys.readouterr().err


@pytest.mark.thorough
def test_the_libraries_own_lines_are_kept_to_themselves(tmp_path: Path) -> None:
    """A card without a head, an address that is asked for again and again, and bars that somebody has switched on."""
    with Hub() as odd:
        odd.add("acme/odd", {"README.md": b"# No head\n", "train.jsonl": b'{"messages": []}\n'})
        loud = {"HF_HUB_DISABLE_PROGRESS_BARS": "0", "HF_DATASETS_DISABLE_PROGRESS_BARS": "0"}
        done = odd.droptune(tmp_path, "fetch", "acme/odd", **loud)
        assert (done.returncode, done.stderr) == (0, "")
        odd.down = "README.md"
        done = odd.droptune(tmp_path, "fetch", "acme/odd", "--force", **loud)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("droptune: acme/odd: ")


def test_a_branch_that_moves_meanwhile_changes_nothing(tmp_path: Path) -> None:
    with Hub() as moving:
        repo = moving.add(NAME, ultrachat({"train": (100, 2)}, text=2000))
        before = repo.branches["main"]
        repo.after_look = lambda: repo.commit(ultrachat({"train": (90, 1)}, text=300))
        done = moving.droptune(tmp_path, "fetch", NAME, "--out", "data")
        assert done.returncode == 0, done.stderr
        assert repo.branches["main"] != before
        assert f"at commit {before}" in done.stdout
        assert written(tmp_path / "data") == {"train.jsonl": [row("train", number, 2000) for number in range(100)]}


def test_files_are_overwritten_only_by_force(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test_sft.jsonl").write_text("mine\n")
    asked = ["fetch", NAME, "--out", "data", "--split", "test_sft", "--split", "test_gen", "--percent", "50"]
    done = hub.droptune(tmp_path, *asked)
    assert done.returncode == 2
    assert done.stderr == (
        "droptune: there already: data/test_sft.jsonl; overwrite with --force, or choose another folder\n"
    )
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["test_sft.jsonl"]
    assert (tmp_path / "data" / "test_sft.jsonl").read_text() == "mine\n"
    done = hub.droptune(tmp_path, *asked, "--force")
    assert (done.returncode, done.stderr) == (0, "")
    wanted = first(50)
    assert written(tmp_path / "data") == {name: wanted[name] for name in ("test_sft.jsonl", "test_gen.jsonl")}


def test_ctrl_c_leaves_nothing_half(hub: Hub, tmp_path: Path) -> None:
    hub.held = "test_gen"  # the last one: three are written by then
    try:
        with hub.start(COMMAND, tmp_path, "fetch", NAME, "--out", "data") as process:
            assert hub.reached.wait(60)
            process.send_signal(signal.SIGINT)
            hub.release.set()
            _, error = process.communicate(timeout=60)
    finally:
        hub.held = None
        hub.release.set()
    assert process.returncode == 130
    assert error == "droptune: stopped; nothing was written to data\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_broken_leaves_nothing_half(hub: Hub, tmp_path: Path) -> None:
    done = hub.droptune(tmp_path, "fetch", "acme/broken", "--out", "data")
    assert done.returncode == 2
    assert done.stderr.startswith("droptune: data/test_gen-00000-of-00001-")
    assert ".parquet: it does not end as a parquet file does" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_the_hub_refuses_is_one_line(hub: Hub, tmp_path: Path) -> None:
    done = hub.droptune(tmp_path, "fetch", "acme/nothing")
    assert done.returncode == 2
    assert done.stderr.startswith("droptune: acme/nothing: there is no such dataset at ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "name one dataset: droptune fetch OWNER/NAME"),
        ([NAME, "--dataset", NAME], "name one dataset"),
        ([NAME, "--percent", "0"], "--percent 0: it must be above 0 and at most 100"),
        ([NAME, "--percent", "101"], "--percent 101: it must be"),
        ([NAME, "--percent", "nan"], "--percent nan: it must be"),
        ([NAME, "--split", ""], "--split '': it must be the name of a split"),
        ([NAME, "--split", "train", "--split", " "], "--split ' ': it must be the name of a split"),
        (
            [NAME, "--split", "train[:5%]"],
            "--split 'train[:5%]': it must be the name of a split (letters, digits, _ and ",
        ),
        ([NAME, "--config", ""], "--config '': it must be the name of a configuration"),
        ([NAME, "--revision", ""], "--revision '': it must be a branch, tag or commit"),
        ([""], "name one dataset: droptune fetch OWNER/NAME"),
        (["https://huggingface.co/acme/model"], "'https://huggingface.co/acme/model' is the address of a model"),
        ([f"{PAGE}/tree/v1", "--revision", "main"], "--revision main: the address says v1; keep one of them"),
        ([f"{PAGE}/viewer/en/a", "--split", "a", "--split", "b"], "--split a, b: the address says a; keep one of them"),
        ([f"{PAGE}/blob/main/train.jsonl"], "names a page or a file of acme/chats; name the dataset alone: acme/chats"),
    ],
)
def test_mistakes_are_told_before_the_hub_is_asked(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("droptune: ")
    assert told in error
    assert error.count("\n") == 1
