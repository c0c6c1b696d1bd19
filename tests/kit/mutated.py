"""Specs and names as nobody means them, each known by its number: good ones, mutated, with what attackers try."""

from __future__ import annotations

from random import Random

SPECS = (
    b"model: Phi-4\ntrain: train.jsonl\ntest: held-out.jsonl\non_bad_rows: drop\nmax_bad_percent: 1\n"
    b"split: {validation: 5}\nparameters:\n  num_train_epochs: 2\n  learning_rate: 5e-6\n"
    b"gate: {min_score: 40, metrics: {eval_loss: {most: 1.5}}}\n",
    b"source: HuggingFaceH4/ultrachat_200k\nrevision: refs/convert/parquet\nconfig: default\n"
    b"splits: {train: train_sft, test: test_sft}\npercent: 5\napprove: manual\nstrategy: blue_green\n",
    b"train: train.jsonl\n",
)
_YAML = (
    *(
        b"2026-01-01",
        b"2026-13-45",
        b"2001-12-14t21:59:43.10-05:00",
        b"1:30.5",
        b"1:59" + b":59" * 200 + b".5",
        b"1:30",
    ),
    *(b"9" * 5_000, b"0x" + b"f" * 5_000, b"0b_", b"1e400", b"1.0e+400", b".nan", b"-.inf", b"~", b"no", b"0o7", b"08"),
    *(b"<<", b"=", b"&a ", b"*a", b"!!set {a}", b"!!binary aaaa", b"!x ", b"!!python/object/apply:os.getcwd []"),
    *(
        b"\n---\n",
        b"\n...\n",
        b"%YAML 1.1\n---\n",
        b"? ",
        b"- ",
        b"[" * 40,
        b"{a: " * 40,
        b"|",
        b">",
        b"# ",
        b"'",
        b'"',
    ),
    *(
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\t",
        b"\r",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xf0\x9f\x98\x80",
    ),
    *(
        b'"\\ud800"',
        b'"\\UFFFFFFFF"',
        b'"\\0"',
        b'"a\\nb"',
        b"../../x",
        b"a#b",
        b"a?b",
        b"..",
        b": ",
        b"\n",
        b"  ",
        b", ",
    ),
    *(b"x" * 300, b"metrics", b"parameters:\n  2026-01-01: 1\n", b"gate: {metrics: {1: {most: 1}}}\n", b"train: "),
)
_NAMES: tuple[str, ...] = (
    *("Phi-4", "Phi-3-mini-4k-instruct", "chat_completion_pipeline", "faq", "gpu-cluster", "1", "refs/heads/main"),
)
_NAMES += ("HuggingFaceH4/ultrachat_200k", "rabcdefghijklmno-1", "a b", "50 % & more", "#1", "émile", "\U0001f600")
_PIECES: tuple[str, ...] = (
    *("..", ".", "/", "//", "\\", "#", "?", "%", "%2e", "%2F", "%00", ";", ":", "@", "&", "=", "+", " ", "'", '"'),
)
_PIECES += (
    "../",
    "/..",
    "..;",
    "../../x",
    "~",
    "*",
    "[",
    "{name}",
    "$",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x7f",
    "\x85",
    "\u2028",
)
_PIECES += (
    "\u202e",
    "\ud800",
    "\ufeff",
    "\uff0e\uff0e",
    "\u2215",
    "ä",
    "\U0001f600",
    "::",
    "https://example.invalid/",
    "--",
)
_PIECES += (".git", ".lock", "@{", "azureml:", "a" * 300)


def spec(number: int) -> bytes:
    """A finetune.yaml that was changed in up to five places. Another number, another file."""
    random = Random(number)
    data = bytearray(random.choice(SPECS))
    for _ in range(random.randint(0, 5)):
        at, length = random.randint(0, len(data)), random.choice((0, 0, 1, 3, 10))
        what = random.choice(_YAML) if random.random() < 0.7 else random.randbytes(random.randint(1, 4))
        if random.random() < 0.1:
            what = bytes(data[at : at + 30]) * 2
        data[at : at + length] = what
    return bytes(data)


def name(number: int) -> str:
    """A name that was changed in up to four places; now and then it is as it was. Another number, another name."""
    random = Random(number)
    text = random.choice(_NAMES) if random.random() < 0.8 else ""
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        at, length = random.randint(0, len(text)), random.choice((0, 0, 1, len(text)))
        what = random.choice(_PIECES) if random.random() < 0.8 else chr(random.randrange(0x20, 0x300))
        text = text[:at] + what + text[at + length :]
    return text
