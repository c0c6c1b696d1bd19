"""What becomes of secrets and persons' data in a dataset: told, masked or a reason to refuse, and never shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shared.dataset.judging.rules import Facts
from shared.dataset.preparing.parallel import prepare_files
from shared.dataset.reading.files import LocalFile
from shared.dataset.report import Report
from shared.dataset.report_page import page
from shared.dataset.safety.search import beginning
from shared.dataset.spec.choices import Policy, Safety
from tests.kit.dataset import planted
from tests.kit.rows import row

EMAIL, SECRET = "jane.doe@contoso.com", "Tr0ub4dor&3x"
ALL = Policy(min_rows=1, on_bad_rows="drop", max_bad_percent=100)


def prepared(folder: Path, rows: list[bytes], safety: Safety = "report", **more: Any) -> tuple[Report, list[bytes]]:
    """The report, and all that was written, sorted."""
    path = folder / more.pop("name", "train.jsonl")
    path.write_bytes(b"\n".join(rows) + b"\n")
    policy = replace(more.pop("policy", ALL), safety=safety)
    out = folder / f"out-{safety}-{len(list(folder.iterdir()))}"
    report = prepare_files(files={"train": [LocalFile(path)]}, out=out, policy=policy, **more)
    return report, sorted(line for each in out.glob("*.jsonl") for line in each.read_bytes().splitlines())


def good(count: int = 20) -> list[bytes]:
    return [row(f"question {at}", f"answer {at}").rstrip() for at in range(count)]


def test_by_default_a_secret_is_bad_and_persons_data_are_told(tmp_path: Path) -> None:
    rows = [*good(), planted.row(f"Write to {EMAIL}", "Done."), planted.row(f"The password is {SECRET}", "Thanks.")]
    report, written = prepared(tmp_path, rows)
    assert (report.by_rule, report.warnings["personal_data"], report.dropped) == ({"secret": 1}, 1, 1)
    (told,) = report.faults
    assert (told.line, told.offset) == (22, sum(len(each) + 1 for each in rows[:21]))
    assert told.reason == "a password in message 1 at character 17"
    assert "revoked" in told.cure
    assert report.found == {"e-mail address": 1, "password": 1}
    assert any(EMAIL.encode() in each for each in written)
    assert not any(SECRET.encode() in each for each in written)
    refused, _ = prepared(tmp_path, rows, policy=Policy())
    assert "1 secret" in refused.rejected


def test_reject_makes_both_bad(tmp_path: Path) -> None:
    rows = [*good(), planted.row(f"Write to {EMAIL}", "Done."), planted.row(f"The password is {SECRET}", "Thanks.")]
    report, written = prepared(tmp_path, rows, "reject")
    assert report.by_rule == {"secret": 1, "personal_data_refused": 1}
    assert len(written) == 20


def test_mask_writes_words_and_counts_what_is_written(tmp_path: Path) -> None:
    rows = [planted.row(f"Write to user{at}@contoso.com, pass {at % 2}", "Done.") for at in range(20)]
    report, written = prepared(tmp_path, [*good(), *rows], "mask")
    assert not report.rejected
    assert (report.warnings["masked"], report.found, report.duplicates) == (20, {"e-mail address": 20}, 18)
    assert b"contoso" not in b"".join(written)
    again, same = prepared(tmp_path, written, "report")
    assert again.found == {}
    assert same == written


def test_what_is_masked_has_the_digest_of_what_is_written(tmp_path: Path) -> None:
    held = [each.rstrip() for each in (row("held one", "a"), row("held two", "b"))]
    (tmp_path / "held.jsonl").write_bytes(b"\n".join(held))

    def digest(rows: list[bytes], safety: Safety) -> str:
        path = tmp_path / f"{safety}.jsonl"
        path.write_bytes(b"\n".join(rows))
        files = {"train": [LocalFile(path)]} | {
            part: [LocalFile(tmp_path / "held.jsonl")] for part in ("validation", "test")
        }
        policy = Policy(min_rows=1, safety=safety)
        return prepare_files(files=files, out=None, policy=policy).digest  # type: ignore[arg-type]

    first = [*good(), planted.row(f"Write to {EMAIL}", "Done.")]
    second = [*good(), planted.row("Write to [email]", "Done.")]
    assert digest(first, "mask") == digest(second, "report") != digest(first, "report")


def test_the_arguments_of_tools_stay_json(tmp_path: Path) -> None:
    arguments = {"card": 4111111111111111, "to": [EMAIL, 4111111111111111], EMAIL: 1, "bob@contoso.com": 2}
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": json.dumps(arguments)}}
    messages = [
        {"role": "user", "content": f"Pay, says {EMAIL}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
        {"role": "assistant", "content": "Done."},
    ]
    data = json.dumps({"messages": messages}).encode()
    _, written = prepared(tmp_path, [*good(), data], "mask", facts=Facts(tools=True))
    (made,) = [json.loads(each)["messages"] for each in written if b"tool_calls" in each]
    assert made[0]["content"] == "Pay, says [email]"
    told = json.loads(made[1]["tool_calls"][0]["function"]["arguments"])
    assert len(told) == 4  # no key took the place of another
    assert str(told["card"]).startswith("[card")
    assert "contoso" not in json.dumps(told)
    assert "4111" not in json.dumps(told)


def test_fast_and_slow_way_say_the_same(tmp_path: Path) -> None:
    chance = Random(2)
    rows = [planted.bad_row(chance, at)[0] if at % 7 == 0 else planted.clean_row(chance, at) for at in range(350)]
    # A key that only the slow way knows: each row has other keys.
    slow = [row[:-1] + b', "id_%d": null}' % at for at, row in enumerate(rows)]
    for safety in ("report", "mask", "reject"):
        fast, written = prepared(tmp_path, rows, safety)
        other, same = prepared(tmp_path, slow, safety, policy=replace(ALL))
        assert same == written
        assert other.found == fast.found
        assert other.by_rule == fast.by_rule


@pytest.mark.thorough
def test_any_number_of_processes_says_the_same(tmp_path: Path) -> None:
    chance = Random(4)
    rows = [planted.bad_row(chance, at)[0] if at % 7 == 0 else planted.clean_row(chance, at) for at in range(3000)]
    for safety in ("report", "mask", "reject"):
        told = [prepared(tmp_path, rows, safety, processes=each, piece=100_000) for each in (1, 2, 3)]
        assert told[0] == told[1] == told[2]


def test_no_value_is_shown_whatever_is_wrong_with_its_row(tmp_path: Path) -> None:
    chance = Random(11)
    wrong, values = [], []
    ends: set[str] = set()
    for at in range(240):
        value = planted.planted(chance, at)
        if value.what in ("named", "password", "private key", "address with password"):
            continue
        text = json.dumps(value.value)[1:-1]
        values.append(value.value)
        ends |= {value.value[at : at + 8] for at in range(max(0, len(value.value) - 20), len(value.value) - 8)}
        wrong.append(
            (
                '{"messages": [{"role": "user", "content": "%s"}]}',
                '{"messages": [{"role": "%s", "content": "x"}]}',
                '{"text": "%s"}',
                '{"%s": 1}',
                '{"%s": 1, "%s": 2}',
                '{"messages": "%s"}',
                '"%s"',
                '{"messages": [{"role": "user", "content": "%s',
                '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "%s"}]}',
            )[at % 9].replace("%s", text)
        )
    for name, rows in (
        ("train.jsonl", [each.encode() for each in wrong]),
        ("train.json", [("[" + ",\n".join(each for each in wrong if each.endswith("}")) + "]").encode()]),
        ("train.csv", [b"prompt,response", *(b"a,%b,%b" % (each.encode(), each.encode()) for each in values)]),
    ):
        report, _ = prepared(tmp_path, rows, name=name)
        shown = page(report) + json.dumps(report.as_dict(), ensure_ascii=False)
        found = [(each, shown[shown.index(each) - 60 : shown.index(each) + 30]) for each in ends if each in shown]
        assert not found, found
        assert report.bad_rows > 10


@pytest.mark.thorough
def test_a_thousand_planted_in_a_hundred_thousand_rows(tmp_path: Path) -> None:
    chance = Random(2024)
    values: dict[int, planted.Planted] = {}
    places = set(chance.sample(range(100_000), 1000))
    rows = []
    for at in range(100_000):
        if at in places:
            data, values[at + 1] = planted.bad_row(chance, len(values))
        else:
            data = planted.clean_row(chance, at)
        rows.append(data)
    report, _ = prepared(tmp_path, rows, processes=2, piece=4_000_000, told=5000)
    told = {fault.line for fault in (*report.faults, *report.warned) if fault.rule in ("secret", "personal_data")}
    assert len(told & values.keys()) >= 990
    assert len(told - values.keys()) <= 99
    shown = page(report) + json.dumps(report.as_dict(), ensure_ascii=False)
    assert not [each for each in values.values() if each.value in shown]


def test_lines_of_a_key_that_was_broken_are_not_shown(tmp_path: Path) -> None:
    chance = Random(6)
    lines = [planted.letters(chance, planted.B64, each) + "aB3" for each in (61, 61, 61, 20)]
    lines = ["-----BEGIN RSA PRIVATE KEY-----", *lines[:3], lines[3] + "=="]
    text = "\n".join([*lines, "-----END RSA PRIVATE KEY-----"])
    raw = '{"messages":[{"role":"user","content":"My key: ' + text + '"}]}'
    as_list = json.dumps({"key": lines}, indent=1)
    csv = "prompt,response\n" + "".join(f"q{at},a{at}\n" for at in range(12)) + "My key " + "\n".join(lines) + ",ok\n"
    for name, text in (("train.jsonl", raw), ("list.jsonl", as_list), ("train.csv", csv)):
        report, _ = prepared(tmp_path, [text.encode()], name=name)
        shown = page(report) + json.dumps(report.as_dict())
        assert name == "list.jsonl" or "[secret]" in shown
        assert not [line for line in lines[1:] if line[2:18] in shown]
    assert beginning(b"x " + "\n".join(lines[:2]).encode()[:60], 160) == f"x {lines[0]}[secret]"


@pytest.mark.parametrize("row_of", ["q,a,bob,{},more", "q,bob,{}", "q,{}"])
def test_a_cell_of_a_column_for_passwords_is_not_shown(row_of: str, tmp_path: Path) -> None:
    rows = [b"prompt,response,user,password", *(b"q%d,a%d,bob,x" % (at, at) for at in range(12))]
    report, _ = prepared(tmp_path, [*rows, row_of.format("Zx9kQmw4tR!7").encode()], name="train.csv")
    assert report.by_rule == {"wrong_columns": 1}
    assert "[secret]" in report.faults[0].excerpt
    assert "Zx9kQ" not in page(report) + json.dumps(report.as_dict())
