"""A card that says otherwise than the files: told, with the file and the column; the files count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.hub import Hub, ultrachat
from tests.kit.rows import row

CARD = b"""---
configs:
- config_name: default
  data_files:
  - {split: train, path: "data/*"}
  - {split: test, path: test.jsonl}
dataset_info:
  features:
  - {name: id, dtype: int64}
  - {name: score, dtype: float64}
  - {name: gone, dtype: string}
  - name: messages
    list:
    - {name: role, dtype: string}
    - {name: content, dtype: string}
  splits:
  - {name: train, num_bytes: 100, num_examples: 3}
  - {name: dev, num_bytes: 100, num_examples: 2}
---
"""
FILES = {
    "README.md": CARD,
    "data/a.jsonl": b"".join(row(f"a {at}", id=at, score=1) + b"\n" for at in range(20)),
    "data/b.jsonl": row("b", id="7", score=True, more=1) + b"\n" + row("c", id=None) + b"\n",
    "test.jsonl": b'{"id": 1, "messages": [{"role": "user", "content": 7, "name": "x"}]}\n',
}
PREPARED = """
import json
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.hub import tables
from shared.dataset.spec.choices import Hub
files = tables(Hub(name=sys.argv[1], splits={"train": "train"}))[1]
report = prepare(files=files, sinks=None)
print(json.dumps([report.rejected, report.warnings, [each.reason for each in report.warned]]))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as served:
        served.add("acme/stale", FILES)
        table = "\n".join(("---", "dataset_info:", "  features:", "  - {name: id, dtype: int64}", "---", ""))
        served.add("acme/table", {"README.md": table.encode(), "train.csv": b"id,prompt\n1,Hi\n"})
        served.add("acme/true", ultrachat({"train": (50, 2)}))
        yield served


def test_what_differs_is_told_with_file_and_column(hub: Hub, tmp_path: Path) -> None:
    done = hub.droptune(tmp_path, "fetch", "acme/stale", "--out", "data")
    assert (done.returncode, done.stderr) == (0, "")
    cure = "; the files count; who owns the card can mend its dataset_info"
    notes = [line.removeprefix("note: ") for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"its card names the split dev, for which there are no files{cure}",
        f"its card does not know the split test, for which there are files{cure}",
        f"data/b.jsonl, row 1: the column id is a text, where its card has int64{cure}",
        f"data/b.jsonl, row 1: the column score is a boolean, where its card has float64{cure}",
        f"data/b.jsonl, row 1: the column more is not in its card{cure}",
        f"its card has the columns gone, which the rows have not{cure}",
        f"its card says 3 rows, and its files have 22{cure}",
        f"test.jsonl, row 1: the column messages[].content is a number, where its card has string{cure}",
        f"test.jsonl, row 1: the column messages[].name is not in its card{cure}",
        f"its card has the columns score, gone, which the rows have not{cure}",
    ]


@pytest.mark.thorough
def test_a_run_s_report_tells_it_and_refuses_nothing(hub: Hub, tmp_path: Path) -> None:
    done = hub.run(PREPARED, tmp_path, "acme/stale")
    assert done.returncode == 0, done.stderr
    rejected, warnings, reasons = json.loads(done.stdout)
    assert (rejected, warnings["stale_card"]) == ("", 7)
    assert any("data/b.jsonl, row 1: the column id is a text" in reason for reason in reasons)


@pytest.mark.thorough
def test_nothing_is_told_of_a_card_that_is_true(hub: Hub, tmp_path: Path) -> None:
    done = hub.droptune(tmp_path, "fetch", "acme/true", "--percent", "40", "--out", "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: " not in done.stdout


@pytest.mark.thorough
def test_cells_of_a_table_of_texts_are_texts(hub: Hub, tmp_path: Path) -> None:
    done = hub.droptune(tmp_path, "fetch", "acme/table", "--out", "data")
    assert (done.returncode, done.stderr) == (0, "")
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert [note.split(";")[0] for note in notes] == ["note: train.csv, row 2: the column prompt is not in its card"]
