"""Licences that forbid what a dataset is used for here: told, with the reason; what is unknown is not.

Only what a licence's own words say, of the few that say something about it:
- CC BY-NC and its kin, 1 and 2(a)(1): "for NonCommercial purposes only"; a model that serves callers seldom is that.
- CC BY-ND and its kin, 2(a)(1)(B): adapted material may be made, but not shared.
- Llama 2 and 3 Community License, 1.b.v: neither the model nor its outputs may be used to improve another large
  language model. From Llama 3.1 on that is allowed.
Which data a licence covers, and whether a model is an adaptation of them, is for people to say. Called by `check` and
`fetch`, and by the app and its job where they prepare the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from shared.dataset.judging.rules import Fault
from shared.dataset.report import Report

CARD = "README.md"
CARD_LIMIT = 1024 * 1024
_KEY = re.compile(r"^licen[sc]e\s*:\s*(.*)$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{1,60}")
_PARTS = re.compile(r"[a-z]+|[0-9.]+")


def of_card(text: str) -> tuple[str, ...]:
    """The licences that a dataset's card names, in small letters: those in the lines between `---` at its beginning."""
    lines = iter(text.lstrip("\ufeff").splitlines())
    if next(lines, "").strip() != "---":
        return ()
    found: list[str] = []
    listed = False
    for line in lines:
        if line.strip() == "---":
            return tuple(dict.fromkeys(found))
        if key := _KEY.match(line):
            listed = not key[1].split("#")[0].strip()
            found += _NAME.findall(key[1].split("#")[0])
        elif listed and line.strip().startswith("-"):
            found += _NAME.findall(line.split("#")[0])
        elif line.strip():
            listed = False
    return ()  # what never ends is no such block


def in_card(card: Path) -> tuple[str, ...]:
    """The same of a card that is a file here."""
    with card.open("rb") as file:
        return of_card(file.read(CARD_LIMIT).decode(errors="replace"))


def against(licences: Iterable[str], model: str) -> Iterator[str]:
    """What these licences of a dataset say against training `model` (empty: any) on it for others to call; mostly
    nothing."""
    for licence in licences:
        name = licence.lower()
        parts = _PARTS.findall(name)
        llama = re.fullmatch(r"llama-?([23])(?:\.0)?", name)
        if "nc" in parts and "cc" in parts:
            yield f"its licence is {licence}: for non-commercial purposes only, and so is what is made of it"
        elif "nd" in parts and "cc" in parts:
            yield f"its licence is {licence}: what is made of the data may not be shared"
        elif llama and "llama" not in model.lower():
            other = f", as {model} is" if model else ""
            yield f"its licence is {licence}: what Llama {llama[1]} says may improve no other model{other}"


def told(report: Report, reasons: Iterable[str]) -> Report:
    """The report with a warning for each of the reasons."""
    more = tuple(Fault(file=CARD, part="train", rule="licence", reason=reason, line=1) for reason in reasons)
    if not more:
        return report
    return replace(report, warned=(*report.warned, *more), warnings={**report.warnings, "licence": len(more)})
