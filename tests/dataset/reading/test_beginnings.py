"""What a file is by its beginning: one sentence for one of another kind, and no other for what can be read."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.beginnings import HEAD, Written, peeked, plain_ends, written
from shared.dataset.reading.files import FileFault, LocalFile
from shared.dataset.report import Report
from shared.dataset.spec.choices import Policy
from tests.kit.dataset.fuzz import Bytes

ROWS = [{"prompt": f"Where is shelf {at}?", "completion": f"Behind shelf {at + 1}."} for at in range(12)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = "prompt,completion\n" + "".join(f"{row['prompt']},{row['completion']}\n" for row in ROWS)


def checked(name: str, data: bytes) -> Report:
    return prepare(files={"train": Bytes(name, data, (7, 1000))}, sinks=None)


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.jsonl"), io.BytesIO(b""))
    return out.getvalue()


def _zip(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x")
    return out.getvalue()


def _arrow(*, stream: bool) -> bytes:
    out = io.BytesIO()
    table = pa.table({"prompt": ["a"]})
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
OTHERS = {
    "UTF-16": (codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"), "it is UTF-16: save it as UTF-8"),
    "UTF-16, the other way round": (codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"), "it is UTF-16"),
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "it is UTF-16"),
    "UTF-32": (LINES.encode("utf-32"), "it is UTF-32"),
    "UTF-32 without a mark": (LINES.encode("utf-32-be"), "it is UTF-32"),
    "gzip": (gzip.compress(LINES.encode()), "it is packed with gzip: rename it to {stem}{ending}.gz"),
    "a packed archive": (gzip.compress(_archive()), "it is an archive (.tar.gz): unpack it"),
    "zstd": (pa.Codec("zstd").compress(LINES.encode(), asbytes=True), "it is packed with zstd: rename it to"),
    "xz": (b"\xfd7zXZ\0" + b"x" * 99, "it is packed in a way that is not read: unpack it"),
    "an archive": (_archive(), "it is a tar archive"),
    "Parquet": (_parquet(), "it is Parquet: rename it to {stem}.parquet"),
    "Arrow": (_arrow(stream=False), "it is an Arrow file: write it as Parquet"),
    "Arrow as datasets writes it": (_arrow(stream=True), "it is an Arrow file: write it as Parquet"),
    "a workbook": (_zip("xl/workbook.xml"), "it is an Excel workbook: save the sheet as CSV UTF-8"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "it is an Excel workbook"),
    "SQLite": (b"SQLite format 3\0" + bytes(99), "it is an SQLite database"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "it is a PDF document"),
    "pickle": (pickle.dumps(ROWS), "it holds a program's objects"),
    "HTML": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "it is an HTML page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code></Error>', "it is XML"),
    "an LFS pointer": (LFS, "it is a Git LFS pointer and not the file itself: run `git lfs pull`"),
    "zeros": (bytes(5000), "it holds nothing but zeros"),
}
RULE = {".jsonl": "not_json_lines", ".json": "not_json_array", ".csv": "not_csv", ".parquet": "not_parquet"}


@pytest.mark.parametrize("ending", RULE)
@pytest.mark.parametrize("other", OTHERS)
def test_a_file_of_another_kind_is_one_sentence_that_says_what_to_do(other: str, ending: str) -> None:
    data, reason = OTHERS[other]
    if (other, ending) == ("Parquet", ".parquet"):
        return
    report = checked(f"my.rows{ending}", data)
    assert dict(report.by_rule) == {RULE[ending]: 1}
    assert (report.rows, len(report.faults)) == (0, 1)
    if ending == ".parquet" and other in ("gzip", "zstd"):
        reason = reason.replace("{ending}", ".jsonl")  # of what is in it
    wanted = reason.format(stem="my.rows", ending=ending)
    assert report.faults[0].reason.startswith(wanted), report.faults[0].reason
    assert report.rejected.startswith(f"my.rows{ending}: ")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("train.jsonl", TABLE, "it is a table of cells (CSV): rename it to train.csv"),
        ("train.jsonl", TABLE.replace(",", "\t"), "it is a table of cells (CSV): rename it to train.csv"),
        ("train.json", "sep=;\r\n" + TABLE, "it is a table of cells (CSV): rename it to train.csv"),
        ("train.csv", LINES, "it is JSON Lines: rename it to train.jsonl"),
        ("train.tsv", json.dumps(ROWS), "it is a JSON array: rename it to train.json"),
        ("train.csv", json.dumps(ROWS, indent=1), "it is a JSON array: rename it to train.json"),
        ("train.jsonl", "".join(f"{row}\n" for row in ROWS), "it is written as Python shows its objects"),
        ("train.jsonl", repr(ROWS), "it is written as Python shows its objects"),
        ("train.json", repr(ROWS), "it is written as Python shows its objects"),
        (
            "my train.jsonl",
            "".join(json.dumps(row, indent=2) + "\n" for row in ROWS),
            "an object is spread over several lines: write each on a line of its own (jq -c . 'my train.jsonl' > lines"
            " && mv lines 'my train.jsonl' does it)",
        ),
        ("train.csv", TABLE.partition("\n")[2], "there is no header: the first line, which is taken for it, is a row"),
    ],
)
def test_text_of_another_kind_too(name: str, data: str, reason: str) -> None:
    for text in (data, data.replace("\n", "\r\n").replace("\r\r", "\r"), "\ufeff\n" + data):
        report = checked(name, text.encode())
        assert (report.rows, len(report.faults)) == (0, 1)
        assert report.faults[0].reason.startswith(reason), report.faults[0].reason


def test_packed_files_of_another_kind_are_told_by_what_is_in_them() -> None:
    report = checked("train.jsonl.gz", gzip.compress(_parquet()))
    assert report.faults[0].reason == "it is Parquet: rename it to train.parquet.gz"
    report = checked("train.jsonl.gz", gzip.compress(gzip.compress(LINES.encode())))
    assert report.faults[0].reason == "it is packed with gzip twice: unpack it once"
    report = checked("train.jsonl.gz", LINES.encode())
    assert report.faults[0].reason == "it looks like text that was never compressed: rename it to train.jsonl"
    report = checked("train.jsonl.zst", gzip.compress(LINES.encode()))
    assert report.faults[0].reason == "it is packed with gzip: rename it to train.jsonl.gz"
    report = checked("train.parquet.gz", LFS)
    assert "git lfs pull" in report.faults[0].reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("train.jsonl", LINES),
        ("train.jsonl", LINES.replace("\n", "\r")),
        ("train.jsonl", LINES.replace("\n", "\r\n\r\n")),
        ("train.jsonl", json.dumps(ROWS)),
        ("train.jsonl", json.dumps(ROWS, indent=2)),
        ("train.jsonl", json.dumps(ROWS, indent=2).replace("\n", "\r")),
        ("train.ndjson", "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n"),
        ("train.json", json.dumps(ROWS)),
        ("train.json", LINES),
        ("train.csv", TABLE),
        ("train.csv", TABLE.replace(",", "\t")),
        ("train.tsv", TABLE.replace(",", "\t")),
        ("train.tsv", TABLE),
        ("train.csv", "sep=;\r\n" + TABLE.replace(",", ";")),
        ("train.csv", '"sep=|"\n' + TABLE.replace(",", "|")),
        ("train.csv", TABLE.replace("\n", ",,\n") + ",,,\n,,,\n"),
        ("train.csv", TABLE.replace("\n", "\r")),
        ("train.csv", TABLE.replace(",", "|")),
        ("train.csv", "\r\n,,\r\n,\r\n" + TABLE),
        ("train.jsonl.txt", LINES),
        ("Train.CSV.TXT", TABLE),
    ],
)
def test_what_can_be_read_is_read(name: str, data: str) -> None:
    for text in (data.encode(), codecs.BOM_UTF8 + data.encode()):
        report = checked(name, text)
        assert (report.rejected, report.rows, report.bad_rows) == ("", 12, 0), report.rejected


def test_a_file_with_one_good_line_is_told_by_lines() -> None:
    """What stands beside it may be anything."""
    for bad in ("<html>", "[", "{'a': 1}", "prompt,completion", "{", "\ufffd"):
        report = checked("train.jsonl", f"{bad}\n{LINES}".encode())
        assert (report.rows, report.bad_rows) == (13, 1)
        assert [fault.line for fault in report.faults] == [1]


def test_rows_that_are_lists_are_rows() -> None:
    report = checked("train.jsonl", b'["Hi", "Hello"]\n' * 3)
    assert dict(report.by_rule) == {"not_object": 3}


@pytest.mark.parametrize("mixed", ["a\r", "a\rb\r\nc\rd", "\r\n\r\n", "\r\r"])
def test_returns_alone_end_lines_in_whatever_pieces(mixed: str) -> None:
    data = mixed.encode()
    for size in (1, 2, 100):
        made = b"".join(plain_ends(data[at : at + size] for at in range(0, len(data), size)))
        assert made == data.replace(b"\r\n", b"\0\0").replace(b"\r", b"\n").replace(b"\0\0", b"\r\n")


def test_only_the_beginning_is_looked_at_and_nothing_is_lost() -> None:
    taken: list[int] = []

    def chunks() -> list[bytes]:
        return [bytes([65 + at]) * 30_000 for at in range(10)]

    def watched() -> object:
        for at, chunk in enumerate(chunks()):
            taken.append(at)
            yield chunk

    head, rest = peeked(watched())  # type: ignore[arg-type]
    assert (len(head), taken) == (HEAD, [0, 1, 2])
    assert b"".join(rest) == b"".join(chunks())


def test_what_came_before_a_fault_is_handed_out_first() -> None:
    def broken() -> object:
        yield b"abc"
        raise FileFault("not_gzip", "it is damaged")

    head, rest = peeked(broken())  # type: ignore[arg-type]
    assert (head, next(rest)) == (b"abc", b"abc")
    with pytest.raises(FileFault):
        next(rest)


def test_a_row_longer_than_what_is_looked_at_is_no_fault() -> None:
    long = json.dumps({"prompt": "x" * 2 * HEAD, "completion": "b"})
    assert written("a.jsonl", long.encode()[:HEAD]) == Written(form=".jsonl")
    assert written("a.jsonl", ("[" + long).encode()[:HEAD]) == Written(form=".json")
    with pytest.raises(FileFault, match="single quotes"):
        written("a.jsonl", long.replace('"', "'").encode()[:HEAD])


@pytest.mark.thorough
@pytest.mark.parametrize("returns", [False, True])
def test_several_processes_take_a_file_for_the_same(returns: bool, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [json.dumps({"prompt": f"Say {at}", "completion": "b" * 90}) for at in range(11_000)]
    path.write_text("\r".join(rows) if returns else json.dumps([json.loads(row) for row in rows], indent=1))
    found = [
        prepare_files(files={"train": LocalFile(path)}, out=None, policy=Policy(), processes=processes, piece=100_000)
        for processes in (1, 2)
    ]
    assert found[0] == found[1]
    assert (found[0].rejected, found[0].rows) == ("", 11_000)
