"""Where something of a row is shown to people, its secrets and persons' data are not."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from cli import check, fetch
from shared.run.actions import gate
from tests.kit.dataset import planted
from tests.kit.rows import row

VALUES = [planted.planted(Random(at), at) for at in range(60)]


@pytest.mark.parametrize("safety", ["report", "mask", "reject"])
@pytest.mark.parametrize("as_json", [True, False])
def test_check_shows_no_value(safety: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = Random(5)
    good = [row(f"question {at}", f"answer {at}").rstrip() for at in range(30)]
    bad = [planted.bad_row(chance, at) for at in range(60)]
    (tmp_path / "train.jsonl").write_bytes(b"\n".join([data for data, _ in bad] + good))
    asked = check.Wanted(path=tmp_path, safety=safety, json=as_json, everything=True)  # type: ignore[arg-type]
    code = check.check(asked)
    assert code == (0 if safety == "mask" else check.BAD)
    said = capsys.readouterr().out
    assert "secret" in said
    assert not [value for _, value in bad if value.value in said or json.dumps(value.value)[1:-1] in said]


def test_rows_that_are_fetched_are_shown_without_values() -> None:
    shown = json.dumps(fetch._short([{"text": f"so: {each.value}, yes"} for each in VALUES[:4]]), ensure_ascii=False)
    assert not [each for each in VALUES if each.value in shown]
    assert fetch._short("a" * 500) == "a" * 100 + "…"


def test_what_is_noted_of_held_out_rows_has_no_values() -> None:
    assert not [each for each in VALUES if each.value in gate._cut(f"so: {each.value}, yes")]
    assert gate._cut("a" * 5000) == "a" * gate.EXCERPT
