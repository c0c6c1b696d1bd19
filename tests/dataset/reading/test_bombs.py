"""Files made to fill memory, disk or time: refused in a sentence, early, in little memory. In full: make test-long."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.paths import ROOT

FULL = bool(os.environ.get("DROPTUNE_LONG"))
MIB = 1024**2

# Run in a process of its own, which asks the system what it took at most. (ru_maxrss alone would count what the parent
# had when it started it; Linux has the peak of the process itself, too.)
CHILD = """
import json, resource, sys, time
from pathlib import Path
from shared.dataset.reading.files import LocalFile
from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.spec.choices import Policy
began = time.monotonic()
out = Path(sys.argv[2]) if sys.argv[2] else None
report = prepare_files(files={"train": LocalFile(Path(sys.argv[1]))}, out=out, policy=Policy(min_rows=1))
status = Path("/proc/self/status")
if status.exists():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
told = {"rejected": report.rejected, "rows": report.rows, "bad": report.bad_rows, "rules": dict(report.by_rule)}
print(json.dumps({**told, "mb": peak // 1024, "seconds": time.monotonic() - began}))
"""


# As pandas writes a frame: one row group of up to a million rows.
MAKER = """
import random, sys
import pyarrow as pa, pyarrow.parquet as pq
size, path = int(sys.argv[1]), sys.argv[2]
numbers = random.Random(5)
words = [f"{numbers.randrange(16**6):x}" for _ in range(30000)]
def turn(role): return {"role": role, "content": " ".join(numbers.choices(words, k=90))}
rows = size // 1300
batch = [[turn("user"), turn("assistant")] for _ in range(min(rows, 20000))]
columns = []
for at in range(0, rows, len(batch)):
    part = batch[: rows - at]
    part = [[{**each, "content": f"{at + row} " + each["content"]} for each in one] for row, one in enumerate(part)]
    columns.append(pa.array(part))
table = pa.table({"messages": pa.chunked_array(columns)})
pq.write_table(table, path, row_group_size=1024 * 1024)
print(rows)
"""


@dataclass(frozen=True)
class Told:
    """What became of a file: why it was rejected ("" = it was not), rows, rules, and what it took."""

    rejected: str
    rows: int
    bad: int
    rules: dict[str, int]
    mb: int
    seconds: float


def prepared(path: Path, out: Path | None = None) -> Told:
    """The file through the engine, in a process of its own."""
    command = [sys.executable, "-c", CHILD, str(path), str(out or "")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    told = Told(**json.loads(done.stdout))
    sys.stdout.write(f"{path.name}: {path.stat().st_size / MIB:.1f} MiB, {told}\n")
    return told


def _bomb(path: Path, size: int) -> None:
    """A gzip file that unpacks to `size` bytes of one row."""
    packer = zlib.compressobj(9, wbits=31)
    block = b"x" * MIB
    with path.open("wb") as file:
        file.write(packer.compress(b'{"messages": [{"role": "user", "content": "'))
        for _ in range(size // MIB):
            file.write(packer.compress(block))
        file.write(packer.flush())


def _members(path: Path, size: int) -> None:
    """The same of many small members."""
    row = b'{"messages": [{"role": "user", "content": "' + b"x" * 5000 + b'"}]}\n'
    member = gzip.compress(row * 200, 9)
    with path.open("wb") as file:
        for _ in range(size // (200 * len(row))):
            file.write(member)


@pytest.mark.parametrize("make", [_bomb, _members])
def test_a_gzip_bomb_is_refused_early(make: Callable[[Path, int], None], tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    make(path, (10_000 if FULL else 300) * MIB)
    told = prepared(path)
    assert told.rejected
    assert {"too_compressed", "too_large_decompressed"} & set(told.rules)
    assert told.mb < 300
    assert told.seconds < 20


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("beginning", [b"", b'[{"messages": "', b'{"messages": [{"role": "user", "content": "', b'"'])
def test_an_endless_line_is_refused(kind: str, beginning: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"line{kind}"
    with path.open("wb") as file:
        file.write(beginning)
        for _ in range(300 if FULL else 40):
            file.write(b"x" * MIB)
    told = prepared(path)
    assert told.rejected
    assert told.rules
    assert told.mb < 300
    assert told.seconds < 20


def test_a_large_row_between_good_ones_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]})
    with path.open("wb") as file:
        file.write(good.encode() + b"\n")
        file.write(good[:-20].encode())
        for _ in range(300 if FULL else 40):
            file.write(b"x" * MIB)
        file.write(good[-20:].encode() + b"\n")
        file.write(good.encode() + b"\n")
    told = prepared(path)
    assert told.rules["row_too_large"] == 1
    assert told.bad == 1
    assert told.rows == 3
    assert told.mb < 300


@pytest.mark.parametrize("deep", [b"[", b'{"a":'])
def test_deep_nesting_neither_crashes_nor_takes_long(deep: bytes, tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_bytes(deep * (MIB // len(deep)) + b"\n" + b'{"messages": ' + deep * 500_000 + b"\n")
    told = prepared(path)
    assert told.rules["not_json"] == 2
    assert told.seconds < 20


@pytest.mark.thorough
def test_a_parquet_file_of_one_large_row_group_is_read(tmp_path: Path) -> None:
    """As pandas writes it: one row group of all rows (up to a million), snappy, dictionaries where they help."""
    size = (1000 if FULL else 100) * MIB
    path = tmp_path / "data.parquet"
    command = [sys.executable, "-c", MAKER, str(size), str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    told = prepared(path, tmp_path / "out")
    assert not told.rejected, told
    assert told.rows == int(made.stdout)
    assert told.mb < 600


def test_a_parquet_bomb_is_refused(tmp_path: Path) -> None:
    """One text of many megabytes in the dictionary, and a million rows that repeat it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.array(["x" * (7 * MIB)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), text)
    path = tmp_path / "bomb.parquet"
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": column, "response": column}), out, compression="zstd")
    path.write_bytes(out.getvalue())
    told = prepared(path)
    assert told.rejected
    assert told.mb < 600
    assert told.seconds < 60
