"""Parameters of a fine-tune job: whose word counts, and what the component takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Permanent
from shared.training.parameters import DEFAULTS, ComponentInput, coerce, resolve
from tests.kit.component import INPUTS

# As Phi-3-mini's tag has it.
TAG = {
    "apply_deepspeed": "true",
    "deepspeed_stage": 2,
    "apply_lora": "true",
    "apply_ort": "false",
    "precision": 16,
    "num_train_epochs": 1,
    "learning_rate": "5e-6",
    "learning_rate_min": "5e-7",
    "learning_rate_max": "5e-5",
    "lr_scheduler_type": "cosine",
}


def test_the_notebooks_defaults() -> None:
    found, notes = resolve({}, {}, INPUTS)
    assert found == {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        "apply_deepspeed": "true",
        "deepspeed_stage": "2",
    }
    assert notes == ()


def test_the_tag_beats_the_defaults_and_is_told() -> None:
    found, notes = resolve(TAG, {}, INPUTS)
    assert found["num_train_epochs"] == 1
    assert found["precision"] == "16"
    assert found["learning_rate"] == 5e-6
    assert "learning_rate_min" not in found
    assert notes == (
        "the model's tag model_specific_defaults overrides defaults: num_train_epochs=1 (default 3)",
        "of the model's tag model_specific_defaults these are no parameters of the job: "
        "learning_rate_min, learning_rate_max",
    )


def test_finetune_yaml_beats_both() -> None:
    found, notes = resolve(TAG, {"num_train_epochs": "2", "apply_lora": False, "max_seq_length": 512.0}, INPUTS)
    assert (found["num_train_epochs"], found["apply_lora"], found["max_seq_length"]) == (2, "false", 512)
    assert notes[0] == (
        "finetune.yaml overrides: num_train_epochs=2 (by the model's tag: 1), "
        "apply_lora=false (by the model's tag: true)"
    )
    assert len(notes) == 2
    _, notes = resolve({}, {"learning_rate": 1e-4, "weight_decay": 0.5}, INPUTS)
    assert [note for note in notes if "overrides" in note] == [
        "finetune.yaml overrides: learning_rate=0.0001 (by default: 5e-06)"
    ], "what nobody sets otherwise is not overridden"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("num_train_epoch", 1, "'num_train_epoch' is not a parameter; did you mean num_train_epochs?"),
        ("epochs", 3, "'epochs' is not a parameter; did you mean num_train_epochs?"),
        ("Rank", 8, "'Rank' is not a parameter; did you mean lora_r?"),
        ("zzz", 1, "'zzz' is not a parameter"),
        ("num_train_epochs", 0, r"num_train_epochs is 0 \(from finetune.yaml\); allowed: 1 or more"),
        ("num_train_epochs", 1.5, "must be a whole number"),
        ("num_train_epochs", True, "must be a whole number"),
        ("num_train_epochs", 10**400, "must be a whole number"),
        ("learning_rate", "fast", "'fast' .* must be a number"),
        ("learning_rate", float("nan"), "must be a number"),
        ("precision", 8, "precision is 8 .* allowed: 32, 16"),
        ("lr_scheduler_type", "cosin", "allowed: linear, cosine"),
        ("apply_lora", "yes", "allowed: true, false"),
        ("mlflow_model_path", "x", "mlflow_model_path can't be chosen: it is set by Droptune"),
        ("train_file_path", "x", "set by Droptune"),
        ("compute_finetune", "x", "set by Droptune"),
        ("number_of_gpu_to_use_finetuning", 8, "set by Droptune"),
        ("deepspeed", "ds.json", "set by Droptune"),
    ],
)
def test_what_is_not_allowed_is_named(key: str, value: object, told: str) -> None:
    with pytest.raises(Permanent, match=rf"^parameters: .*{told}.*Correct them in finetune.yaml\.$"):
        resolve(TAG, {key: value}, INPUTS)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(Permanent, match=r"zzz.*num_train_epochs.*precision"):
        resolve({}, {"zzz": 1, "num_train_epochs": 0, "precision": 8}, INPUTS)


def test_a_bad_tag_is_told_and_can_be_overruled() -> None:
    with pytest.raises(Permanent, match=r"precision is 8 \(from the model's tag model_specific_defaults\)"):
        resolve({"precision": 8}, {}, INPUTS)
    found, _ = resolve({"precision": 8}, {"precision": 16}, INPUTS)
    assert found["precision"] == "16"


def test_what_a_tag_may_not_choose_is_left_out() -> None:
    found, notes = resolve({"compute_finetune": "mine"}, {}, INPUTS)
    assert "compute_finetune" not in found
    assert "compute_finetune" in notes[0]


def test_a_component_without_deepspeed() -> None:
    inputs = {name: each for name, each in INPUTS.items() if "deepspeed" not in name}
    found, notes = resolve({}, {}, inputs)
    assert "apply_deepspeed" not in found
    assert "apply_deepspeed is left out: the component does not take it" in notes


def test_other_kinds_of_input() -> None:
    flag = ComponentInput(name="x", type="boolean")
    assert [coerce(flag, value) for value in (True, "False", "true")] == [True, False, True]
    with pytest.raises(ValueError, match="true or false"):
        coerce(flag, 1)
    with pytest.raises(ValueError, match="must be text"):
        coerce(ComponentInput(name="x", type="string"), [1])
    assert coerce(ComponentInput(name="x", type="String"), 1.5) == "1.5"
    assert coerce(ComponentInput(name="x", type="integer", enum=("1", "2")), 2) == 2
    with pytest.raises(ValueError, match="allowed: 1, 2"):
        coerce(ComponentInput(name="x", type="integer", enum=(1, 2)), 3)
    with pytest.raises(ValueError, match="allowed: 1 or less"):
        coerce(ComponentInput(name="x", type="number", max=1), 1.01)


def test_the_components_own_defaults_are_fine() -> None:
    for name, each in INPUTS.items():
        if each.default is not None:
            assert str(coerce(each, each.default)).lower() in (str(each.default).lower(), f"{each.default}", "1e-08"), (
                name
            )
    assert DEFAULTS.keys() <= INPUTS.keys()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
literals = [each for each in INPUTS.values() if not each.ours]


@given(st.sampled_from(literals), scalars | st.sampled_from(["true", "True", "1", "5e-6", "16", 16.0, "cosine"]))
def test_whatever_comes_out_is_what_the_component_takes(wanted: ComponentInput, value: object) -> None:
    try:
        found = coerce(wanted, value)
    except ValueError:
        return
    kinds: dict[str, type | tuple[type, ...]] = {"integer": int, "number": (int, float), "string": str}
    assert isinstance(found, kinds[wanted.type])
    assert not isinstance(found, bool)
    assert not wanted.enum or found in wanted.enum
    assert wanted.min is None or float(found) >= wanted.min
    assert coerce(wanted, found) == found


@pytest.mark.parametrize(("value", "fine"), [(1, True), (3, True), (0, False), (4, False), (3.5, False)])
def test_the_least_and_the_most_are_allowed_themselves(value: float, fine: bool) -> None:
    wanted = ComponentInput(name="num_train_epochs", type="integer", min=1, max=3)
    if fine:
        assert coerce(wanted, value) == value
    else:
        with pytest.raises(ValueError, match=r"allowed|whole"):
            coerce(wanted, value)


@pytest.mark.parametrize("given", ["cosine", "COSINE", " Cosine "])
def test_a_choice_is_taken_as_the_component_spells_it(given: str) -> None:
    wanted = ComponentInput(name="lr_scheduler_type", type="string", enum=("linear", "Cosine"))
    assert coerce(wanted, given) == "Cosine"
