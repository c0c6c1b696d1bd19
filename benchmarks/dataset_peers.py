"""The engine's task, given to other libraries: each function checks, counts and splits as far as the library can say.

Written as people who know the library would: whole columns at a time where it works on columns, all threads that it
wants, only the column that is needed. The task: the rules that a typed row can break (roles, order, blank or control
characters, size), rows that repeat another exactly, a split by the hash of the first prompt, three files of
`{"messages": [...]}` rows, and a count per rule. None of them reads a file with malformed rows through (duckdb's
ignore_errors loses the good rows too), so all get the cleaned copy. Run by `benchmarks.dataset`, each in a process of
its own; the libraries are imported there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.dataset_maker import ROW_LIMIT, schema

PARTS = ("train", "validation", "test")
ROLES = ("system", "user", "assistant", "tool")
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_CONTROL_BYTES = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\r")
_BATCH = 1000
# What is looked for in a row, in this order; the first that is found is the row's fault.
_ORDER = (
    "no_messages",
    "empty_messages",
    "unknown_role",
    "blank_content",
    "control_character",
    "no_assistant",
    "no_question",
    "last_not_assistant",
    "system_not_first",
    "repeated_role",
    "row_too_large",
)


@dataclass(kw_only=True)
class Found:
    """What a contender found: rows read, bad ones by rule, good rows that repeat another, good rows of each part."""

    rows: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    splits: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "rows": self.rows,
            "bad": dict(self.bad),
            "duplicates": self.duplicates,
            "splits": dict(self.splits),
        }


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A library with the task: how it is run on a file of each kind, writing to a folder."""

    jsonl: Callable[[Path, Path], Found]
    parquet: Callable[[Path, Path], Found]


class _Parts:
    """The three files, written row by row; finds rows that repeat another by their hash."""

    def __init__(self, out: Path, stack: ExitStack) -> None:
        import msgspec
        import xxhash

        self.found = Found()
        self._files = {
            part: stack.enter_context((out / f"{part}.jsonl").open("wb", buffering=1 << 20)) for part in PARTS
        }
        self._encode = msgspec.json.Encoder().encode
        self._row_hash, self._prompt_hash = xxhash.xxh3_128_digest, xxhash.xxh3_64_intdigest
        self._seen: set[bytes] = set()

    def write(self, messages: list[dict[str, Any]]) -> None:
        """Writes a good row."""
        line = self._encode({"messages": messages})
        identity = self._row_hash(line)
        if identity in self._seen:
            self.found.duplicates += 1
        self._seen.add(identity)
        prompt = next((message["content"] for message in messages if message["role"] == "user"), "")
        part = part_of(self._prompt_hash(" ".join(prompt.lower().split()).encode()))
        self._files[part].write(line + b"\n")
        self.found.splits[part] += 1


def part_of(place: int) -> str:
    """Where a row goes whose first prompt has this hash: a tenth each to validation and test."""
    return {0: "validation", 1: "test"}.get(place % 10, "train")


# Rows as Python objects -----------------------------------------------------------------------------------------------


def _judge(messages: list[dict[str, Any]] | None) -> str:
    """The rule that a row breaks, or nothing."""
    if messages is None:
        return "no_messages"
    if not messages:
        return "empty_messages"
    roles = [message["role"] for message in messages]
    contents = [message["content"] for message in messages]
    if not all(role in ROLES for role in roles):
        return "unknown_role"
    if not all(content and not content.isspace() for content in contents):
        return "blank_content"
    text = "".join(contents).encode()
    if len(text.translate(None, _CONTROL_BYTES)) < len(text):
        return "control_character"
    if "assistant" not in roles:
        return "no_assistant"
    if len(roles) == 1:
        return "no_question"
    if roles[-1] != "assistant":
        return "last_not_assistant"
    if "system" in roles[1:]:
        return "system_not_first"
    if any(role == after for role, after in pairwise(roles)):
        return "repeated_role"
    return "row_too_large" if len(text) > ROW_LIMIT else ""


def datasets_stream(kind: str, path: Path) -> Any:
    """The rows of a file as `datasets` streams them, its one column `messages`."""
    import datasets

    stream = datasets.load_dataset(
        kind,
        data_files=str(path),
        split="train",
        streaming=True,
        features=datasets.Features.from_arrow_schema(schema()),
    )
    return stream.select_columns(["messages"])


def _datasets(kind: str) -> Callable[[Path, Path], Found]:
    def run(path: Path, out: Path) -> Found:
        with ExitStack() as stack:
            parts = _Parts(out, stack)
            for batch in datasets_stream(kind, path).iter(batch_size=_BATCH):
                for messages in batch["messages"]:
                    parts.found.rows += 1
                    if rule := _judge(messages):
                        parts.found.bad[rule] += 1
                    else:
                        parts.write(messages)
            return parts.found

    return run


# Columns of Arrow -----------------------------------------------------------------------------------------------------


def _judge_arrow(rows: Any) -> tuple[Any, Any, Any, Any]:
    """Of a list array: each row's place in _ORDER (or beyond), the rows' offsets, flat roles, flat contents."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = len(rows)
    lengths = np.asarray(rows.value_lengths().fill_null(0))
    ends = np.cumsum(lengths)
    parents = np.repeat(np.arange(count), lengths)
    flat = rows.flatten()
    roles, contents = pc.struct_field(flat, "role"), pc.struct_field(flat, "content")
    codes = np.asarray(pc.index_in(roles, pa.array(ROLES)).fill_null(-1))
    filled = contents.fill_null("")

    def rows_with(flags: Any) -> Any:
        rows = np.zeros(count, bool)
        rows[parents[flags]] = True
        return rows

    def matches(pattern: str) -> Any:
        return pc.match_substring_regex(filled, pattern).to_numpy(zero_copy_only=False)

    firsts = np.zeros(len(flat), bool)
    firsts[(ends - lengths)[lengths > 0]] = True
    lasts = np.full(count, -1)
    lasts[lengths > 0] = codes[ends[lengths > 0] - 1]
    repeats = np.zeros(len(flat), bool)
    repeats[1:] = (codes[1:] == codes[:-1]) & ~firsts[1:]
    answered = rows_with(codes == ROLES.index("assistant"))
    sizes = np.bincount(parents, np.asarray(pc.binary_length(filled)), count)
    flags = (
        ~np.asarray(rows.is_valid()).astype(bool),
        lengths == 0,
        rows_with(codes < 0),
        rows_with(~matches(r"\S")),
        rows_with(matches(_CONTROL)),
        ~answered,
        lengths == 1,
        lasts != ROLES.index("assistant"),
        rows_with((codes == ROLES.index("system")) & ~firsts),
        rows_with(repeats),
        sizes > ROW_LIMIT,
    )
    return np.select(flags, range(len(_ORDER)), len(_ORDER)), ends, roles, contents


def _arrow(batches: Iterable[Any], out: Path) -> Found:
    """The task over list arrays. Arrow has no writer of JSON: the good rows are made Python objects and encoded."""
    import numpy as np

    with ExitStack() as stack:
        parts = _Parts(out, stack)
        for rows in batches:
            faults, ends, flat_roles, flat_contents = _judge_arrow(rows)
            parts.found.rows += len(rows)
            for at, times in enumerate(np.bincount(faults, minlength=len(_ORDER))[: len(_ORDER)]):
                if times:
                    parts.found.bad[_ORDER[at]] += int(times)
            messages = [
                {"role": role, "content": content}
                for role, content in zip(flat_roles.to_pylist(), flat_contents.to_pylist(), strict=True)
            ]
            begin = 0
            for end, fault in zip(ends.tolist(), faults.tolist(), strict=True):
                if fault == len(_ORDER):
                    parts.write(messages[begin:end])
                begin = end
        return parts.found


def _pyarrow_jsonl(path: Path, out: Path) -> Found:
    import pyarrow as pa
    import pyarrow.json as pj

    # A block must hold the longest row.
    reader = pj.open_json(
        path,
        read_options=pj.ReadOptions(use_threads=True, block_size=2 * ROW_LIMIT),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema([schema().field("messages")]), unexpected_field_behavior="ignore"
        ),
    )
    return _arrow((batch.column("messages") for batch in reader), out)


def _pyarrow_parquet(path: Path, out: Path) -> Found:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_BATCH, columns=["messages"])
        return _arrow((batch.column("messages") for batch in batches), out)


def _datasets_arrow(kind: str) -> Callable[[Path, Path], Found]:
    def run(path: Path, out: Path) -> Found:
        tables = datasets_stream(kind, path).with_format("arrow").iter(batch_size=_BATCH)
        return _arrow((chunk for table in tables for chunk in table.column("messages").chunks), out)

    return run


# pandas ---------------------------------------------------------------------------------------------------------------


def _pandas(frames: Iterator[Any], out: Path) -> Found:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    found = Found()
    seen: set[int] = set()
    for frame in frames:
        frame = frame.reset_index(drop=True)
        lengths = frame["messages"].str.len().fillna(0)
        flat = frame.loc[lengths > 0, "messages"].explode()
        index = flat.index
        turns = pd.DataFrame(flat.tolist(), columns=["role", "content"], index=index).astype("str")
        rows = turns.groupby(level=0)
        place = rows.cumcount()

        def rows_with(flags: Any, index: Any = index, frame: Any = frame) -> Any:
            return np.isin(frame.index, index[np.asarray(flags, bool)])

        last = np.asarray(rows["role"].last().reindex(frame.index))
        lengths_in_bytes = pd.Series(pc.binary_length(pa.array(turns["content"])).to_numpy(zero_copy_only=False), index)
        sizes = lengths_in_bytes.groupby(level=0).sum().reindex(frame.index).to_numpy()
        flags = (
            frame["messages"].isna(),
            lengths == 0,
            rows_with(~turns["role"].isin(ROLES)),
            rows_with(~turns["content"].str.contains(r"\S", na=False)),
            rows_with(turns["content"].str.contains(_CONTROL, na=False)),
            ~rows_with(turns["role"] == "assistant"),
            lengths == 1,
            last != "assistant",
            rows_with((turns["role"] == "system") & (place > 0)),
            rows_with((turns["role"] == turns["role"].shift()) & (place > 0)),
            sizes > ROW_LIMIT,
        )
        fault = np.select([np.asarray(flag, bool) for flag in flags], range(len(_ORDER)), len(_ORDER))
        found.rows += len(frame)
        found.bad.update(
            {
                _ORDER[at]: int(n)
                for at, n in zip(*np.unique(fault, return_counts=True), strict=True)
                if at < len(_ORDER)
            }
        )
        good = frame[fault == len(_ORDER)]
        hashes = pd.util.hash_pandas_object(turns, index=False) * (2 * place.to_numpy().astype("uint64") + 1)
        identities = hashes.groupby(level=0).sum().reindex(good.index)
        before = len(seen)
        seen.update(identities)
        found.duplicates += len(good) - (len(seen) - before)
        prompts = turns.loc[turns["role"] == "user", "content"].groupby(level=0).first().reindex(good.index)
        places = pd.util.hash_pandas_object(prompts.str.lower().str.strip(), index=False) % 10
        for part, picked in (("validation", places == 0), ("test", places == 1), ("train", places > 1)):
            chosen = good.loc[picked.to_numpy(), ["messages"]]
            if len(chosen):
                chosen.to_json(out / f"{part}.jsonl", orient="records", lines=True, force_ascii=False, mode="a")
            found.splits[part] += len(chosen)
    return found


def _pandas_jsonl(path: Path, out: Path) -> Found:
    import pandas as pd

    with pd.read_json(path, lines=True, chunksize=_BATCH, dtype=False) as frames:
        return _pandas(frames, out)


def _pandas_parquet(path: Path, out: Path) -> Found:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_BATCH, columns=["messages"])
        return _pandas((batch.to_pandas() for batch in batches), out)


# polars ---------------------------------------------------------------------------------------------------------------


def _polars(rows: Any, out: Path) -> Found:
    import polars as pl

    messages = pl.col("messages")
    roles = messages.list.eval(pl.element().struct.field("role"))
    contents = messages.list.eval(pl.element().struct.field("content"))

    def some(column: Any, flags: Any) -> Any:
        return column.list.eval(flags).list.any()

    element = pl.element()
    flags = (
        messages.is_null(),
        messages.list.len() == 0,
        some(roles, ~element.is_in(ROLES).fill_null(value=False)),
        some(contents, ~element.str.contains(r"\S").fill_null(value=False)),
        some(contents, element.str.contains(_CONTROL)),
        ~roles.list.contains("assistant"),
        messages.list.len() == 1,
        roles.list.last() != "assistant",
        roles.list.slice(1).list.contains("system"),
        some(roles, element == element.shift(1)),
        contents.list.eval(element.str.len_bytes()).list.sum() > ROW_LIMIT,
    )
    fault = pl.coalesce(*(pl.when(flag).then(pl.lit(rule)) for flag, rule in zip(flags, _ORDER, strict=True)))
    asked = messages.list.eval(element.filter(element.struct.field("role") == "user")).list.first()
    place = asked.struct.field("content").str.to_lowercase().str.strip_chars().hash() % 10
    part = (
        pl.when(place == 0).then(pl.lit("validation")).when(place == 1).then(pl.lit("test")).otherwise(pl.lit("train"))
    )
    judged = rows.select("messages", fault=fault, part=part, identity=messages.hash())
    # Held in memory once: written and counted lazily, in one collect_all, everything is judged twice over.
    table = judged.collect(engine="streaming")
    good = table.filter(pl.col("fault").is_null())
    found = Found(rows=table.height, duplicates=good.height - good["identity"].n_unique())
    for name in PARTS:
        chosen = good.filter(pl.col("part") == name).select("messages")
        chosen.write_ndjson(out / f"{name}.jsonl")
        found.splits[name] = chosen.height
    found.bad.update(dict(table["fault"].drop_nulls().value_counts().iter_rows()))
    return found


def _polars_jsonl(path: Path, out: Path) -> Found:
    import polars as pl

    message = pl.Struct({"content": pl.String, "role": pl.String})
    return _polars(pl.scan_ndjson(path, schema={"messages": pl.List(message)}), out)


def _polars_parquet(path: Path, out: Path) -> Found:
    import polars as pl

    return _polars(pl.scan_parquet(path).select("messages"), out)


# duckdb ---------------------------------------------------------------------------------------------------------------

_DUCKDB = r"""
CREATE TEMP TABLE judged AS
WITH taken AS (
    SELECT messages, [m.role FOR m IN messages] AS roles, [m.content FOR m IN messages] AS contents FROM {rows}
)
SELECT messages, hash(messages) AS identity,
    CASE hash(lower(trim(contents[list_position(roles, 'user')]))) % 10
        WHEN 0 THEN 'validation' WHEN 1 THEN 'test' ELSE 'train' END AS part,
    CASE
        WHEN messages IS NULL THEN 'no_messages'
        WHEN len(messages) = 0 THEN 'empty_messages'
        WHEN len([1 FOR r IN roles IF r IS NULL OR r NOT IN ('system', 'user', 'assistant', 'tool')]) > 0
            THEN 'unknown_role'
        WHEN len([1 FOR c IN contents IF c IS NULL OR NOT regexp_matches(c, '\S')]) > 0 THEN 'blank_content'
        WHEN len([1 FOR c IN contents IF regexp_matches(c, '{control}')]) > 0 THEN 'control_character'
        WHEN NOT list_contains(roles, 'assistant') THEN 'no_assistant'
        WHEN len(roles) = 1 THEN 'no_question'
        WHEN roles[-1] <> 'assistant' THEN 'last_not_assistant'
        WHEN list_contains(roles[2:], 'system') THEN 'system_not_first'
        WHEN len([1 FOR r, i IN roles IF i > 1 AND r = roles[i - 1]]) > 0 THEN 'repeated_role'
        WHEN list_sum([strlen(c) FOR c IN contents]) > {limit} THEN 'row_too_large'
    END AS fault
FROM taken;
"""


def _duckdb(rows: str, out: Path) -> Found:
    import duckdb

    found = Found()
    with duckdb.connect(out / "judged.duckdb") as base:
        base.execute("SET preserve_insertion_order = false")
        base.execute(_DUCKDB.format(rows=rows, control=_CONTROL, limit=ROW_LIMIT))
        for part in PARTS:
            base.execute(
                f"COPY (SELECT messages FROM judged WHERE fault IS NULL AND part = '{part}') "
                f"TO '{out / part}.jsonl' (FORMAT json)"
            )
        for fault, part, count in base.execute("SELECT fault, part, count(*) FROM judged GROUP BY ALL").fetchall():
            found.rows += count
            (found.splits if fault is None else found.bad)[part if fault is None else fault] += count
        unique = base.execute("SELECT count(*) - count(DISTINCT identity) FROM judged WHERE fault IS NULL").fetchone()
        found.duplicates = unique[0]
    return found


def _duckdb_jsonl(path: Path, out: Path) -> Found:
    return _duckdb(
        f"read_json('{path}', format = 'newline_delimited', maximum_object_size = {2 * ROW_LIMIT}, "
        "columns = {messages: 'STRUCT(content VARCHAR, role VARCHAR)[]'})",
        out,
    )


def _duckdb_parquet(path: Path, out: Path) -> Found:
    return _duckdb(f"read_parquet('{path}')", out)


PEERS = {
    "datasets, streaming": Peer(jsonl=_datasets("json"), parquet=_datasets("parquet")),
    "datasets, streaming, Arrow": Peer(jsonl=_datasets_arrow("json"), parquet=_datasets_arrow("parquet")),
    "pandas, in chunks": Peer(jsonl=_pandas_jsonl, parquet=_pandas_parquet),
    "pyarrow": Peer(jsonl=_pyarrow_jsonl, parquet=_pyarrow_parquet),
    "polars": Peer(jsonl=_polars_jsonl, parquet=_polars_parquet),
    "duckdb": Peer(jsonl=_duckdb_jsonl, parquet=_duckdb_parquet),
}
