"""Writes docs/finetune.md and docs/finetune.schema.json from the table of keys in shared/dataset/spec/finetune.py.

`.venv/bin/python -m scripts.finetune_page`; tests/dataset/spec/test_schema.py fails when one of them is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared import naming
from shared.dataset.kinds import ENDINGS
from shared.dataset.names import BEHIND, VALIDATION, Use, words_for
from shared.dataset.spec.choices import FILE_NAME, SIZE_LIMIT
from shared.dataset.spec.keys import KEYS
from shared.dataset.spec.schema import TEXT_LIMIT, Key, json_schema
from shared.dataset.spec.strict import DEPTH
from shared.serving.chance import LEAST_ROWS, MOST_ASKED, least_seen, points
from shared.serving.gate import LONGEST
from shared.serving.payload import GREEDY

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "finetune.md"
SCHEMA = DOCS / "finetune.schema.json"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _words(use: Use) -> str:
    return _listed(words_for(use))


_HELD = (
    *(("model", naming.BASE_MODEL), ("source", naming.HUB_SOURCE)),
    *(("revision", naming.HUB_REVISION), ("config", naming.HUB_CONFIG)),
)
LEAST = {rows: points(least_seen(rows)) for rows in (16, 20, MOST_ASKED)}
NAMES = "\n".join(f"- `{key}`: {kind.must}" for key, kind in _HELD)
HEAD = f"""# {FILE_NAME}

A file of this name in a dataset's folder says what to make of the data beside it. It is optional: without it the
folder's files are told apart by their names (see below), and everything has its default. It may come before or after
the files; a changed one is a new run. What the rows must be is in [rules.md](rules.md). Made from
`shared/dataset/spec/finetune.py` by `scripts/finetune_page.py`.

With files of the folder:

```yaml
model: Phi-4
train: train.jsonl          # or .ndjson, .json, .csv, .tsv, .parquet; also .gz and .zst; or a list: [a.jsonl, b.csv]
test: held-out.jsonl        # validation is cut from train, as nobody names a file for it
on_bad_rows: drop
max_bad_percent: 1
split: {{validation: 5}}
parameters:
  num_train_epochs: 2
gate: {{min_score: 40, metrics: {{eval_loss: {{most: 1.5}}}}}}
```

With a dataset of the Hugging Face Hub, which is read in the cloud, so that nothing else has to be uploaded:

```yaml
source: HuggingFaceH4/ultrachat_200k
splits: {{train: train_sft, test: test_sft}}
percent: 5
```

## Keys

Needed is `train` or `source`; the keys of the one exclude those of the other:

{{ways}}

A key without a value is as good as none. Text has at most {TEXT_LIMIT} characters.

| key | what | value | default |
|---|---|---|---|
"""
TAIL = f"""
## Before callers get a new version

Each new version is asked `gate.rows` rows that it was not trained on, and so is the version that serves, both greedily.
The rows come from the first 4 MiB of the test rows, in an order of the run's own; rows with tool turns are left out, as
an endpoint takes none. An answer scores 0 to 100:

- `chrf`, for answers of free text: the character n-grams (of up to six characters) that it has in common with the
  row's own answer, recall counting twice. White space does not count, case does. The first {LONGEST:,} characters of
  both are looked at.
- `exact`, for labels, numbers and other short answers: 100 where it is the row's own, else 0. Neither white space nor
  case counts.

Answers end after {GREEDY["max_new_tokens"]} tokens: where the rows' own are longer, the best model is below 100, too.
The score of a version is the mean over the rows. The new one passes with at least `min_score`, and at most `max_drop`
points below the one that serves, if every metric of `gate.metrics` had a last value within its bounds; a metric that
the job did not log fails, and is told with those that it did. What does not pass is removed, and what served goes on
serving; the run says why, and `prepared/<run>/<attempt>/answers.json` holds the questions, the answers and the scores.

With few rows chance decides much: a drop under {LEAST[16]} for 16 rows, under {LEAST[20]} for 20, under
{LEAST[MOST_ASKED]} for {MOST_ASKED}, the most, may be chance alone (one-sided, at 5 %, for scores that spread as
wide as scores can: `shared/serving/chance.py`), and with fewer than {LEAST_ROWS} rows so may any. `droptune check`
and the report say it of your test rows, and a version that is held back for less hears so.

Rows that what serves fails on are left out of the comparison, not of `min_score`, and if it can't be asked at all
(somebody broke or deleted it) there is none; the run says so. Other values of `gate`, `approve` and `strategy` alone
are nothing new to train on: the same data and parameters as a version that went live end as already trained.

## Mistakes

A wrong {FILE_NAME} ends in a rejected run that names all that is wrong at once, before anything is paid for. Keys that
are not in the table are mistakes: a misspelt `min_rows` would otherwise be one that never counts. So are numbers in
quotes (but in `parameters`, which the component judges), a key that is there twice, YAML's aliases, tags and merges
(`<<`), dates as keys, numbers in base 60 (`1:30`), more than {DEPTH} levels, more than one document,
and a file of more than {SIZE_LIMIT // 1024} KiB. Each mistake is told
with line and column, in the file's order, and with what was probably meant: `epochs` is
`parameters.num_train_epochs`. YAML 1.1 is read: `no`, `on` and `off` are truth values,
`5e-1` is text, and a name that looks like a number or a date needs quotes. Of more than 20 mistakes the first ones are
told.

Names that end in addresses are held to what they can be, so that none asks for something else:

{NAMES}

## In the editor

Editors with a YAML language server complete and check the keys when the file begins with the address of
[finetune.schema.json](finetune.schema.json): a path from the file's own folder, or where your repository serves raw
files.

```yaml
# yaml-language-server: $schema=../droptune/docs/finetune.schema.json
train: train.jsonl
```

```yaml
# yaml-language-server: $schema=https://HOST/OWNER/REPOSITORY/raw/main/docs/finetune.schema.json
train: train.jsonl
```

The schema (JSON Schema, draft 2020-12) and Droptune judge alike. Some mistakes a schema can't tell, and only Droptune
refuses them: the same file or split for two uses, percentages of `split` that leave nothing to train on, a `min_score`
where `gate.rows` is 0, a metric whose `least` is above its `most`, `.nan` and `.inf`, text that is no Unicode, keys
that are no text, and what is wrong with the YAML itself. Which parameters there are, and what they may be, depends on
the base model and its component: `droptune check` and `push` tell before anything is uploaded ([models.md](models.md)),
and the app checks it when the run is planned.

## Without it

A folder is one dataset. The one file directly in it that ends in {ENDINGS}
is trained on. By the words in its name a file may be for something else. Words end at digits, signs and capital
letters: `my_test.csv`, `chats-val2.jsonl` and `TestData.csv` have such words, `latest.jsonl` and `testimonials.jsonl`
have none. {_listed(BEHIND)} may stand behind (`testset`).
Of several such words in a name the last counts. Of several
files for validation the one counts whose word is the earlier of {_listed(VALIDATION)}.

| name | use |
|---|---|
| a word of {_words("train")} | train |
| a word of {_words("validation")} | validation |
| a word of {_words("test")} | test |
| `…_gen` | prompts without answers: not used |
| beginning with `.` or `~$`, ending with `~`, `.bak`, `.swp` … | left there by a program: never data |
| `report`, `readme`, `dataset_info`; as .json also `config`, `state`, `metadata`, `tokenizer…` | about data: not used |

Of several files for a use the one is taken that is named like the training file, as `test_sft` for `train_sft`, else
the one without other words. What is not used is told, with the reason, by `droptune check`.

**A file in pieces counts as one**: files whose names are the same but for a number at the end (`chats_1.jsonl`,
`chats_2.jsonl`), a uuid, or `-00000-of-00003`. The numbers follow one another without a gap; numbers behind `v`,
`version` and the like, and years and dates, tell states of the same data apart and make no pieces. Pieces are read in
order of name. While `-of-` says that some are missing, the folder waits for them; a piece that comes later makes a
new run, of all pieces.

Where no file to train on lies directly in the folder, the files in its `data/` count too, as in a clone of a dataset
of the Hugging Face Hub. Other folders in it are not looked into.

Of two files to train on, or more, which are no pieces, none is: once the upload is whole (`SETTLE_TIME`) there is one
rejected run that names them, and gives a {FILE_NAME} to paste. What trains or serves goes on. Put the rows together
into one file, or each file into a folder of its own, or name one, or list all of them.

With a {FILE_NAME} those files are used that it names, whatever they are called.

A file that seems to be meant for one and is none (`finetune.yml`, `Finetune.yaml`, `fine-tune.yaml`, `finetune.json`,
one with a letter that looks the same; where there is none in the dataset's own folder also one in a folder below,
`finetune.yaml.bak`, `finetune.toml`, `finetune.yaml.jsonl`, and one that is mistyped) is never passed over: the upload
is a rejected run
that names it, since what it says, an approval perhaps, would be dropped.
"""


def page() -> str:
    """The page as it should be."""
    ways = dict.fromkeys(key.way for key in KEYS if key.way)
    told = [f"- {way}: {', '.join(f'`{key.name}`' for key in KEYS if key.way == way)}" for way in ways]
    return HEAD.replace("{ways}", "\n".join(told)) + "".join(_rows(KEYS)) + TAIL


def schema() -> str:
    """The JSON Schema as it should be."""
    made = json_schema(
        KEYS,
        name=SCHEMA.name,
        title=FILE_NAME,
        description="What Droptune makes of a dataset's folder. Every key is explained in docs/finetune.md.",
    )
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def flow(value: object) -> str:
    """A value as one would write it into YAML in a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _rows(keys: Sequence[Key], path: str = "") -> Iterator[str]:
    for key in keys:
        default = f"`{flow(key.default)}`" if key.default is not None else key.unset
        if key.needed:
            default = "needed" if path else f"needed, or `{' or '.join(_others(key))}`"
        yield f"| `{path}{key.name}` | {key.help} | {_value(key)} | {default} |\n"
        yield from _rows(key.keys, f"{path}{key.name}.{'NAME.' if key.kind == 'named' else ''}")


def _others(key: Key) -> list[str]:
    return [other.name for other in KEYS if other.needed and other.way != key.way]


def _value(key: Key) -> str:
    example = f"`{flow(key.example)}`"
    if key.choices:
        return " or ".join(f"`{choice}`" for choice in key.choices)
    if key.kind in {"number", "whole"}:
        return f"{'whole number' if key.kind == 'whole' else 'number'}, {key.range}"
    kinds = {"keys": "keys and values", "values": "keys and values", "named": "names, and keys and values of each"}
    return f"{kinds.get(key.kind, 'text')}{', or a list of texts' if key.many else ''}, as {example}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
