"""Every key of finetune.yaml: what it takes, what it is without it, and what it is for."""

from __future__ import annotations

from shared.dataset.kinds import KINDS
from shared.dataset.spec.choices import Hub, Policy
from shared.dataset.spec.schema import CLEAN, Key, ending
from shared.serving.gate import Gate, Promotion

_FILES, _HUB = "files of the folder", "a dataset of the Hugging Face Hub"


_FILE = CLEAN + r"[^/\\]*" + ending(KINDS)


_A_FILE = f"the name of a {', '.join(KINDS[:-1])} or {KINDS[-1]} file in the same folder"


_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"


_SOURCE = CLEAN + rf"(?!.*(?:--|[.][.]|[.]git$))(?:{_WORD}/)?{_WORD}$"


_A_SOURCE = "owner/name or name of a dataset on the Hugging Face Hub"


_SPLIT = CLEAN + r"[A-Za-z0-9_]+(?:[.][A-Za-z0-9_]+)*$"


_A_SPLIT = "the name of a split (letters, digits, _ and .)"


LARGE = 10**9


KEYS = (
    Key(
        name="model",
        kind="text",
        help="Base model, by its name in the registry.",
        unset="the setting `BASE_MODEL`",
        example="Phi-4",
        also=("base_model", "model_name"),
    ),
    Key(
        name="train",
        kind="text",
        help="File to train on.",
        example="train.jsonl",
        pattern=_FILE,
        must=_A_FILE,
        needed=True,
        way=_FILES,
        unlike="files",
        also=("train_file", "training", "file", "data"),
    ),
    Key(
        name="validation",
        kind="text",
        help="File to validate on while training.",
        unset="cut from the training rows",
        example="validation.jsonl",
        pattern=_FILE,
        must=_A_FILE,
        way=_FILES,
        unlike="files",
        also=("validation_file", "valid", "val", "dev"),
    ),
    Key(
        name="test",
        kind="text",
        help="File that is held out; the finished model is tried with a row of it.",
        unset="cut from the training rows",
        example="test.jsonl",
        pattern=_FILE,
        must=_A_FILE,
        way=_FILES,
        unlike="files",
        also=("test_file", "eval"),
    ),
    Key(
        name="source",
        kind="text",
        help="Dataset of the Hugging Face Hub, `owner/name` or `name`, instead of files.",
        example="HuggingFaceH4/ultrachat_200k",
        pattern=_SOURCE,
        must=_A_SOURCE,
        needed=True,
        way=_HUB,
        also=("dataset", "dataset_name", "hub", "repo"),
    ),
    Key(
        name="revision",
        kind="text",
        help="Branch, tag or commit of the source. A run keeps to the commit that it finds first.",
        default=Hub.revision,
        example="refs/convert/parquet",
        way=_HUB,
        also=("commit", "branch", "tag"),
    ),
    Key(
        name="config",
        kind="text",
        help="Configuration of the source, which the Hub's pages call its subset.",
        unset="the source's default",
        example="en",
        way=_HUB,
        also=("subset", "config_name", "configuration"),
    ),
    Key(
        name="splits",
        kind="keys",
        help="Which split of the source is used for what.",
        default={"train": "train"},
        example={"train": "train_sft", "test": "test_sft"},
        way=_HUB,
        keys=(
            Key(
                name="train",
                kind="text",
                help="Split to train on.",
                example="train_sft",
                pattern=_SPLIT,
                must=_A_SPLIT,
                needed=True,
                unlike="splits",
                also=("training",),
            ),
            Key(
                name="validation",
                kind="text",
                help="Split to validate on while training.",
                unset="cut from the training rows",
                example="validation",
                pattern=_SPLIT,
                must=_A_SPLIT,
                unlike="splits",
                also=("valid", "val", "dev"),
            ),
            Key(
                name="test",
                kind="text",
                help="Split that is held out; the finished model is tried with a row of it.",
                unset="cut from the training rows",
                example="test_sft",
                pattern=_SPLIT,
                must=_A_SPLIT,
                unlike="splits",
                also=("eval",),
            ),
        ),
    ),
    Key(
        name="percent",
        kind="number",
        help="How many percent of each split are taken, from its beginning.",
        default=Hub.percent,
        example=5,
        above=0,
        most=100,
        way=_HUB,
        also=("dataset_split_pc", "percentage", "share"),
    ),
    Key(
        name="on_bad_rows",
        kind="text",
        help="What bad rows mean: `reject` refuses the dataset, `drop` trains on its good rows.",
        default=Policy.on_bad_rows,
        example="drop",
        choices=("reject", "drop"),
        also=("bad_rows", "on_error"),
    ),
    Key(
        name="max_bad_percent",
        kind="number",
        help="With `drop`: if more of the rows are bad, the dataset is refused all the same.",
        default=Policy.max_bad_percent,
        example=1,
        least=0,
        most=100,
    ),
    Key(
        name="min_rows",
        kind="whole",
        help="Good rows that the training data must have at least, before other parts are cut from it.",
        default=Policy.min_rows,
        example=100,
        least=1,
        most=1_000_000_000,
    ),
    Key(
        name="split",
        kind="keys",
        help="How parts without a file or split of their own are cut from the training rows, by the rows' prompts.",
        unset="each as it says",
        example={"validation": 5, "test": 5},
        keys=(
            Key(
                name="validation",
                kind="whole",
                help="Percent of the prompts for validation.",
                default=Policy.validation_percent,
                example=5,
                least=1,
                most=50,
                also=("validation_percent", "valid", "val", "dev"),
            ),
            Key(
                name="test",
                kind="whole",
                help="Percent of the prompts for the test; less than 100 with those for validation.",
                default=Policy.test_percent,
                example=5,
                least=1,
                most=50,
                also=("test_percent", "eval"),
            ),
            Key(
                name="seed",
                kind="whole",
                help="Another seed, another split; the same seed, the same one.",
                default=Policy.seed,
                example=7,
                least=0,
                most=2**31 - 1,
            ),
        ),
    ),
    Key(
        name="parameters",
        kind="values",
        help=(
            "Inputs of the fine-tune component by their names there: text, numbers, true or false. They are checked "
            "against the component before anything is paid for."
        ),
        unset="the base model's own",
        example={"num_train_epochs": 1, "apply_lora": True},
        also=("hyperparameters", "params"),
    ),
    Key(
        name="gate",
        kind="keys",
        help="What a new version has to be like before callers get it.",
        unset="each as it says",
        example={"score": "exact", "min_score": 80},
        also=("gates", "quality_gate", "evaluation", "thresholds"),
        keys=(
            Key(
                name="rows",
                kind="whole",
                help="Held-out rows that the new version and the one that serves are asked. `0`: no comparison.",
                default=Gate.rows,
                example=50,
                least=0,
                most=200,
                also=("held_out_rows", "questions"),
            ),
            Key(
                name="score",
                kind="text",
                help="How an answer is compared with the row's own: by what they have in common, or by being the same.",
                default=Gate.score,
                example="exact",
                choices=("chrf", "exact"),
                also=("scoring", "scorer"),
            ),
            Key(
                name="min_score",
                kind="number",
                help="Score that the new version's answers must have at least, on average.",
                default=Gate.min_score,
                example=80,
                least=0,
                most=100,
                also=("minimum_score", "threshold"),
            ),
            Key(
                name="max_drop",
                kind="number",
                help="How many points its score may lie below that of the version that serves.",
                default=Gate.max_drop,
                example=0,
                least=0,
                most=100,
                also=("margin", "tolerance"),
            ),
            Key(
                name="metrics",
                kind="named",
                help="What metrics of the training must have come to, by the names that the job logs.",
                unset="none is looked at",
                example={"eval_loss": {"most": 1.5}},
                also=("metric",),
                keys=(
                    Key(
                        name="least",
                        kind="number",
                        help="Least last value.",
                        unset="no least",
                        example=0.5,
                        least=-LARGE,
                        most=LARGE,
                        also=("min", "minimum", "at_least"),
                    ),
                    Key(
                        name="most",
                        kind="number",
                        help="Greatest last value.",
                        unset="no most",
                        example=1.5,
                        least=-LARGE,
                        most=LARGE,
                        also=("max", "maximum", "at_most"),
                    ),
                ),
            ),
        ),
    ),
    Key(
        name="approve",
        kind="text",
        help="Who lets a version have callers that passed the gate: `auto`, the gate does; `manual`, a person does.",
        default=Promotion.approve,
        example="manual",
        choices=("auto", "manual"),
        also=("approval", "promote", "promotion"),
    ),
    Key(
        name="strategy",
        kind="text",
        help=(
            "`blue_green` makes the new version beside the one that serves; `replace` removes that one first, which "
            "needs no spare quota, but callers get errors until the new one answers, and nothing is compared with. It "
            "does not go with `approve: manual`."
        ),
        default=Promotion.strategy,
        example="replace",
        choices=("blue_green", "replace"),
        also=("rollout", "deployment_strategy"),
    ),
)
