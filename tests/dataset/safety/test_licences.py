"""Licences of a dataset's card, and what they say against its use."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import check
from shared.dataset.safety.licences import against, of_card
from tests.kit.rows import row

CARDS = {
    "---\nlicense: cc-by-nc-4.0\n---\n# Data": ("cc-by-nc-4.0",),
    "---\nlanguage: en\nlicense:\n- mit\n- llama3  # or so\nsize: big\n- no\n---\n": ("mit", "llama3"),
    "---\nlicense: [apache-2.0, 'CC-BY-ND-4.0']\n---": ("apache-2.0", "CC-BY-ND-4.0"),
    "# Data\n\nlicense: cc-by-nc-4.0\n": (),
    "---\nlicense: cc-by-nc-4.0\n": (),
    "---\n  license: mit\n---\n": (),
    "": (),
}


@pytest.mark.parametrize("card", CARDS)
def test_a_cards_licences_are_read(card: str) -> None:
    assert of_card(card) == CARDS[card]


@pytest.mark.parametrize(
    ("licence", "model", "says"),
    [
        ("cc-by-nc-4.0", "Phi-4", "non-commercial"),
        ("CC-BY-NC-SA-3.0", "Phi-4", "non-commercial"),
        ("cc-by-nd-4.0", "Phi-4", "shared"),
        ("llama2", "Phi-4", "no other model, as Phi-4 is"),
        ("llama3", "Phi-4", "no other model"),
        ("llama3", "Meta-Llama-3-8B-Instruct", ""),
        ("llama3.1", "Phi-4", ""),
        ("cc-by-sa-4.0", "Phi-4", ""),
        ("other", "Phi-4", ""),
        ("unknown", "Phi-4", ""),
        ("ncsa", "Phi-4", ""),
    ],
)
def test_only_what_a_licence_forbids_is_told(licence: str, model: str, says: str) -> None:
    told = list(against([licence], model))
    assert (says in told[0]) if says else told == []


def test_check_warns_of_the_licence_beside_the_data(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(row(f"question {at}", f"answer {at}") for at in range(20)))
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    (report,) = check.judged(check.planned(check.Wanted(path=tmp_path)), processes=1)
    assert (report.warnings, report.rejected) == ({"licence": 1}, "")
    assert report.warned[-1].place == "README.md"
