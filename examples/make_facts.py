"""Make a small chat dataset whose answers can be checked: `python examples/make_facts.py DIR [--seed N]`.

It writes DIR/train.jsonl and DIR/test.jsonl in the format of ultrachat_200k. 125 facts are each asked in many
phrasings; the phrasings of the test file are in no training row, so a model that answers them has learned the facts and
not the sentences. It is meant for the local cloud's smallest models, which start with random weights: whatever they
know afterwards they have from this file. The company Brambleworks and its products are invented.
"""

import argparse
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS_PER_FACT = 16
OPENERS = ("", "Hi! ", "I need some help. ", "One more thing. ")


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One kind of fact: what is asked about a subject (`{s}`), and what is answered with its value (`{v}`)."""

    values: dict[str, str]
    answer: str
    asked: tuple[str, ...]
    held_out: tuple[str, ...]


def _pairs(table: str) -> dict[str, str]:
    """Read 'subject value, subject value' where the value is the last word and may hold underscores for blanks."""
    pairs = (entry.strip().rsplit(" ", 1) for entry in table.split(","))
    return {subject: value.replace("_", " ") for subject, value in pairs}


CAPITALS = _pairs(
    "France Paris, Italy Rome, Spain Madrid, Portugal Lisbon, Greece Athens, Austria Vienna, Hungary Budapest, "
    "Poland Warsaw, Norway Oslo, Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, Ireland Dublin, Iceland "
    "Reykjavik, Belgium Brussels, Germany Berlin, Croatia Zagreb, Serbia Belgrade, Bulgaria Sofia, Romania "
    "Bucharest, Ukraine Kyiv, Turkey Ankara, Egypt Cairo, Kenya Nairobi, Ghana Accra, Senegal Dakar, Japan Tokyo, "
    "Thailand Bangkok, Nepal Kathmandu, India New_Delhi, Peru Lima, Chile Santiago, Cuba Havana, Canada Ottawa, "
    "Ecuador Quito"
)
CURRENCIES = _pairs(
    "Japan yen, India rupee, Thailand baht, Sweden krona, Norway krone, Poland zloty, Hungary forint, Turkey "
    "lira, Peru sol, Ghana cedi, Kenya shilling, Ukraine hryvnia, Iceland króna, Chile peso, Canada dollar"
)
SYMBOLS = _pairs(
    "hydrogen H, helium He, lithium Li, carbon C, nitrogen N, oxygen O, fluorine F, neon Ne, sodium Na, magnesium "
    "Mg, aluminium Al, silicon Si, sulfur S, chlorine Cl, potassium K, calcium Ca, titanium Ti, iron Fe, cobalt "
    "Co, nickel Ni, copper Cu, zinc Zn, silver Ag, tin Sn, tungsten W, platinum Pt, gold Au, mercury Hg, lead Pb, "
    "uranium U"
)
PRODUCTS = (
    "Owl lamp",
    "Fern speaker",
    "Otter scale",
    "Wren clock",
    "Moth projector",
    "Pike camera",
    "Heron kettle",
    "Vole tracker",
    "Finch radio",
)


def _of_products(*values: str) -> dict[str, str]:
    return dict(zip(PRODUCTS, values, strict=True))


RELATIONS = (
    Relation(
        values=CAPITALS,
        answer="The capital of {s} is {v}.",
        asked=(
            "What is the capital of {s}?",
            "Which city is the capital of {s}?",
            "Name the capital of {s}.",
            "Do you know the capital city of {s}?",
            "Tell me the capital of {s}, please.",
            "What is {s}'s capital called?",
        ),
        held_out=("Which city do they call the capital of {s}?", "Please name the capital city of {s}."),
    ),
    Relation(
        values=CURRENCIES,
        answer="In {s} people pay with the {v}.",
        asked=(
            "What is the currency of {s}?",
            "Which currency do people use in {s}?",
            "Name the currency of {s}.",
            "What do people pay with in {s}?",
            "Tell me which money is used in {s}, please.",
            "What is {s}'s currency called?",
        ),
        held_out=("Which money do people pay with in {s}?", "Please tell me the currency of {s}."),
    ),
    Relation(
        values=SYMBOLS,
        answer="The chemical symbol for {s} is {v}.",
        asked=(
            "What is the chemical symbol for {s}?",
            "Which symbol does {s} have?",
            "Name the symbol of the element {s}.",
            "Do you know the chemical symbol of {s}?",
            "How is {s} written in the periodic table?",
            "Tell me the symbol for {s}, please.",
        ),
        held_out=("Which chemical symbol stands for {s}?", "Please name the symbol for the element {s}."),
    ),
    Relation(
        values=_of_products("14", "9", "30", "25", "4", "6", "3", "60", "18"),
        answer="The {s} runs for {v} hours on one charge.",
        asked=(
            "How long does the battery of the {s} last?",
            "What is the battery life of the {s}?",
            "How many hours does the {s} run on one charge?",
            "Tell me the battery life of the {s}, please.",
            "For how long can I use the {s} before it is empty?",
            "How long does my {s} run on its battery?",
        ),
        held_out=("How many hours does the battery of my {s} last?", "Please tell me the battery life of my {s}."),
    ),
    Relation(
        values=_of_products(
            "hold the power button for 10 seconds",
            "press play and volume down together",
            "take out the battery for one minute",
            "turn the dial left three times",
            "hold the menu button for 5 seconds",
            "press the shutter twice while it starts",
            "lift the lid and press the switch",
            "shake it until the light turns blue",
            "pull out the antenna and press tune",
        ),
        answer="To reset the {s}, {v}.",
        asked=(
            "How do I reset the {s}?",
            "How can I restart my {s}?",
            "My {s} is stuck, how do I restart it?",
            "Tell me how to reset the {s}, please.",
            "What do I do to reset the {s}?",
            "The {s} does not react. How is it reset?",
        ),
        held_out=("My {s} does not react, how do I reset it?", "Please tell me how I can reset the {s}."),
    ),
    Relation(
        values=_of_products("2", "3", "5", "10", "1", "4", "6", "7", "8"),
        answer="The warranty of the {s} is {v} years long, counted from the day you bought it.",
        asked=(
            "How long is the warranty of the {s}?",
            "For how many years is the {s} under warranty?",
            "What warranty comes with the {s}?",
            "Tell me about the warranty of the {s}, please.",
            "How many years of warranty does my {s} have?",
            "When does the warranty of my {s} end?",
        ),
        held_out=("How many years is my {s} under warranty?", "Please tell me how long the warranty of the {s} is."),
    ),
    Relation(
        values=_of_products("90", "75", "49", "65", "240", "310", "80", "35", "120"),
        answer="The {s} costs {v} euros in our shop.",
        asked=(
            "How much does the {s} cost?",
            "What is the price of the {s}?",
            "What does the {s} cost in your shop?",
            "Tell me the price of the {s}, please.",
            "I want to buy the {s}. What do I pay?",
            "For how much do you sell the {s}?",
        ),
        held_out=("What do I pay for the {s} in your shop?", "Please tell me how much the {s} costs."),
    ),
    Relation(
        values=_of_products("blue", "green", "white", "black", "grey", "red", "silver", "orange", "yellow"),
        answer="The {s} is sold in {v}.",
        asked=(
            "In which colour is the {s} sold?",
            "What colour does the {s} have?",
            "Which colour does the {s} come in?",
            "Tell me the colour of the {s}, please.",
            "What is the colour of the {s}?",
            "Do you know which colour the {s} has?",
        ),
        held_out=("Which colour is the {s} sold in?", "Please tell me which colour the {s} comes in."),
    ),
)


def row(question: str, answer: str) -> dict[str, Any]:
    """One row as ultrachat_200k has it: the prompt, the prompt's SHA-256 in hex, and the two messages."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"prompt": question, "prompt_id": hashlib.sha256(question.encode()).hexdigest(), "messages": messages}


def facts() -> Iterator[tuple[Relation, str, str]]:
    """Every fact: its relation, its subject and the whole answer."""
    for relation in RELATIONS:
        for subject, value in relation.values.items():
            yield relation, subject, relation.answer.format(s=subject, v=value)


def make(seed: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training rows and test rows, both shuffled with `seed`."""
    shuffled = random.Random(seed)
    train, test = [], []
    for relation, subject, answer in facts():
        questions = [opener + phrasing.format(s=subject) for phrasing in relation.asked for opener in OPENERS]
        train += [row(question, answer) for question in shuffled.sample(questions, ROWS_PER_FACT)]
        test += [row(phrasing.format(s=subject), answer) for phrasing in relation.held_out]
    shuffled.shuffle(train)
    shuffled.shuffle(test)
    return train, test


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a chat dataset of facts in many phrasings.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    train, test = make(options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    write_rows(options.folder / "train.jsonl", train)
    write_rows(options.folder / "test.jsonl", test)
    print(f"{len(train)} training rows and {len(test)} test rows in {options.folder}")


if __name__ == "__main__":
    main()
