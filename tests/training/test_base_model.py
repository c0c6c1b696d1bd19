"""What base models allow: of tags, of metadata, of neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Permanent
from shared.training.base_model import DENIED, BaseModel, SizeRule, literal

NOW = datetime(2026, 11, 22, tzinfo=UTC)
A100 = "Standard_NC24ads_A100_v4"
METADATA = {"supportedComputes": {"finetuneComputes": [A100], "inferenceComputes": ["Standard_NC6s_v3", A100]}}


def model(metadata: dict[str, Any] | None = None, **tags: str) -> BaseModel:
    return BaseModel(
        name="Phi",
        version="15",
        id="azureml://registries/azureml/models/Phi/versions/15",
        tags=tags,
        system_metadata=metadata,
    )


def test_the_tag_comes_first() -> None:
    rule = model(METADATA, finetune_compute_allow_list="['Standard_NC48ads_A100_v4', 'X']").allowed_sizes("finetune")
    assert rule == SizeRule(source="tag finetune_compute_allow_list", allowed=("Standard_NC48ads_A100_v4", "X"))
    assert model(METADATA, finetune_compute_allow_list="['X']").allowed_sizes("inference").allowed == (
        "Standard_NC6s_v3",
        A100,
    )


@pytest.mark.parametrize(
    "tag", ["", "[]", "{}", "[1, 2]", "__import__('os').getcwd()", "[" * 5000, "['x'", "None", "['a', " * 20_000]
)
def test_a_tag_that_says_nothing_is_passed_over(tag: str) -> None:
    assert model(METADATA, finetune_compute_allow_list=tag).allowed_sizes("finetune").allowed == (A100,)


@pytest.mark.parametrize("tag", ['["A", "B"]', "['A', 'B']", "('A', 'B')", "{'B', 'A'}", " ['A',\n 'B ']"])
def test_a_tag_is_a_literal_of_python_or_json(tag: str) -> None:
    assert model(inference_compute_allow_list=tag).allowed_sizes("inference").allowed == ("A", "B")


@pytest.mark.parametrize(
    "metadata", [None, {}, {"supportedComputes": None}, {"supportedComputes": {"finetuneComputes": 3}}]
)
def test_without_any_list_the_oldest_sizes_are_refused(metadata: dict[str, Any] | None) -> None:
    bare = model(metadata)
    for size in DENIED:
        assert not bare.allowed_sizes("finetune").allows(size.upper())
    bare.check_size("Standard_NC24rs_v3", "finetune")
    with pytest.raises(Permanent, match=r"does not allow fine-tuning on Standard_NC6.*Set FINETUNE_SIZE"):
        bare.check_size("Standard_NC6", "finetune")


def test_sizes_have_no_case() -> None:
    model(METADATA).check_size(A100.upper(), "finetune")
    model(METADATA).check_size("standard_nc6s_v3", "inference")
    with pytest.raises(Permanent, match=rf"model Phi:15 does not allow inference on NC1.*{A100}.*SERVING_SIZE"):
        model(METADATA).check_size("NC1", "inference")


@given(st.lists(st.text(min_size=1).map(str.strip).filter(bool), min_size=1), st.text(min_size=1))
def test_a_list_allows_what_is_on_it(names: list[str], other: str) -> None:
    rule = model(finetune_compute_allow_list=repr(names)).allowed_sizes("finetune")
    assert all(rule.allows(name) for name in names)
    assert rule.allows(other) == (other.lower() in {name.lower() for name in names})


def retiring(**dates: str) -> BaseModel:
    return model({"deprecation": dates})


def test_a_retired_model_is_refused() -> None:
    phi = retiring(
        finetuneDeprecationDate="2025-06-30T00:00:00.000000Z",
        finetuneRetirementDate="2025-08-30T00:00:00.000000Z",
        inferenceRetirementDate="2025-08-31T00:00:00.000000Z",
    )
    phi.check_retirement(datetime(2025, 8, 29, tzinfo=UTC))
    with pytest.raises(
        Permanent, match=r"Phi:15 has retired from fine-tuning on 2025-08-30 and inference on 2025-08-31\. Name"
    ):
        phi.check_retirement(NOW)
    with pytest.raises(Permanent, match=r"from fine-tuning on 2025-08-30\. Name"):
        phi.check_retirement(datetime(2025, 8, 30, tzinfo=UTC))


def test_a_model_that_is_only_deprecated_is_noted() -> None:
    old = retiring(finetuneDeprecationDate="2026-01-31", finetuneRetirementDate="2027-01-31")
    old.check_retirement(NOW)
    assert old.notes(NOW) == (
        "model Phi:15 is deprecated for fine-tuning since 2026-01-31: plan for another base model",
    )
    assert old.notes(NOW - timedelta(days=365)) == ()


@pytest.mark.parametrize(
    "deprecation", [None, {}, {"finetuneRetirementDate": None}, {"finetuneRetirementDate": "soon"}, "never"]
)
def test_dates_that_are_not_there_retire_nothing(deprecation: object) -> None:
    model({"deprecation": deprecation}).check_retirement(NOW)


def test_defaults_of_the_tag() -> None:
    assert model(model_specific_defaults="{'deepspeed_stage': 3, 'apply_lora': 'true'}").defaults() == {
        "deepspeed_stage": 3,
        "apply_lora": "true",
    }
    assert model(model_specific_defaults='{"apply_lora": true}').defaults() == {"apply_lora": True}
    assert model().defaults() == {}


def test_a_tag_that_cannot_be_read_is_noted() -> None:
    broken = model(model_specific_defaults="{'a': ")
    assert broken.defaults() == {}
    assert broken.notes(NOW) == ("the tag model_specific_defaults of model Phi:15 can't be read and was left out",)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(values)
def test_pythons_literals_are_read(value: object) -> None:
    assert literal(repr(value)) == value or str(value).strip().isdecimal()


@given(st.text())
def test_any_text_is_read_or_not(text: str) -> None:
    literal(text)


@pytest.mark.parametrize(
    "tag",
    [
        pytest.param("{[1]: 2}", id="a list as a key"),
        pytest.param("-" * 60_000 + "1", id="more than the parser's stack"),
        pytest.param("1" + "+1" * 30_000, id="deeper than a tree may be"),
        pytest.param("[" * 30_000 + "]" * 30_000, id="JSON deeper than it may be"),
    ],
)
def test_a_tag_that_is_made_to_break_its_reader_is_one_that_can_not_be_read(tag: str) -> None:
    assert literal(tag) is None
    assert model(finetune_compute_allow_list=tag).allowed_sizes("finetune").denied == DENIED


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("gpt-oss-20b", True),
        ("GPT-OSS-120B", True),
        ("Meta-Llama-3.1-8B-Instruct", True),
        ("Meta-Llama-3-8B-Instruct", False),
        ("Phi-4-mini-instruct", True),
        ("Phi-4", False),
        ("Qwen2.5-7B", True),
        ("Mistral-Nemo-2407", True),
        ("MISTRAL-LARGE", True),
        ("Cohere-command-r-plus", True),
        ("gpt2", False),
    ],
)
def test_which_families_have_a_form_for_tool_turns(name: str, takes: bool) -> None:
    assert BaseModel(name=name, version="1", id="m").takes_tools is takes


@pytest.mark.parametrize(
    ("metadata", "tags", "expected"),
    [
        (None, {}, False),
        ({"tasks": {"fineTuningTasks": ["chat-completion"]}}, {}, True),
        ({"tasks": {"fineTuningTasks": ["text-classification"]}}, {"model_specific_defaults": "{}"}, False),
        ({"tasks": 3}, {"finetune_compute_allow_list": "['A']"}, True),
        ({"tasks": {"fineTuningTasks": []}}, {}, False),
        (METADATA, {}, True),
        (None, {"inference_compute_allow_list": "['A']"}, False),
    ],
)
def test_a_model_says_whether_it_is_fine_tuned_for_chats(
    metadata: dict[str, Any] | None, tags: dict[str, str], expected: bool
) -> None:
    assert model(metadata, **tags).fine_tunes is expected


@pytest.mark.parametrize(
    ("metadata", "tags", "expected"),
    [
        (None, {"license": "mit"}, "mit"),
        ({"license": "MIT"}, {}, "MIT"),
        ({"license": ["MIT"]}, {}, ""),
        (None, {}, ""),
    ],
)
def test_a_licence_is_in_tag_or_metadata(metadata: dict[str, Any] | None, tags: dict[str, str], expected: str) -> None:
    assert model(metadata, **tags).licence == expected


def test_the_least_machine_is_said_in_words() -> None:
    said = "24 vCPUs, 1 GPU, 220 GB of memory"
    assert model(finetune_min_sku_spec="24|1|220|64").least == said
    assert model({"SKU": {"finetuneMinSkuSpec": "24|1|220|64"}}).least == said
    assert model(finetune_min_sku_spec="96|8|900|9").least == "96 vCPUs, 8 GPUs, 900 GB of memory"
    for nonsense in ("", "24|1", "a|b|c|d", "24|1|220|64\n", "9" * 5000):
        assert model(finetune_min_sku_spec=nonsense).least in ("", said)


def test_what_planning_refuses_is_one_rule() -> None:
    phi = model(METADATA)
    phi.check(NOW, training_on=A100, serving_on="Standard_NC6s_v3")
    with pytest.raises(Permanent, match="fine-tuning on X"):
        phi.check(NOW, training_on="X", serving_on=A100)
    with pytest.raises(Permanent, match="inference on X"):
        phi.check(NOW, training_on=A100, serving_on="X")
    old = model(METADATA | {"deprecation": {"finetuneRetirementDate": "2025-08-30"}})
    with pytest.raises(Permanent, match="retired"):
        old.check(NOW, training_on=A100, serving_on=A100)
