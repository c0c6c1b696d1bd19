"""The training process, run for real on a few rows; what it makes of rows and parameters, in this process."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import make_facts
from localcloud.training import data, parameters
from localcloud.training.job import CONVERT, FINETUNE, IMPORT, PREPROCESS, Job, Journal, TrainingError
from tests.kit.paths import ROOT

PYTHON = str(ROOT / ".venv-model" / "bin" / "python")
PHI_3 = ROOT / ".models" / "Phi-3-mini-4k-instruct" / "15"
PHI_4 = ROOT / ".models" / "Phi-4" / "8"
SHORT = {"max_steps": 4, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "logging_steps": 2}
DIALOGUE = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": "Is tin a metal?"},
    {"role": "assistant", "content": "Yes, it is."},
    {"role": "user", "content": "And neon?"},
    {"role": "assistant", "content": "No, a gas."},
]


class Ran:
    """A training process that has ended: exit code, log, events, outputs."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.log, _ = process.communicate(timeout=240)
        self.code = process.returncode
        self.events: list[dict[str, Any]] = [
            json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()
        ]
        self.mlflow = folder / "outputs" / "mlflow_model_folder"
        self.pytorch = folder / "outputs" / "pytorch_model_folder"

    def metric(self, key: str) -> dict[int, float]:
        """The values of a metric by training step."""
        return {event["at_step"]: event["value"] for event in self.events if event.get("key") == key}


def start(folder: Path, *, base: Path = PHI_3, **given: Any) -> subprocess.Popen[str]:
    """Start a training of a few rows about facts in `folder`."""
    folder.mkdir()
    train, test = make_facts.make()
    for name, rows in (("train", train[:24]), ("validation", train[24:32]), ("test", test[:8])):
        make_facts.write_rows(folder / f"{name}.jsonl", rows)
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}
    job = {"name": "job", "base_model": str(base), "parameters": SHORT | given, "outputs": str(folder / "outputs")}
    (folder / "job.json").write_text(json.dumps(job | files))
    command = [PYTHON, "-m", "localcloud.training", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A job that asks for a few things that a laptop can't do."""
    folder = tmp_path_factory.mktemp("training") / "job"
    asked: dict[str, Any] = {"apply_deepspeed": "true", "precision": "16", "merge_lora_weights": "false"}
    return Ran(folder, start(folder, learning_rate=0.002, **asked))


def test_the_steps_of_the_pipeline_run_in_order(trained: Ran) -> None:
    assert trained.code == 0, trained.log
    told = [(event["step"], event["status"]) for event in trained.events if event["event"] == "step"]
    steps = (IMPORT, PREPROCESS, FINETUNE, CONVERT)
    assert told == [(step, status) for step in steps for status in ("Running", "Completed")]


def test_losses_are_told_and_fall(trained: Ran) -> None:
    losses, evaluations = trained.metric("loss"), trained.metric("eval_loss")
    assert set(losses) == {2, 4}
    assert set(evaluations) == {0, 4}, "an evaluation before the first step, and one at the end"
    assert evaluations[4] < evaluations[0]
    assert all(event["of_steps"] == 4 for event in trained.events if event["event"] == "metric")


def test_what_cannot_be_honoured_is_in_the_log(trained: Ran) -> None:
    assert "apply_deepspeed=true: DeepSpeed is not simulated" in trained.log
    assert "precision=16: training is done in 32 bits" in trained.log


def test_the_model_is_an_mlflow_2_folder(trained: Ran) -> None:
    described = yaml.safe_load((trained.mlflow / "MLmodel").read_text())
    assert described["flavors"]["hftransformersv2"]["model_data"] == "data/model"
    assert described["mlflow_version"].startswith("2.")
    held = {path.name for path in (trained.mlflow / "data" / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= held
    for name in ("model.safetensors", "tokenizer.json"):
        assert (trained.pytorch / name).read_bytes() == (trained.mlflow / "data" / "model" / name).read_bytes()


def test_a_lost_loss_ends_the_job(tmp_path: Path) -> None:
    ran = Ran(tmp_path / "job", start(tmp_path / "job", learning_rate=1e30, logging_steps=1))
    assert ran.code == 1
    (error,) = [event for event in ran.events if event["event"] == "error"]
    assert error["step"] == FINETUNE
    assert "is no number any more" in error["message"]
    assert "learning_rate" in error["message"]
    assert {"event": "step", "step": FINETUNE, "status": "Failed"} in ran.events


@pytest.mark.thorough
@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_lora_trains_on(tmp_path: Path) -> None:
    together = [start(tmp_path / name) for name in ("1", "2")]
    first, second = (Ran(tmp_path / name, process) for name, process in zip(("1", "2"), together, strict=True))
    weights = [(ran.mlflow / "data" / "model" / "model.safetensors").read_bytes() for ran in (first, second)]
    assert weights[0] == weights[1]
    lora = {"apply_lora": "true", "lora_r": 4, "lora_dropout": 0.1, "merge_lora_weights": "false"}
    adapted = Ran(tmp_path / "4", start(tmp_path / "4", base=first.mlflow, learning_rate=0.01, **lora))
    assert adapted.code == 0, adapted.log
    assert (adapted.pytorch / "adapter_model.safetensors").is_file()
    assert not (adapted.mlflow / "data" / "model" / "adapter_config.json").exists()
    served = (adapted.mlflow / "data" / "model" / "model.safetensors").read_bytes()
    assert len(served) == len(weights[0])
    assert served != weights[0]


CHECK = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from localcloud.training import data, finetune
from localcloud.training.job import Journal, TrainingError
dialogue, folder, *models = json.loads(sys.argv[1])
journal, found = Journal(Path(folder)), {}
def encode(tokenizer, limit):
    return data.encode([dialogue, dialogue[-2:]], tokenizer, max_length=limit, batch=1, name="some", journal=journal)
for model in models:
    tokenizer = AutoTokenizer.from_pretrained(Path(model, "data", "model"))
    examples = encode(tokenizer, 500)
    learned = [[t for t in example["labels"] if t != data.IGNORED] for example in examples]
    found[model] = {
        "whole": tokenizer.decode(examples[0]["input_ids"]),
        "learned": [tokenizer.decode(tokens) for tokens in learned],
        "ids": [len(example["input_ids"]) for example in examples],
        "cut": [len(example["input_ids"]) for example in encode(tokenizer, len(examples[1]["input_ids"]) - 1)],
    }
    batch = finetune.pad(examples, token=0, length=None)
    found[model]["attended"] = batch["attention_mask"].sum(1).tolist()
    found[model]["shape"] = list(batch["labels"].shape)
    found[model]["padded"] = list(finetune.pad(examples, token=0, length=99)["labels"].shape)
try:
    encode(tokenizer, 3)
except TrainingError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


def test_rows_become_tokens_and_the_loss_counts_answers_only(tmp_path: Path) -> None:
    argument = json.dumps([DIALOGUE, str(tmp_path), str(PHI_3), str(PHI_4)])
    ran = subprocess.run([PYTHON, "-c", CHECK, argument], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    phi_3, phi_4 = found[str(PHI_3)], found[str(PHI_4)]
    assert phi_3["whole"] == (
        "<|system|>\nYou help.<|end|>\n<|user|>\nIs tin a metal?<|end|>\n<|assistant|>\nYes, it is.<|end|>\n"
        "<|user|>\nAnd neon?<|end|>\n<|assistant|>\nNo, a gas.<|end|>\n"
    )
    assert phi_4["whole"].endswith("neon?<|im_end|><|im_start|>assistant<|im_sep|>No, a gas.<|im_end|>")
    assert phi_3["learned"] == ["Yes, it is.<|end|>No, a gas.<|end|>", "No, a gas.<|end|>"]
    assert phi_4["learned"] == ["Yes, it is.<|im_end|>No, a gas.<|im_end|>", "No, a gas.<|im_end|>"]
    for model in (phi_3, phi_4):
        assert model["attended"] == model["ids"]
        assert model["shape"] == [2, max(model["ids"])]
        assert model["padded"] == [2, 99]
        assert max(model["cut"]) == model["ids"][1] - 1
    assert found["error"] == "No some row has an answer of the assistant within its first 3 tokens."


def test_a_finished_model_is_left_alone() -> None:
    command = [PYTHON, "-m", "localcloud.training.build_models"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert "Phi-3-mini-4k-instruct 15" in ran.stdout
    assert again.stdout.splitlines() == ["Phi-3-mini-4k-instruct 15 is there already", "Phi-4 8 is there already"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "train.jsonl has no rows."),
        (b'{"messages": [}', "train.jsonl, line 1: this is not JSON"),
        (b'\n\xff\n{"prompt": "?"}', "train.jsonl, line 2: this is not JSON"),
        (b'{"prompt": "?"}', "train.jsonl, line 1: the row has no messages."),
        (b'["?"]', "train.jsonl, line 1: the row has no messages."),
        (b'{"messages": [{"role": "user", "content": null}]}', "train.jsonl, line 1: each message needs a role"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    with pytest.raises(TrainingError, match=r"train\.jsonl") as error:
        data.read_rows(file)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("name", "sentence"), [("gone.jsonl", r"gone\.jsonl does not exist"), ("rows.parquet", "another format")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(TrainingError, match=sentence):
        data.read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("validation", "test", "left", "held"), [(0, 0, 80, 10), (0, 1, 80, 20), (1, 0, 80, 100), (1, 1, 100, 100)]
)
def test_what_is_missing_is_cut_from_the_training_rows(
    tmp_path: Path, validation: int, test: int, left: int, held: int
) -> None:
    file = tmp_path / "rows.jsonl"
    make_facts.write_rows(file, make_facts.make()[0][:100])
    given = (file if validation else None, file if test else None)
    journal = Journal(tmp_path)
    rows, kept = data.load(file, *given, seed=1, journal=journal)
    journal.close()
    assert (len(rows), len(kept)) == (left, held)


def test_one_row_is_too_few_to_cut_from() -> None:
    with pytest.raises(TrainingError, match="too few"):
        data.cut([DIALOGUE], 1, seed=1)


def test_parameters_that_ask_for_nothing_are_not_mentioned() -> None:
    given = {
        "apply_deepspeed": "false",
        "deepspeed_stage": "3",
        "precision": "32",
        "number_of_gpu_to_use_finetuning": 1,
        "compute_finetune": "serverless",
        "train_file_path": "azureml://somewhere",
        "huggingface_id": None,
        "learning_rate": 0.1,
    }
    assert list(parameters.not_honoured(given)) == []


def test_parameters_that_ask_for_what_is_not_done_are_mentioned() -> None:
    given = {"apply_deepspeed": "true", "deepspeed_stage": "2", "metric_for_best_model": "f1", "num_nodes_finetune": 2}
    given |= {"x": 1}
    assert [sentence.split(":")[0] for sentence in parameters.not_honoured(given)] == [
        "apply_deepspeed=true",
        "deepspeed_stage=2",
        "metric_for_best_model=f1",
        "num_nodes_finetune=2",
        "x=1",
    ]


def test_parameters_reach_the_trainer(tmp_path: Path) -> None:
    given = {
        "evaluation_strategy": "steps",
        "evaluation_steps_interval": 0.5,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "save_total_limit": 1,
    }
    arguments = parameters.training_arguments(parameters.resolve(given), folder=tmp_path, train_rows=100)
    assert arguments["eval_steps"] == 6, "half of the 13 steps of an epoch"
    assert (arguments["eval_strategy"], arguments["save_strategy"], arguments["save_total_limit"]) == (
        "steps",
        "steps",
        1,
    )
    assert arguments["load_best_model_at_end"]
    silent = parameters.resolve({"evaluation_strategy": "disable"})
    arguments = parameters.training_arguments(silent, folder=tmp_path, train_rows=100)
    assert (arguments["eval_strategy"], arguments["eval_on_start"], arguments["save_total_limit"]) == (
        "no",
        False,
        None,
    )


def test_a_job_may_come_without_validation_and_test(tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "name": "j",
        "base_model": "/m",
        "train": "/t.jsonl",
        "validation": None,
        "parameters": {},
        "outputs": "/o",
    }
    (tmp_path / "job.json").write_text(json.dumps(told))
    job = Job.read(tmp_path)
    assert (job.train, job.validation, job.test) == (Path("/t.jsonl"), None, None)
