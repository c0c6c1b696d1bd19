"""finetune.yaml: what is taken, and how each mistake is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset.spec.choices import SIZE_LIMIT, Hub, Policy, Spec
from shared.dataset.spec.finetune import parse
from shared.dataset.split import Part
from shared.errors import Permanent
from shared.serving.gate import Bounds, Gate, Promotion

PAGE = "https://huggingface.co/datasets/acme/chats"


def test_a_full_spec() -> None:
    spec = parse(
        b"""\xef\xbb\xbfmodel: Phi-4
train: train.jsonl
validation: validation.PARQUET
test: test.jsonl.gz
on_bad_rows: drop
max_bad_percent: 1
min_rows: 100.0
split:
  validation: 5
  test: 20
  seed: 7
parameters:
  num_train_epochs: 1
  learning_rate: 5e-6
  apply_lora: true
gate:
  rows: 50
  score: exact
  min_score: 80
  max_drop: 0
  metrics:
    eval_loss: {most: 1.5}
    "train/acc": {least: 0, most: }
    seen: {}
    nothing:
approve: auto
strategy: replace
"""
    )
    assert spec == Spec(
        model="Phi-4",
        train=("train.jsonl",),
        validation=("validation.PARQUET",),
        test=("test.jsonl.gz",),
        policy=Policy(
            on_bad_rows="drop", max_bad_percent=1.0, min_rows=100, validation_percent=5, test_percent=20, seed=7
        ),
        promotion=Promotion(
            approve="auto",
            strategy="replace",
            gate=Gate(
                rows=50,
                score="exact",
                min_score=80.0,
                max_drop=0.0,
                metrics={"eval_loss": Bounds(most=1.5), "train/acc": Bounds(least=0.0), "seen": Bounds()},
            ),
        ),
        parameters={"num_train_epochs": 1, "learning_rate": "5e-6", "apply_lora": True},
    )
    assert spec.files == ("train.jsonl", "validation.PARQUET", "test.jsonl.gz")
    assert type(spec.policy.min_rows) is int


def test_a_source_on_the_hub() -> None:
    spec = parse(
        b"""source: HuggingFaceH4/ultrachat_200k
revision: refs/convert/parquet
config: default
splits: {train: train_sft, test: test_sft, validation: }
percent: 5
"""
    )
    assert spec == Spec(
        hub=Hub(
            name="HuggingFaceH4/ultrachat_200k",
            revision="refs/convert/parquet",
            config="default",
            splits={"train": "train_sft", "test": "test_sft"},
            percent=5.0,
        )
    )
    assert spec.files == ()


def test_a_source_by_its_address() -> None:
    assert parse(f"source: {PAGE}\n".encode()).hub == Hub(name="acme/chats")
    asked = f"source: {PAGE}/viewer/en/train_sft\nrevision: v1\nsplits: {{train: train_sft, test: b}}\n"
    splits: dict[Part, str] = {"train": "train_sft", "test": "b"}
    assert parse(asked.encode()).hub == Hub(name="acme/chats", revision="v1", config="en", splits=splits)
    alone = parse(f"source: {PAGE}/viewer/en/train_sft\n".encode()).hub
    assert alone == Hub(name="acme/chats", config="en", splits={"train": "train_sft"})
    assert parse(f"source: {PAGE}/tree/v1\nrevision: v1\n".encode()).hub == Hub(name="acme/chats", revision="v1")


def test_train_alone_or_a_source_alone_is_enough() -> None:
    assert parse(b"train: a.jsonl\nparameters:\nmodel:\nsplit:\nsource:\n") == Spec(train=("a.jsonl",))
    assert parse(b"source: squad\nsplits:\ntrain:\n") == Spec(hub=Hub(name="squad", splits={"train": "train"}))


def test_without_other_wishes_a_bad_row_refuses_the_dataset() -> None:
    assert parse(b"train: a.csv").policy == Policy(
        on_bad_rows="reject", max_bad_percent=5, min_rows=10, validation_percent=10, test_percent=10, seed=0
    )


def test_without_other_wishes_a_version_goes_live_by_itself_unless_it_is_worse() -> None:
    expected = Promotion(
        approve="auto",
        strategy="blue_green",
        gate=Gate(rows=20, score="chrf", min_score=0, max_drop=5, metrics={}),
    )
    assert parse(b"train: a.csv").promotion == expected
    assert parse(b"train: a.csv\ngate:\napprove:\nstrategy:\n").promotion == expected
    assert parse(b"train: a.csv\napprove: manual").promotion == replace(expected, approve="manual")
    assert parse(b"train: a.csv\ngate: {rows: , metrics: , score: }").promotion == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_told(encoding: str) -> None:
    with pytest.raises(Permanent, match=r"^finetune\.yaml.* save it as"):
        parse("train: a.csv\nmodel: ü".encode(encoding))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"k{number}: 1" for number in range(6_000)),
        "train: a.csv\nparameters:\n" + "".join(f" {number}: 1\n" for number in range(5_500)),
        "train: a.csv\ngate:\n metrics:\n" + "".join(f"  k{number}: {{mots: 1}}\n" for number in range(2_500)),
        "train: a.csv\nparameters: {'" + "x" * 60_000 + "': [1]}",
        "train: a.csv\ngate: {metrics: {'" + "x" * 60_000 + "': 1}}",
    ],
)
def test_however_much_is_wrong_the_sentence_stays_short(text: str) -> None:
    """It is kept in the run's record, and shown."""
    with pytest.raises(Permanent) as told:
        parse(text.encode())
    assert len(str(told.value)) < 20_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not nothing"),
        ("- train", "not a list"),
        ("model: Phi-4", "train or source is missing"),
        ("test: a.csv", "train is missing .train: the name of a file in the same folder"),
        ("percent: 5", "source is missing .source: owner/name"),
        ("trian: a.jsonl\ntrain: a.jsonl", "'trian' is not a key; did you mean train?"),
        ("train: a.jsonl\nzzz: 1", r"'zzz' is not a key \(model, train"),
        ("train: 7", "train is 7, a number"),
        ("train: [a.jsonl, 5]", r"line 1, column 18: train\[1\] is 5, a number; it must be text"),
        ("train: [a.jsonl, b.txt]", r"train\[1\] is 'b.txt'; it must be the name of a"),
        ("train: [a.csv, a.csv]", r"train\[1\] is 'a.csv', which stands there before"),
        ("train: []", "train is a list of 0; it may have 1 to 1,000"),
        ("train: {a.csv: 1}", "train is .*, a mapping; it must be text, or a list of them"),
        ("train: [a.csv, b.csv]\ntest: [c.csv, b.csv]", "train, validation and test must be different files"),
        ("train: [a.csv, ../b.csv]", r"train\[1\] is '../b.csv'"),
        ("train: a.csv\nmodel: [a]", "model is .'a'., a list; it must be text$"),
        ("train: other/a.jsonl", "in the same folder"),
        ("train: a.txt", "name of a file in the same folder, which ends in .jsonl"),
        ("train: a.jsonl.bz2", "which ends in .jsonl"),
        ('train: "a.jsonl\\n"', "which ends in .jsonl"),
        ("train: ''", "1 to 256 characters"),
        ("model: ' '\ntrain: a.csv", "model must have 1 to 256 characters"),
        ('model: "a\\tb"\ntrain: a.csv', r"model is 'a\\tb'; it must be 1 to 255 letters"),
        ("train: a.csv\nvalidation: b.csv\nsource: b", "train, validation and source exclude each other"),
        ("train: a.csv\nrevision: b", "train and revision exclude each other: train for files of the folder or source"),
        ("source: a/b/c", "source is 'a/b/c'; it must be owner/name or name of a dataset"),
        ("source: 'https://hub/datasets/a/b'", "source is 'https://hub/datasets/a/b', which is no address of the Hub"),
        ("source: https://huggingface.co/a/b", "source is 'https://hugg.*co/a/b', which is the address of a model"),
        (f"source: {PAGE}/tree/v1\nrevision: main", "revision is 'main', but source says 'v1': keep one of them"),
        (f"source: {PAGE}/viewer/en\nconfig: de", "config is 'de', but source says 'en'"),
        (f"source: {PAGE}/viewer/en/a\nsplits: {{train: b}}", "splits.train is 'b', but source says 'a'"),
        ("source: a/..", "it must be owner/name"),
        ("source: a--b", "it must be owner/name"),
        ("source: a\nconfig: no", "config is False, true or false; it must be text"),
        ("source: a\nsplits: train", "splits is text; it must hold keys and values .train, validation, test"),
        ("source: a\nsplits: {}", "splits.train is missing"),
        ("source: a\nsplits: {test: b}", "splits.train is missing"),
        ("source: a\nsplits: {train: 'train[:10%]'}", "splits.train is .*name of a split"),
        ("source: a\nsplits: {train: b, test: b}", "splits.train, validation and test must be different splits"),
        ("source: a\nsplits: {train: b, tset: c}", "'tset' is not a key of splits; did you mean splits.test?"),
        ("source: a\npercent: 0", "percent is 0; it must be above 0, at most 100"),
        ("source: a\npercent: 100.5", "percent is 100.5; it must be above 0, at most 100"),
        ("source: a\npercent: '5'", "percent is '5', text; it must be a number, .* .write 5, without quotes"),
        ("source: a\npercent: 5e-1", "percent is '5e-1', text; .*write 0.5"),
        ("source: a\npercent: 5 %", "percent is '5 %', text; it must be a number, above 0, at most 100$"),
        ("source: a\npercent: true", "percent is True, true or false; it must be a number"),
        ("source: a\npercent: .nan", "percent is nan; it must be a number"),
        ("source: a\npercent: .inf", "percent is inf; it must be a number"),
        ("train: a.csv\nmin_rows: 0", "min_rows is 0; it must be 1 to 1,000,000,000"),
        ("train: a.csv\nmin_rows: 10.5", "min_rows is 10.5; it must be a whole number"),
        ("train: a.csv\nmin_rows: yes", "min_rows is True, true or false; it must be a whole number"),
        ("train: a.csv\nmin_rows: " + "9" * 4000, "it must be 1 to"),
        ("train: a.csv\nmax_bad_percent: -1", "max_bad_percent is -1; it must be 0 to 100"),
        ("train: a.csv\non_bad_rows: keep", "on_bad_rows is 'keep'; it must be reject or drop"),
        ("train: a.csv\non_bad_rows: Dropp", "on_bad_rows is 'Dropp'; did you mean drop?"),
        ("train: a.csv\non_bad_rows: no", "on_bad_rows is False, as YAML reads no and off; it must be reject or drop"),
        (
            "train: a.csv\nsplit: {test: 0, validation: 51}",
            "column 15: split.test is 0; .* 1 to 50; .* column 30: split.validation is 51",
        ),
        ("train: a.csv\nsplit: {test: 50, validation: 50}", "split.validation and split.test leave nothing"),
        ("train: a.csv\nsplit: {sed: 1}", "'sed' is not a key of split; did you mean split.seed?"),
        ("train: a.csv\nsplit: 10", "split is a number; it must hold keys"),
        ("train: a.csv\nseed: 1", "'seed' is not a key; did you mean split.seed?"),
        ("train: a.csv\nvalidation_percent: 1", "'validation_percent' is not a key; did you mean split.validation?"),
        ("dataset: a/b", "'dataset' is not a key; did you mean source.$"),
        ("dataset: a.jsonl", "'dataset' is not a key; did you mean train.$"),
        ("datasets: [a.jsonl, b.csv]", "'datasets' is not a key; did you mean train.$"),
        ("model: microsoft/Phi-4\ntrain: a.csv", "model is 'microsoft/Phi-4'; did you mean Phi-4.$"),
        ("model: https://x/../y?\ntrain: a.csv", "it must be 1 to 255 letters"),
        ("train: a.csv\nOn-Bad-Rows: drop", "'On-Bad-Rows' is not a key; did you mean on_bad_rows?"),
        (
            "train: a.csv\nnum_train_epochs: 1",
            "'num_train_epochs' is not a key; did you mean parameters.num_train_epochs",
        ),
        ("train: a.csv\n1: 2", "1 is not a key"),
        ("train: a.csv\napproval: manual", "'approval' is not a key; did you mean approve?"),
        ("train: a.csv\npromote: auto", "'promote' is not a key; did you mean approve?"),
        ("train: a.csv\napprove: yes", "approve is True, as YAML reads yes and on; it must be auto or manual$"),
        (
            "train: a.csv\nsafety: off",
            "safety is False, as YAML reads no and off; it must be report or mask or reject$",
        ),
        ("train: a.csv\napprove: manuel", "approve is 'manuel'; did you mean manual?"),
        ("train: a.csv\nstrategy: blue-green", "strategy is 'blue-green'; did you mean blue_green?"),
        ("train: a.csv\nstrategy: replace\napprove: manual", "manual does not go with strategy: replace: nothing"),
        ("train: a.csv\nstrategy: canary", "strategy is 'canary'; it must be blue_green or replace"),
        ("train: a.csv\nmin_score: 5", "'min_score' is not a key; did you mean gate.min_score?"),
        ("train: a.csv\ngate: 5", "gate is a number; it must hold keys and values .rows, score, min_score"),
        ("train: a.csv\ngate: {rows: 201}", "gate.rows is 201; it must be 0 to 200"),
        ("train: a.csv\ngate: {rows: 1.5}", "gate.rows is 1.5; it must be a whole number, 0 to 200"),
        ("train: a.csv\ngate: {score: rouge}", "gate.score is 'rouge'; it must be chrf or exact"),
        ("train: a.csv\ngate: {score: chrF}", "gate.score is 'chrF'; did you mean chrf?"),
        (
            "train: a.csv\ngate: {max_drop: -1, min_score: 101}",
            "column 18: gate.max_drop is -1; .* column 33: gate.min_score is 101",
        ),
        ("train: a.csv\ngate: {margin: 1}", "'margin' is not a key of gate; did you mean gate.max_drop?"),
        ("train: a.csv\ngate: {rows: 0, min_score: 1}", "gate.min_score counts for nothing where gate.rows is 0"),
        ("train: a.csv\ngate: {metrics: [a]}", "gate.metrics is a list; it must hold names"),
        ("train: a.csv\ngate: {metrics: {eval_loss: 1}}", "gate.metrics.eval_loss is a number; .* .least, most."),
        ("train: a.csv\ngate: {metrics: {1: {most: 1}}}", "gate.metrics: the key 1 is a number; put it in quotes"),
        ("train: a.csv\ngate: {metrics: {' ': {most: 1}}}", "gate.metrics: the key ' ' must be text"),
        (
            "train: a.csv\ngate: {metrics: {eval_loss: {max: 1}}}",
            "'max' is not a key of gate.metrics.eval_loss; did you mean gate.metrics.eval_loss.most?",
        ),
        ("train: a.csv\ngate: {metrics: {a: {most: '1'}}}", "gate.metrics.a.most is '1', text; .* .write 1, without"),
        ("train: a.csv\ngate: {metrics: {a: {most: .nan}}}", "gate.metrics.a.most is nan; it must be a number"),
        ("train: a.csv\ngate: {metrics: {a: {least: -1000000001}}}", "it must be -1,000,000,000 to 1,000,000,000"),
        ("train: a.csv\ngate: {metrics: {a: {least: 2, most: 1}}}", "gate.metrics.a: least is above most"),
        ("train: a.csv\n<<: {model: b}", "line 2, column 1: << is not taken"),
        ("train: a.csv\nparameters: {seed: .nan}", "parameters.seed is nan; it must be a finite number"),
        ("train: a.csv\nparameters: {seed: -.inf}", "parameters.seed is -inf"),
        ("train: a.jsonl\ntest: a.jsonl", "different files"),
        ("train: a.jsonl\nmodel: 4", "model is 4, a number; it must be text"),
        ("train: a.jsonl\nparameters: [1]", "parameters is a list"),
        ("train: a.jsonl\nparameters: {lora_r: [8]}", "parameters.lora_r is a list"),
        ("train: a.jsonl\nparameters: {lora_r: }", "parameters.lora_r is nothing"),
        ("train: a.jsonl\nparameters: {x: 2026-01-01}", "parameters.x is a date"),
        ("train: a.jsonl\nparameters: {1: 2}", "the key 1 is a number"),
        ("train: a.jsonl\n  test: b.jsonl", "line 2, column 7"),
        ("train: a.jsonl\nmodel: 'x", "line 2, column 10"),
        ("train: a.jsonl\ntrain: b.jsonl", "line 2, column 1: the key train is there twice"),
        ("train: &a x.jsonl\ntest: *a", "line 2, column 7: aliases and tags are not taken"),
        ("train: !!python/object/apply:os.getcwd []", "line 1, column 8: aliases and tags"),
        ("train: !!int ''", "line 1, column 8: aliases and tags"),
        ("train: " + "[" * 20_000, "can't be read as YAML"),
        ("train: " + "9" * 5_000, "can't be read as YAML"),
        ("? {a: b}\n: c", "line 1, column 3: a key must be text, and no list or mapping"),
        ("train: a.csv\n2026-01-01: x", "line 2, column 1: the key 2026-01-01 is a date; put it in quotes"),
        ("2001-12-14 21:59:43: x", "line 1, column 1: the key 2001-12-14 21:59:43 is a date"),
        ("2026-13-45: x", "line 1, column 1: the key 2026-13-45 is a date"),
        ("train: a.csv\nparameters: {2026-01-01: 1}", "line 2, column 14: the key 2026-01-01 is a date"),
        ("train: a.csv\nparameters: {x: {2026-01-01: 1}}", "line 2, column 18: the key 2026-01-01 is a date"),
        ("train: a.csv\ngate: {metrics: {2026-01-01: {most: 1}}}", "line 2, column 18: the key 2026-01-01 is a"),
        ("model: 2026-01-01", "model is 2026-01-01, a date; it must be text .put it in quotes."),
        ("model: 2026-13-45", "line 1, column 8: it can't be read as YAML: 2026-13-45 is no date"),
        ("model: 2001-12-14 21:59:43.10 +99:99", "line 1, column 8: .* is no date; put it in quotes"),
        ("source: a\npercent: 1:30.5", "line 2, column 10: 1:30.5 is a number in base 60; write it as a decimal"),
        ("source: a\npercent: 1" + ":59" * 400 + ".5", "line 2, column 10: .* is a number in base 60"),
        ("source: a\npercent: 1" + ":59" * 20_000, "line 2, column 10: .* is a number in base 60"),
        ("source: a\nconfig: 12:30", "line 2, column 9: 12:30 is a number in base 60; .* in quotes if it is text"),
        ("1:30.5: x", "line 1, column 1: 1:30.5 is a number in base 60"),
        ("source: a\npercent: 1.0e+400", "percent is inf; it must be a number"),
        ("train: a.csv\nmin_rows: 0x" + "f" * 9_000, "line 2, column 11: it can't be read as YAML: .* of digits"),
        ("0b_: x", "line 1, column 1: .*0b_ is no number"),
        ("a: " * 3 + "b", "line 1, column 5"),
        ("{a: " * 300, "line 1, column 62: it can't be read as YAML: more than 16 mappings or lists inside"),
        ("".join(" " * depth + "a:\n" for depth in range(300)), "line 16, .*: it can't be read as YAML: more than 16"),
        ("&a [*a]", "line 1, column 5: aliases and tags"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2, column 8: aliases"),
        ("!!set {a}", "line 1, column 1: aliases and tags"),
        ("!!omap [a: 1]", "line 1, column 1: aliases and tags"),
        ("model: !!binary aaaa", "line 1, column 8: aliases and tags"),
        ("model: =", "line 1, column 8: = is not taken; put it in quotes"),
        ("a: b\n---\nc: d", "line 2, column 1: it holds more than one document; take out ---"),
        ("train: a.csv\nmodel: a\0b", "line 2, column 9: the character U.0000 is not taken; save it as plain text"),
        ('train: a.csv\nmodel: "\\ud800"', "line 2, column 8: it holds text that is no Unicode"),
        ('"\\ud800": 1\n"\\ud800": 2', "line 1, column 1: it holds text that is no Unicode"),
        ('a: b\nmodel: "\\UFFFFFFFF"', "line 2, column 11: it can't be read as YAML"),
        ("%YAML 1." + "9" * 5_000, "line 1, column 9: it can't be read as YAML"),
        ("\tmodel: a", "line 1, column 1"),
        ('"a\\nb": 1\n"a\\nb": 2', r"line 3?2?, column 1: the key a\\nb is there twice"),
        ("train: a.csv\nmodel: ../../x", "model is '../../x'; it must be 1 to 255 letters"),
        ("train: a.csv\nmodel: ..", "model is '..'; it must be 1 to 255 letters"),
        ("train: a.csv\nmodel: a#b", "model is 'a#b'; it must be"),
        ("train: a.csv\nmodel: a?b", r"model is 'a\?b'; it must be"),
        ("train: a.csv\nmodel: a%2fb", "model is 'a%2fb'; it must be"),
        ("train: a.csv\nmodel: " + "a" * 256, "model is 'aaaa.*'; it must be 1 to 255 letters"),
        ("source: a\nrevision: ..", "revision is '..'; it must be a branch, tag or commit"),
        ("source: a\nrevision: a/../b", "revision is 'a/../b'; it must be a branch"),
        ("source: a\nrevision: a b", "revision is 'a b'; it must be a branch"),
        ("source: a\nconfig: ../x", "config is '../x'; it must be the name of a configuration"),
        ("source: a\nconfig: ..", "config is '..'; it must be the name of a configuration"),
        ("train: ../x.csv", "train is '../x.csv'; it must be the name of a file in the same folder"),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    with pytest.raises(Permanent, match=r"^finetune\.yaml.*" + told):
        parse(text.encode())


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(Permanent) as told:
        parse(b"modle: x\ntest: 3\nsplit: {sed: 1, test: '5'}\nmin_rows: 0\nparameters: {a: [1], b: .nan}")
    wrong = (
        "modle",
        "train is missing",
        "test is 3",
        "'sed'",
        "split.test",
        "min_rows",
        "parameters.a",
        "parameters.b",
    )
    assert [word for word in wrong if word not in str(told.value)] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1, column 1: it must hold keys and values"),
        ("# none\n\n  - a", "line 3, column 3: it must hold keys and values"),
        ("# none\n\ntest: a.csv", "line 3, column 1: train is missing"),
        ("train: a.csv\nsplit:\n  test: 5\n  sed: 1", "line 4, column 3: 'sed' is not a key of split"),
        ("source: a\nsplits:\n  test: b", "line 3, column 3: splits.train is missing"),
        ("source: a\nsplits: {train: b, validation: c, test: b}", "line 2, column 41: splits.train, validation and"),
        ("train: a.csv\nvalidation: b.csv\nsource: b", "line 3, column 1: train, validation and source exclude"),
        ("train: a.csv\nparameters:\n  lora_r:\n    - 8", "line 4, column 5: parameters.lora_r is a list"),
        ("train: a.csv\nparameters:\n  lora_r:", "line 3, column 10: parameters.lora_r is nothing"),
        ("train: a.csv\nparameters: {'a b': [1]}", "line 2, column 21: parameters.a b is a list"),
        ("train: a.csv\nparameters: {seed: 1, 1: 2}", "line 2, column 23: parameters: the key 1 is a number"),
        ("train: a.csv\ngate:\n  metrics:\n    loss: {max: 1}", "line 4, column 12: 'max' is not a key of gate."),
        ("train: a.csv\ngate: {metrics: {a: {most: 1, least: 2}}}", "line 2, column 38: gate.metrics.a: least"),
        ("train: a.csv\ngate: {rows: 0, min_score: 1}", "line 2, column 17: gate.min_score counts for nothing"),
        ("strategy: replace\ntrain: a.csv\napprove: manual", "line 3, column 1: approve: manual does not go"),
        ("train: a.csv\nsplit:\n  test: 50\n  validation: 50", "line 3, column 3: split.validation and split.test"),
        ("train: a.csv\r\nmin_rows:  0\r\n", "line 2, column 12: min_rows is 0"),
        ("\ufefftrian: a.csv", "line 1, column 1: 'trian' is not a key"),
        ("train: a.csv\nno: 1", "line 2, column 1: False is not a key"),
        ("train: a.csv\nmodel: 'x\u2028\u0085'\nmin_rows: 0", "line 2, column 8: model is"),
        ("# \u2028\u0085\nmin_rows: 0", "line 2, column 1: train or source is missing"),
        ("# a\rmin_rows: 0", "line 2, column 1: train or source is missing"),
        ("train: ü.txt", "line 1, column 8: train is 'ü.txt'"),
    ],
)
def test_each_mistake_has_line_and_column(text: str, told: str) -> None:
    with pytest.raises(Permanent) as error:
        parse(text.encode())
    assert "finetune.yaml, " + told in str(error.value)


def test_what_other_tools_call_a_key_is_guessed_each_in_its_line() -> None:
    with pytest.raises(Permanent) as error:
        parse(b"training_file: chats.jsonl\nepochs: 3\nlearning_rate: 1e-5\n")
    for told in (
        "finetune.yaml, line 1, column 1: 'training_file' is not a key; did you mean train?",
        "; line 2, column 1: 'epochs' is not a key; did you mean parameters.num_train_epochs?",
        "; line 3, column 1: 'learning_rate' is not a key; did you mean parameters.learning_rate?",
    ):
        assert told in str(error.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(Permanent, match="line 2, column 8: it is not UTF-8"):
        parse(b"train: a.jsonl\nmodel: \xff")


def test_a_huge_file_is_not_even_read() -> None:
    with pytest.raises(Permanent, match="it may have 65536"):
        parse(b"#" * (SIZE_LIMIT + 1))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_is_a_spec_or_told(data: bytes) -> None:
    try:
        spec = parse(data)
    except Permanent:
        return
    assert bool(spec.train) != bool(spec.hub)


def test_files_of_a_part_are_taken_in_order_of_name_however_they_are_listed() -> None:
    spec = parse(b"train: [b.jsonl, data/c.csv, a.jsonl]\nvalidation: v.csv\n")
    assert (spec.train, spec.validation, spec.test) == (("a.jsonl", "b.jsonl", "data/c.csv"), ("v.csv",), ())
    assert spec.files == ("a.jsonl", "b.jsonl", "data/c.csv", "v.csv")
