"""What is written is read by the next reader: `datasets` as the component's image has it finds the same messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cli import check
from shared.dataset.judging.rules import Facts
from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.preparing.scan import Inputs
from shared.dataset.reading.files import LocalFile
from shared.dataset.spec.choices import Policy
from shared.dataset.split import PARTS, Part
from tests.kit.dataset import cases, fuzz, reader
from tests.kit.dataset.conversations import ASSISTANT, SAME, USER
from tests.kit.rows import of, row

pytestmark = pytest.mark.thorough

MIB = 1024 * 1024
POLICY = Policy(on_bad_rows="drop", max_bad_percent=100, min_rows=1)
TOOLS = Facts(tools=True)


def call(arguments: object, **more: Any) -> dict[str, Any]:
    """A call of a tool."""
    function = {"name": "look", "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": function} | more]}


def tools(*calls: dict[str, Any], **answer: Any) -> bytes:
    """Rows with these calls, each with an answer."""
    answers = [{"role": "tool", "content": "12"} | answer, ASSISTANT]
    return b"\n".join(of(USER, each, *answers) for each in calls)


def plain(size: int, text: str = "x") -> bytes:
    """Rows of so many bytes, none with tools."""
    return b"\n".join(row(f"{at} {text}", text * 1000) for at in range(size // 1000))


def written(folder: Path, data: bytes, *, name: str = "train.jsonl", held: bytes = b"") -> list[Path]:
    """The parts that are made of one file."""
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    (folder / "held.jsonl").write_bytes(held or tools(call("{}"), call({"n": 1}), tool_call_id="c1"))
    files: dict[Part, Inputs] = {part: LocalFile(folder / "held.jsonl") for part in PARTS}
    report = prepare_files(
        files=files | {"train": LocalFile(folder / name)},
        out=folder / "out",
        policy=POLICY,
        facts=TOOLS,
    )
    assert not report.rejected, report.rejected
    return [folder / "out" / f"{part}.jsonl" for part in PARTS]


_ARGUMENTS: tuple[object, ...] = (
    {"n": 1},
    {"n": "1"},
    {"n": [1]},
    {"n": {"a": None}},
    {"m": 1.5},
    '{"n": 1}',
    "",
    None,
)
ODD: Mapping[str, bytes] = {
    "arguments of all types": tools(*map(call, _ARGUMENTS)),
    "numbers beyond 64 bits": tools(call({"n": 2**64}), call({"n": 1}), call({"n": -(2**200)}), call({"n": 1e300})),
    "calls in all forms": tools(
        call({}), call({}, type="function"), call({}, id=None), call({}, index=3), call({}, tool_calls=None)
    ).replace(b'"look"', b'"look", "strict": null'),
    "contents that are null, empty or text": tools(
        call("{}"), call("{}") | {"content": ""}, call("{}") | {"content": "Let me look."}, name="look"
    ),
    "tools late": plain(12 * MIB) + b"\n" + tools(call({"n": 1}), tool_call_id="c1", name="look"),
    "an id late": tools(call({}, id=None)) + b"\n" + plain(11 * MIB) + b"\n" + tools(call({})),
    "names late": tools(call({})) + b"\n" + plain(11 * MIB) + b"\n" + tools(call({}), name="look"),
    "a long row leads": plain(11 * MIB) + b"\n" + tools(call({"n": "x" * 7 * MIB}), call({}), name="look"),
    "times among texts": b"\n".join([*[row("2024-01-01 10:00", "2024-01-02")] * 5_000, row()]),
    "numbers as texts": b"\n".join(row(str(at), f"{at}.5") for at in range(100)),
    "rows as long as they may be": b"\n".join(row(str(at), "x" * (8 * MIB - 200)) for at in range(3)),
    "many turns": of(*[USER, ASSISTANT] * 20_000) + b"\n" + row(),
    "odd characters": b"\n".join(
        row(f'{at} \u2028\u0085\u2029\ufeff\U0001f600 \\u0041 \\ " \t\r\n', "é\u200b\ufffd\uffff") for at in range(5)
    ),
    "keys in another order": of({"content": "a", "role": "user"}, ASSISTANT) + b"\n" + row(),
}


def test_odd_rows_are_read_as_they_are_written(tmp_path: Path) -> None:
    paths = [path for name, data in ODD.items() for path in written(tmp_path / name, data)]
    assert reader.wrong(paths) == []


def test_every_format_is_read_as_it_is_written(tmp_path: Path) -> None:
    paths = []
    for name, same in SAME.items():
        text = json.dumps(same)
        rows = "\n".join(text.replace("Hi", f"Hi {at}") for at in range(50))
        paths += written(tmp_path / name, rows.encode())
    assert len(paths) == len(SAME) * 3
    assert reader.wrong(paths) == []


def accepted() -> Iterator[str]:
    for name in cases.names():
        if cases.verdict(name).verdict == "accept" and not (cases.CASES / name / "not_yet").exists():
            yield name


def test_what_people_have_is_read_as_it_is_written(tmp_path: Path) -> None:
    paths: list[Path] = []
    for name in accepted():
        place = cases.laid_out(name, tmp_path / "sets")
        with_tools = "--tools" in cases.verdict(name).options
        plan = check.planned(check.Wanted(path=place, tools=with_tools))
        for at, each in enumerate(plan.sets):
            out = tmp_path / "out" / f"{name}-{at}"
            files: dict[Part, Inputs] = {part: list(of.values()) for part, of in each.files.items()}
            report = prepare_files(files=files, out=out, policy=plan.policy, facts=Facts(tools=with_tools))
            assert not report.rejected
            paths += [out / f"{part}.jsonl" for part in PARTS]
    assert len(paths) >= 6
    assert reader.wrong(paths) == []


def test_what_is_made_of_mutated_rows_is_read_as_it_is_written(tmp_path: Path) -> None:
    paths: list[Path] = []
    for series, at in product(["jsonl-tools", "jsonl-messages", "csv", "parquet"], range(12)):
        given = fuzz.made(series, at)
        path = tmp_path / f"{series}-{at}" / given.name
        path.parent.mkdir()
        path.write_bytes(given.data)
        out = path.parent / "out"
        prepare_files(files={"train": LocalFile(path)}, out=out, policy=POLICY, facts=Facts(tools="tools" in series))
        paths += out.glob("*.jsonl")
    assert len(paths) > 10
    assert reader.wrong(paths, ["whole", "streamed"]) == []
