"""What people really have: the verdict on each set of tests/dataset/cases, by `droptune check`.

`python -m tests.kit.dataset.cases` prints the table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.dataset import cases


@pytest.mark.parametrize("name", cases.names())
def test_the_verdict_is_right(name: str, tmp_path: Path) -> None:
    right = cases.verdict(name)
    said = cases.asked(cases.laid_out(name, tmp_path), right.options)
    wrong = list(cases.wrong(right, said))
    assert not wrong, f"{wrong}\n{said.told}"


def test_a_set_is_laid_out_as_somebody_has_it(tmp_path: Path) -> None:
    place = cases.laid_out("120-hf-shards", tmp_path)
    assert (place / ".gitattributes").read_text() == "*.parquet\n"
    assert sorted(path.name for path in cases.laid_out("122-mac-and-editor-litter", tmp_path).iterdir()) == [
        ".DS_Store",
        "._train.jsonl",
        ".train.jsonl.swp",
        "train.jsonl",
        "~$train.csv",
    ]
