"""report.md: what stands in it, and that nothing which a dataset holds means anything there."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shared.dataset.judging.rules import RULES, Fault
from shared.dataset.preparing.scan import prepare
from shared.dataset.reading.files import LocalFile
from shared.dataset.report import Report
from shared.dataset.report_page import bars, code, fenced, page, place_of, tokens_of, turns_of
from shared.dataset.spec.choices import Policy
from shared.logs import visible
from tests.kit.rows import of, row

READER = MarkdownIt("commonmark", {"html": True}).enable("table")
NASTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "```\n# Heading\n",
    "````text\n",
    "`` ` ``",
    "` ",
    "```",
    "`````",
    "| a | b |\n|---|---|",
    "[x](javascript:alert(1)) ![y](http://h/i.png) <http://h>",
    "\n\n---\n\n# Heading\n\n<b>",
    "\x1b[31mred\x1b]0;t\x07 \u202eoverride\u2028line\x85next\u2029par",
    "\ud800",
    "\\",
    "&lt;",
    "\\|",
    "|",
]
texts = st.one_of(st.text("`|\\<>[]()!#*_~&\n\r\t -=:\x1b\u2028\ud800ab", max_size=30), st.text(max_size=20))


def check(path: Path, rows: list[bytes], **others: Any) -> Report:
    path.write_bytes(b"".join(line + b"\n" for line in rows))
    return prepare(files={"train": LocalFile(path)}, sinks=None, **others)


def good(count: int) -> list[bytes]:
    return [row(f"prompt {number}", f"answer {number}") for number in range(count)]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("bad") / "train.jsonl"
    return check(path, [*good(30), of({"role": "narrator", "content": "hi"}), b"{", *good(1)])


def test_a_rejected_dataset_is_explained(bad: Report) -> None:
    told = page(bad, "Second try")
    assert told.startswith("# Second try\n\n**Rejected**")
    assert "| `train.jsonl` | train | messages | 33 | 31 |" in told
    assert "| [unknown_role](docs/rules.md#unknown_role) | 1 | Use one of the roles" in told
    place = f"train.jsonl, line 31 (byte {bad.faults[0].offset:,})"
    assert f"### unknown_role\n\n```text\n{place}: the role of message 1 is 'narrator'\n    {{\"messages\": " in told
    assert "### duplicate_row\n\n```text\ntrain.jsonl, line 33: the same row as train.jsonl, line 1\n```" in told
    assert "1 row is a copy" in told
    assert "## Split" not in told


def test_an_accepted_dataset_shows_its_split(tmp_path: Path) -> None:
    told = page(check(tmp_path / "a.jsonl", good(200)))
    assert "**Accepted.** 200 rows: " in told
    assert "| validation | " in told
    assert "cut from train, by conversation" in told
    assert re.search(r"\n\n[0-9]+ test rows: a drop under [0-9]+ points can't be seen, as it may be chance.\n", told)
    assert "What is wrong" not in told
    assert told.count('\n{"messages":[{"role":"user"') == 3


def test_rows_that_were_left_out_are_listed_too(tmp_path: Path) -> None:
    told = page(check(tmp_path / "a.jsonl", [*good(200), b"{"], policy=Policy(on_bad_rows="drop")))
    assert "1 bad row was left out" in told
    assert "## Bad rows, which are left out" in told


def test_many_faults_are_cut_short(tmp_path: Path) -> None:
    told = page(check(tmp_path / "a.jsonl", [*good(20), *[b"{"] * 2000]))
    assert told.count("\n    {\n") == 1
    assert "\n    and 1,999 more like it: lines 22 to 1,020 ...\n" in told
    assert "2,000 in all; report.json has 1,000." in told


def test_every_rule_can_be_told(bad: Report) -> None:
    faults = tuple(Fault(file="a.jsonl", part="train", rule=rule, reason="x", line=3, offset=9) for rule in RULES)
    counts = dict.fromkeys(RULES, 1)
    told = page(replace(bad, by_rule=counts, faults=faults))
    assert all(f"[{rule}](docs/rules.md#{rule})" in told for rule in RULES)


def outline(told: str) -> tuple[Counter[str], list[str]]:
    """The kinds of tokens that a reader of Markdown finds, and the addresses that links lead to."""
    tokens = [each for block in READER.parse(told) for each in (block, *(block.children or ()))]
    links = sorted({str(each.attrs["href"]) for each in tokens if each.type == "link_open"})
    return Counter(each.type for each in tokens), links


@given(texts, texts, texts, texts)
@example(*["<b>`|\n"] * 4)
def test_what_a_dataset_holds_means_nothing(bad: Report, name: str, reason: str, excerpt: str, first: str) -> None:
    def made(name: str, reason: str, excerpt: str, first: str) -> Report:
        faults = tuple(replace(fault, file=name, reason=reason, excerpt=excerpt) for fault in bad.faults)
        return replace(
            bad,
            faults=faults,
            warned=(),
            rejected=f"x{reason}",
            files={"train": name},
            first_rows=(first,),
            duplicates=0,
        )

    told = page(made(f"x{name}x", reason, excerpt, first), f"_{name}_")
    told.encode()
    assert outline(told) == outline(page(made("a.jsonl", "reason", "excerpt", "first"), "a.jsonl"))


@pytest.mark.parametrize("text", NASTY)
def test_foreign_text_can_still_be_read(text: str) -> None:
    shown = visible(text)
    assert "\n" not in shown
    inline = READER.parse(f"| {code(text).replace('|', chr(92) + '|')} |\n|---|")
    spans = [each.content for block in inline for each in block.children or () if each.type == "code_inline"]
    assert [span.strip() for span in spans] == [shown.strip()]
    (block,) = READER.parse(fenced([text, "more"]))
    assert (block.type, block.content) == ("fence", f"{shown}\nmore\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 北京 🙂", "größe 北京 🙂"),
        ("a\x1b[31m\x00\x7f\x9b", r"a\x1b[31m\x00\x7f\x9b"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202e\u2066\ufeff\u2028", r"\u202e\u2066\ufeff\u2028"),
        ("\ud800", r"\ud800"),
        ("👩\u200d🚀 می\u200cخواهم", "👩\u200d🚀 می\u200cخواهم"),
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_only_what_would_be_obeyed_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_turns_are_counted_one_by_one_or_in_ranges(bad: Report) -> None:
    assert turns_of(replace(bad, turns={2: 5, 10: 1})) == [("2", 5), ("10", 1)]
    many = turns_of(replace(bad, turns={**dict.fromkeys(range(1, 14), 1), 40: 2}))
    assert many == [("1", 1), ("2", 1), ("3-4", 2), ("5-8", 4), ("9-16", 5), ("17-32", 0), ("33-64", 2)]
    assert turns_of(replace(bad, turns={})) == []


def test_tokens_are_in_ranges_without_gaps(bad: Report) -> None:
    assert tokens_of(replace(bad, tokens={1: 1, 2: 2, 8: 3})) == [("0", 1), ("1", 2), ("2-3", 0), ("4-7", 3)]
    assert tokens_of(replace(bad, tokens={})) == []


def test_ranges_of_tokens_hold_what_they_say(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", [*good(20), row("x", "y" * 4000)])
    (label, _) = tokens_of(report)[-1]
    first, last = (int(each.replace(",", "")) for each in label.split("-"))
    assert first <= report.longest <= last


def test_a_single_row_is_a_bar_and_none_is_no_bar() -> None:
    assert bars([("1", 1), ("20", 1000), ("3", 0)], 10) == [
        " 1      1  █",
        "20  1,000  ██████████",
        " 3      0",
    ]
    assert bars([], 10) == []


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        ({"rule": "not_json", "line": 1, "offset": 0}, (1, "line 1 (byte 0)")),
        ({"rule": "not_json", "file": "a.parquet", "row_group": 0, "row": 3, "line": 3}, (None, "row group 0, row 3")),
        ({"rule": "not_json", "file": "owner/chats", "line": 7}, (None, "row 7")),
        ({"rule": "duplicate_row", "line": 7}, (7, "line 7")),
        ({"rule": "empty_file", "line": 1, "offset": 0}, (None, "")),
        ({"rule": "too_few_rows", "line": 1}, (None, "")),
        ({"rule": "not_gzip", "file": "a.jsonl.gz", "line": 1, "offset": 0}, (None, "")),
        ({"rule": "not_json_array", "file": "a.json", "line": 9, "offset": 70}, (9, "line 9 (byte 70)")),
        ({"rule": "mixed_formats", "line": 9, "offset": 70, "excerpt": "{"}, (9, "line 9 (byte 70)")),
    ],
)
def test_places(fault: dict[str, Any], place: tuple[int | None, str]) -> None:
    assert place_of(Fault(**({"file": "a.jsonl", "part": "train", "reason": "x"} | fault))) == place


def test_a_report_can_be_read_back(bad: Report) -> None:
    assert Report.of(json.loads(json.dumps(bad.as_dict()))) == bad
    with pytest.raises(ValueError, match="rejected"):
        Report.of({"faults": []})
