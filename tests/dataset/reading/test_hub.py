"""Datasets of the hub: exactly the rows that were asked for, at one commit, and errors that say what to do."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.hub import OTHER_TOKEN, TOKEN, Hub, converted, row, ultrachat

MIB = 1024 * 1024
NAME = "HuggingFaceH4/ultrachat_200k"
ROWS = {"train_sft": 470, "test_sft": 50, "train_gen": 330, "test_gen": 30}
SHARDS = {"train_sft": 3, "test_sft": 1, "train_gen": 3, "test_gen": 1}
SMALL = [{"messages": [{"role": "user", "content": f"question {n}"}], "score": n / 2} for n in range(130)]
MIXED: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": {"temperature": [1, 2]}}], "id": 1},
    {"messages": [{"role": "user", "content": "ho", "name": "x"}, {"role": "tool", "content": "none"}], "id": 2},
]
TWO = b"""---
configs:
- config_name: en
  data_files: en.jsonl
- config_name: de
  data_files: de.jsonl
---
"""
SECRET = b'{"messages": [{"role": "user", "content": "of this machine"}]}\n'
OUTSIDE = (
    "data_files: FOLDER/secret.jsonl",
    "data_files: ../../../../../../..FOLDER/secret.jsonl",
    "data_files: file://FOLDER/secret.jsonl",
    "data_files: http://127.0.0.1:1/secret.jsonl",
    "data_files: hf://datasets/acme/small/train.jsonl",
    "data_files: ../../acme/small/train.jsonl",
    "data_files: zip://*.jsonl::FOLDER/secret.zip",
    "data_dir: FOLDER",
    "data_dir: ../../acme/small",
)
"""What a card may say of where its data are; FOLDER is one of this machine."""
HEAD = """
import json, threading
from shared.dataset.reading.hub import open_dataset, resolve, tables
from shared.dataset.reading.files import Broken, Elements, FileFault, Limits
from shared.dataset.spec.choices import Hub
from shared.errors import Permanent, Transient

def of(batch):
    return [json.loads(row) for row in batch.data] if isinstance(batch, Elements) else batch.rows

def rows(table, limits=Limits()):
    return [row for batch in table.records(limits) for row in of(batch)]
"""
ERRORS = (
    HEAD
    + """
import time
time.sleep = lambda seconds: None  # the library waits between its own attempts

found = []
for hub in json.loads(sys.argv[1]):
    try:
        for table in tables(Hub(**hub))[1].values():
            rows(table)
        found.append("nothing")
    except (Permanent, Transient, FileFault) as error:
        found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""
)


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    splits = {split: (ROWS[split], SHARDS[split]) for split in ROWS}
    with Hub() as served:
        files = ultrachat(splits)
        repo = served.add(NAME, files)
        repo.tags["v1"] = repo.branches["main"]
        repo.commit(converted(files, list(splits)), branch="refs/convert/parquet")
        served.aliases["ultrachat_200k"] = NAME
        served.add("acme/no-info", ultrachat({"train": (230, 3)}, info=False))
        served.add("acme/small", {"train.jsonl": lines(SMALL), "test.jsonl": lines(SMALL[:7])})
        served.add("acme/mixed", {"train.jsonl": lines(MIXED)})
        served.add("acme/gated", {"train.jsonl": lines(SMALL)}, gated=True)
        served.add("acme/scripted", {"scripted.py": b"raise SystemExit('it was run')\n"})
        served.add("acme/pictures", {"cat.xyz": b"meow"})
        served.add("acme/two", {"en.jsonl": lines(SMALL[:3]), "de.jsonl": lines(SMALL[3:5]), "README.md": TWO})
        broken = dict(ultrachat({"train": (50, 1)}))
        shard = next(name for name in broken if name.endswith(".parquet"))
        served.add("acme/broken", {**broken, shard: broken[shard][:3000] + b"x" * 2000 + broken[shard][5000:]})
        yield served


def answer(hub: Hub, code: str, home: Path, *arguments: str, **options: str) -> Any:
    """What the code prints, as JSON; it must not complain."""
    done = hub.run(HEAD + code, home, *arguments, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def errors(hub: Hub, home: Path, *specs: dict[str, Any], token: str = "", **options: str) -> list[str]:
    """What reading each of them ends in."""
    done = hub.run(ERRORS, home, json.dumps(specs), token=token, **options)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


# Rows ----------------------------------------------------------------------------------------------------------------


def test_the_splits_of_a_run_are_read_as_records(hub: Hub, tmp_path: Path) -> None:
    code = """
commit, found = tables(Hub(name=sys.argv[1], splits={"train": "train_sft", "test": "test_sft"}, percent=20))
records = {part: list(table.records(Limits())) for part, table in found.items()}
print(json.dumps({
    "commit": commit,
    "rows": {part: [row for each in batches for row in each.rows] for part, batches in records.items()},
    "numbers": {part: [number for each in batches for number in each.numbers] for part, batches in records.items()},
    "told": {part: [table.name, table.rows, table.counted, table.size > 1000] for part, table in found.items()},
    "again": [row for each in found["test"].records(Limits()) for row in each.rows] == [
        row for each in records["test"] for row in each.rows],
    "threads": threading.active_count(),
}))
"""
    found = answer(hub, code, tmp_path, NAME)
    assert found["commit"] == hub.repos[NAME].branches["main"]
    assert found["rows"]["train"] == [row("train_sft", number) for number in range(94)]
    assert found["rows"]["test"] == [row("test_sft", number) for number in range(10)]
    assert found["numbers"] == {"train": list(range(1, 95)), "test": list(range(1, 11))}
    assert found["told"] == {
        "train": [f"{NAME}/train_sft", 94, "parquet", True],
        "test": [f"{NAME}/test_sft", 10, "parquet", True],
    }
    assert found["again"]
    assert found["threads"] == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert hub.unknown == []


@pytest.mark.parametrize(
    ("name", "split", "percent", "counted"),
    [
        (NAME, "train_gen", 5, "parquet"),
        pytest.param("acme/no-info", "train", 35, "parquet", marks=pytest.mark.thorough),
        pytest.param("acme/small", "train", 5, "rows", marks=pytest.mark.thorough),
    ],
)
def test_a_percentage_means_what_it_means_in_the_notebook(
    hub: Hub, tmp_path: Path, name: str, split: str, percent: int, counted: str
) -> None:
    code = """
import datasets
name, split, percent = sys.argv[1:]
table = open_dataset(name).table(split, float(percent))
whole = datasets.load_dataset(name, split=f"{split}[:{percent}%]", cache_dir="whole", revision=table.dataset.commit)
found = rows(table)
print(json.dumps([found == whole.to_list(), len(found), table.counted]))
"""
    done = hub.run(HEAD + code, tmp_path, name, split, str(percent))
    assert done.returncode == 0, done.stderr
    total = {"train_gen": ROWS["train_gen"], "train": 230 if name == "acme/no-info" else len(SMALL)}[split]
    assert json.loads(done.stdout) == [True, round(percent * total / 100), counted]


def test_columns_of_mixed_types_come_as_they_were_written(hub: Hub, tmp_path: Path) -> None:
    code = 'print(json.dumps(rows(open_dataset("acme/mixed").table("train"))))'
    assert answer(hub, code, tmp_path) == MIXED


@pytest.mark.thorough
def test_little_more_is_asked_for_than_is_wanted(tmp_path: Path) -> None:
    files = ultrachat({"train": (4000, 2)}, text=9000)
    first, second = sorted(name for name in files if name.endswith(".parquet"))
    with Hub() as served:
        served.add(NAME, files)
        code = 'print(len(rows(open_dataset(sys.argv[1]).table("train", 5))))'
        assert answer(served, code, tmp_path, NAME) == 200
        assert served.served[second] < MIB, "its footer, which says how many rows it has: the card is not asked"
        assert 0 < served.served[first] < len(files[first]) / 2


def test_limits_hold_for_rows_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    code = """
table = open_dataset(sys.argv[1]).table("test_gen")
print(json.dumps([row.rule for row in rows(table, Limits(row=500)) if isinstance(row, Broken)]))
try:
    rows(table, Limits(decompressed=1000))
except FileFault as fault:
    print(fault.rule, file=sys.stderr)
"""
    done = hub.run(HEAD + code, tmp_path, NAME)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["row_too_large"] * ROWS["test_gen"]
    assert done.stderr == "too_large_decompressed\n"


# What a stranger made -----------------------------------------------------------------------------------------------

ROW = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
TOLD = """
found = []
for name in sys.argv[1:]:
    try:
        found.append(len(rows(open_dataset(name).table("train"))))
    except (FileFault, Permanent) as error:
        found.append(f"{getattr(error, 'rule', 'Permanent')}: {error}")
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
print(json.dumps([found, peak]))
"""


def test_files_of_the_hub_are_read_as_uploaded_ones_are(tmp_path: Path) -> None:
    """Each kind by its own reader, within its limits: a bomb, a footer that lies, a row that is too large."""
    parquet = next(data for name, data in ultrachat({"train": (50, 1)}).items() if name.endswith(".parquet"))
    lied = parquet[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"
    files = {
        "gz": ("train.jsonl.gz", gzip.compress(ROW * 30 + b"x" * (60 * MIB), 9)),
        "footer": ("train.parquet", lied),
        "lines": ("train.jsonl", ROW * 3 + b"\n"),
        "lines-in-json": ("train.json", b" \n" + ROW * 4),
        "array": ("train.json", b"[" + ROW.strip() + b"]"),
        "csv": ("train.csv", b'prompt,completion\na,"' + b'""' * (9 * MIB // 2) + b'"\nc,d\n'),
        "tsv-gz": ("train.tsv.gz", gzip.compress(b"prompt\tcompletion\na\tb\n")),
        "other": ("train.arrow", b"ARROW1"),
    }
    with Hub() as served:
        for name, (path, data) in files.items():
            served.add(f"acme/{name}", {path: data})
        found, mib = answer(served, TOLD, tmp_path, *(f"acme/{name}" for name in files))
    told = dict(zip(files, found, strict=True))
    assert told["gz"].startswith("too_compressed: train.jsonl.gz")
    assert told["footer"] == "not_parquet: train.parquet: its footer says that it has 2 GiB"
    assert (told["lines"], told["lines-in-json"], told["array"], told["csv"], told["tsv-gz"]) == (3, 4, 1, 2, 1)
    assert told["other"].startswith("Permanent: acme/other: there is no reader for train.arrow: ")
    assert mib < 500, "the library takes 200 of them"


def test_a_card_decides_nothing_about_how_much_is_read(tmp_path: Path) -> None:
    files = dict(ultrachat({"train": (100, 1)}))
    card = files["README.md"]
    lines = re.sub(rb"num_bytes: \d+", b"num_bytes: 7", re.sub(rb"num_examples: \d+", b"num_examples: 3", card))
    other = card.replace(b"path: data/train-*", b"path: hf://datasets/acme/secret/train.jsonl")
    stored = len(next(data for name, data in files.items() if name.endswith(".parquet")))
    code = """
few, many = (open_dataset("acme/lies").table("train", percent) for percent in (50, 100))
try:
    open_dataset("acme/points").table("train")
    said = "nothing"
except Permanent as error:
    said = str(error)
print(json.dumps([few.size, len(rows(few)), many.size, len(rows(many)), said]))
"""
    with Hub() as served:
        served.add("acme/lies", {**files, "README.md": lines})
        served.add("acme/secret", {"train.jsonl": ROW})
        served.add("acme/points", {**files, "README.md": other})
        served.add("acme/huge", {**files, "README.md": card + b"x" * (9 * MIB)})
        *found, said = answer(served, code, tmp_path)
        (huge,) = errors(served, tmp_path, {"name": "acme/huge"})
    assert found == [round(stored / 2), 50, stored, 100]
    assert "names data outside of the dataset" in said
    assert huge == "Permanent: acme/huge: its README.md has 9 MiB; one may have 8 MiB"


# Revisions -----------------------------------------------------------------------------------------------------------


def test_a_revision_is_a_branch_a_tag_a_commit_or_a_conversion(hub: Hub, tmp_path: Path) -> None:
    repo = hub.repos[NAME]
    main = repo.branches["main"]
    code = """
print(json.dumps([resolve(Hub(name=name, revision=revision)) for name, revision in json.loads(sys.argv[1])] + [
    len(rows(open_dataset("HuggingFaceH4/ultrachat_200k", revision="refs/convert/parquet").table("test")))]))
"""
    asked = [(NAME, "main"), (NAME, "v1"), (NAME, main), (NAME, "refs/convert/parquet"), ("ultrachat_200k", "main")]
    found = answer(hub, code, tmp_path, json.dumps(asked))
    assert found == [main, main, main, repo.converts["parquet"], main, ROWS["test_sft"] + ROWS["test_gen"]]


def test_a_folder_of_the_same_name_is_not_mistaken_for_the_dataset(hub: Hub, tmp_path: Path) -> None:
    local = tmp_path / "acme" / "small"
    local.mkdir(parents=True)
    (local / "train.jsonl").write_bytes(lines(MIXED))
    code = 'print(json.dumps(rows(open_dataset("acme/small").table("train"))))'
    assert answer(hub, code, tmp_path) == SMALL


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_what_somebody_has_to_correct_is_said(hub: Hub, tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "no such dataset": {"name": "acme/nothing"},
        "there is no such dataset at": {"name": "json"},
        "is not a dataset's name": {"name": "../acme/small"},
        "no revision 'mian'; did you mean 'main'? It has main, v1, refs/convert/parquet": {
            "name": NAME,
            "revision": "mian",
        },
        "no split 'train_stf'; did you mean 'train_sft'? It has train_sft, test_sft, train_gen, test_gen": {
            "name": NAME,
            "splits": {"train": "train_stf"},
        },
        "no configuration 'fr'; It has en, de": {"name": "acme/two", "config": "fr"},
        "several configurations: choose one of en, de": {"name": "acme/two"},
        "the dataset is gated and it is read with a token only": {"name": "acme/gated"},
        "Droptune runs no code of a dataset": {"name": "acme/scripted"},
        "no data files that can be read": {"name": "acme/pictures"},
        "percent is 0; it must be above 0": {"name": "acme/small", "percent": 0},
    }
    found = errors(hub, tmp_path, *cases.values())
    for told, text in zip(cases, found, strict=True):
        assert text.startswith("Permanent: ")
        assert told in text
    (text,) = errors(hub, tmp_path, {"name": "acme/broken"})
    assert text.startswith("FileFault: data/train-00000-of-00001-")
    assert f"{hub.url}/datasets/acme/gated" in found[7]
    assert all("\n" not in text for text in found)


@pytest.mark.thorough
def test_a_token_opens_what_is_gated(hub: Hub, tmp_path: Path) -> None:
    gated = {"name": "acme/gated"}
    assert errors(hub, tmp_path, gated, token=TOKEN, HF_ENDPOINT=hub.url + "/") == ["nothing"]
    (text,) = errors(hub, tmp_path, gated, token=OTHER_TOKEN)
    assert "the token in HF_TOKEN may not read it" in text
    (text,) = errors(hub, tmp_path, gated, token="hf_revoked")
    assert "refuses the token in HF_TOKEN" in text
    assert "hf_revoked" not in text


@pytest.mark.parametrize("down", ["/revision/", "README.md"])
def test_a_hub_that_is_busy_is_asked_again_later(hub: Hub, tmp_path: Path, down: str) -> None:
    hub.down = down
    try:
        (text,) = errors(hub, tmp_path, {"name": NAME, "splits": {"train": "train_sft"}})
    finally:
        hub.down = None
    assert text.startswith("Transient: ")
    assert hub.url in text


def test_a_hub_that_is_not_reached_is_asked_again_later(hub: Hub, tmp_path: Path) -> None:
    (text,) = errors(hub, tmp_path, {"name": NAME}, HF_ENDPOINT="http://127.0.0.1:1")
    assert text.startswith(f"Transient: {NAME}: http://127.0.0.1:1 can't be reached")
    assert "HF_ENDPOINT" in text
    (text,) = errors(hub, tmp_path, {"name": NAME}, HF_HUB_OFFLINE="1")
    assert text == f"Permanent: {NAME}: the hub may not be asked while HF_HUB_OFFLINE is set; unset it"


def test_nothing_heavy_is_loaded_before_a_dataset_is_opened(hub: Hub, tmp_path: Path) -> None:
    code = 'print(json.dumps([m for m in ("datasets", "huggingface_hub", "pyarrow", "azure") if m in sys.modules]))'
    assert answer(hub, code, tmp_path) == []


# Names of others -----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_card_leads_to_no_other_place(tmp_path: Path) -> None:
    """Neither to files of the machine that reads it nor to addresses: both would be asked with the app's own rights."""
    (tmp_path / "secret.jsonl").write_bytes(SECRET)
    with Hub() as served:
        served.add("acme/small", {"train.jsonl": lines(SMALL)})
        for number, where in enumerate(OUTSIDE):
            card = f"---\nconfigs:\n- config_name: default\n  {where.replace('FOLDER', str(tmp_path))}\n---\n"
            served.add(f"acme/outside-{number}", {"README.md": card.encode(), "train.jsonl": lines(SMALL)})
        told = errors(served, tmp_path, *({"name": f"acme/outside-{number}"} for number in range(len(OUTSIDE))))
        asked = [each for each in served.requests if "acme/small" in each]
    for where, each in zip(OUTSIDE, told, strict=True):
        assert "names data outside of the dataset" in each, where
    assert asked == []


ODD_CARDS = (
    "configs: [",
    "2026-01-01: x",
    "a: 1" + ":59" * 400 + ".5",
    "a: " + "9" * 5000,
    "a: 2026-13-45",
    "configs: 7",
    "configs: [7]",
    "configs: [{config_name: 7, data_files: 7}]",
    "configs: [{config_name: a/../b, data_files: train.jsonl}]",
    "configs: [{config_name: a, data_files: {train: {a: b}}}]",
    "dataset_info: 7",
    "dataset_info: {features: 7, splits: x}",
    "dataset_info: [{config_name: 2026-01-01}]",
    "a: " + "[" * 3000,
    "&a [*a]",
    "x: !!python/object/apply:os.getcwd []",
)


@pytest.mark.thorough
def test_whatever_a_card_holds_it_is_read_or_told(tmp_path: Path) -> None:
    with Hub() as served:
        for number, text in enumerate(ODD_CARDS):
            served.add(f"acme/odd-{number}", {"README.md": f"---\n{text}\n---\n".encode(), "train.jsonl": lines(SMALL)})
        told = errors(served, tmp_path, *({"name": f"acme/odd-{number}"} for number in range(len(ODD_CARDS))))
    for text, each in zip(ODD_CARDS, told, strict=True):
        assert each == "nothing" or each.startswith("Permanent: acme/odd-"), text


NOWHERE = (
    {"name": "acme/../acme/small"},
    {"name": "../x"},
    {"name": "a?b"},
    {"name": "a#b"},
    {"name": "acme/small", "revision": ".."},
    {"name": "acme/small", "revision": "../../../acme/two/revision/main"},
    {"name": "acme/small", "revision": "main?x"},
    {"name": "acme/small", "config": "../x"},
)


@pytest.mark.thorough
def test_a_name_that_can_be_none_is_asked_for_nowhere(hub: Hub, tmp_path: Path) -> None:
    before = len(hub.requests)
    for spec, told in zip(NOWHERE, errors(hub, tmp_path, *NOWHERE), strict=True):
        assert told.startswith("Permanent: "), spec
        assert "it must be" in told, spec
    assert len(hub.requests) == before


@pytest.mark.thorough
def test_files_of_any_name_are_read(tmp_path: Path) -> None:
    names = ["a b.jsonl", "a#b.jsonl", "a%2fb.jsonl", "ä&ö.jsonl", "a+b=c.jsonl"]
    with Hub() as served:
        for number, name in enumerate(names):
            card = f"---\nconfigs:\n- config_name: default\n  data_files: {name!r}\n---\n"
            served.add(f"acme/named-{number}", {"README.md": card.encode(), name: lines(SMALL[:3])})
        assert errors(served, tmp_path, *({"name": f"acme/named-{n}"} for n in range(len(names)))) == ["nothing"] * 5
        assert served.unknown == []
