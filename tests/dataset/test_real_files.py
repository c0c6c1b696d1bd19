"""Files that nobody here wrote (tests/README.md lists them): the engine says of them what the oracle says."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import pytest

from shared.dataset.reading.files import Limits
from shared.dataset.reading.parquet import parquet
from tests.kit.dataset import fuzz, oracle, real

ORIGINAL, CONVERSATIONS = real.chitchat()


def read(name: str, data: bytes) -> fuzz.Outcome:
    return fuzz.engine(fuzz.Bytes(name, data), Limits())


@pytest.mark.parametrize(
    ("name", "data"), list(real.files()), ids=lambda given: given if isinstance(given, str) else ""
)
def test_the_engine_and_the_oracle_agree(name: str, data: bytes) -> None:
    expected = oracle.lines(data) if name.endswith(".jsonl") else oracle.array(data)
    assert not fuzz.differences(expected, read(name, data))


def test_conversations_between_people() -> None:
    """Many end with the one who began, and one has a turn without a word in it."""
    got = read("conversations.jsonl", CONVERSATIONS)
    rules = Counter(rule for _, rule in got.faults)
    assert rules["last_not_assistant"] + rules["no_assistant"] > 20
    assert rules["blank_content"] == 1
    assert got.turns.total() > 40


def test_the_original_is_no_array() -> None:
    """The package has one object of conversations by id: said as such, not as thousands of bad rows."""
    got = read("original.json", ORIGINAL)
    assert [rule for _, rule in got.faults] == ["not_json_array"]


def test_the_same_conversations_in_every_kind_of_file() -> None:
    """Converted copies of the real file, since nobody ships chats in all kinds."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = CONVERSATIONS
    rows = [json.loads(line) for line in plain.splitlines()]
    wanted = read("data.jsonl", plain)
    table, frame = io.BytesIO(), io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), table, row_group_size=50)
    pd.DataFrame(rows).to_parquet(frame)
    cells = pd.DataFrame([{**row, "messages": json.dumps(row["messages"])} for row in rows]).to_csv(index=False)
    said = [
        {
            "conversations": [
                {"from": ("human", "gpt")[turn["role"] == "assistant"], "value": turn["content"]}
                for turn in row["messages"]
            ]
        }
        for row in rows
    ]
    copies = {
        "data.jsonl.gz": gzip.compress(plain),
        "data.json": json.dumps(rows, indent=2).encode(),
        "data.csv": cells.encode(),
        "data.parquet": table.getvalue(),
        "frame.parquet": frame.getvalue(),
        "sharegpt.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in said).encode(),
    }
    for name, data in copies.items():
        got = read(name, data)
        assert got.turns == wanted.turns, name
        assert [rule for _, rule in got.faults] == [rule for _, rule in wanted.faults], name


def test_parquet_files_of_other_times() -> None:
    """pyarrow ships files of pandas' first versions: no chats in them, which is what has to be said."""
    import pyarrow

    found = sorted((Path(pyarrow.__file__).parent / "tests" / "data" / "parquet").glob("*.parquet"))
    if not found:
        pytest.skip("this pyarrow ships no files")
    for path in found:
        source = fuzz.Bytes(path.name, path.read_bytes())
        rows = sum(len(batch.rows) for batch in parquet(source, Limits()))
        assert rows == len(oracle.table(source.data).verdicts)
        got = fuzz.engine(source, Limits())
        assert {rule for _, rule in got.faults} <= {"no_messages"}
        assert set(got.file_faults) <= {"empty_file", "too_few_rows"}
        assert not got.turns
