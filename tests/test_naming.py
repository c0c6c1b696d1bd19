"""Derived names: always allowed by the service, and different for what is different."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from shared import naming

# azure-ai-ml's own expression for endpoints and deployments; Azure adds the length and refuses double dashes.
ENDPOINT = re.compile(r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
ASSET = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$")
RUN = re.compile(r"^r[a-z2-7]{15}$")

text = st.text(max_size=300)
key = st.tuples(text, text, text, text, text)
etags = st.dictionaries(text, st.text("0123456789ABCDEFx", max_size=20), max_size=4)


def assert_endpoint(name: str) -> None:
    assert ENDPOINT.match(name)
    assert 3 <= len(name) <= 32
    assert "--" not in name


@given(text, etags, st.none() | st.text("0123456789ABCDEFx"), st.integers(0, 1000))
def test_a_run_id_has_one_form(path: str, files: dict[str, str], spec: str | None, ordinal: int) -> None:
    run = naming.run_id(path, files, spec, ordinal, installation="i")
    assert RUN.match(run)
    assert run == naming.run_id(path, dict(reversed(files.items())), spec, ordinal, installation="i")


@given(st.lists(st.tuples(text, etags, st.none() | st.text("0123456789"), st.integers(0, 9)), min_size=2, max_size=2))
def test_different_uploads_are_different_runs(keys: list[tuple[str, dict[str, str], str | None, int]]) -> None:
    ids = [naming.run_id(*each, installation="i") for each in keys]
    assert (ids[0] == ids[1]) == (keys[0] == keys[1])


def test_quotes_around_an_etag_do_not_matter() -> None:
    bare = naming.run_id("faq/train.jsonl", {"train.jsonl": "0x8D"}, "0x9", 0, installation="i")
    assert bare == naming.run_id("faq/train.jsonl", {"train.jsonl": '"0x8D"'}, '"0x9"', 0, installation="i")
    assert bare == naming.run_id("faq/train.jsonl", {"train.jsonl": 'W/"0x8D"'}, "0x9", 0, installation="i")


@given(st.from_regex(RUN, fullmatch=True), st.integers(0, 10**6))
def test_names_of_an_attempt_are_allowed(run: str, attempt: int) -> None:
    assert_endpoint(naming.deployment_name(run, attempt))
    assert ASSET.match(naming.job_name(run, attempt))
    assert ASSET.match(naming.model_version(run, attempt))
    assert naming.job_name(run, attempt) != naming.job_name(run, attempt + 1)


def test_a_negative_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="attempt -1"):
        naming.job_name("r" * 16, -1)


@given(key)
def test_an_endpoint_name_is_allowed(raw: tuple[str, str, str, str, str]) -> None:
    assert_endpoint(naming.endpoint_name(*raw, installation="i"))


@given(st.lists(text, min_size=2, max_size=2, unique=True), text, text, text)
def test_different_lines_have_different_endpoints(lines: list[str], sub: str, group: str, workspace: str) -> None:
    one, other = (naming.endpoint_name(each, "m", sub, group, workspace, installation="i") for each in lines)
    assert one != other


def test_long_keys_that_differ_at_the_end_only_stay_apart() -> None:
    names = {naming.endpoint_name("customer-questions-" * 9, end, "s", "g", "w", installation="i") for end in "abc"}
    assert len(names) == 3
    assert {name[:18] for name in names} == {"customer-questions"}


def test_an_endpoint_belongs_to_its_workspace_whatever_the_case() -> None:
    name = naming.endpoint_name("faq", "Phi-4", "SUB", "Rg", "ws", installation="i")
    assert name == naming.endpoint_name("faq", "Phi-4", "sub", "rg", "WS", installation="i")
    assert name != naming.endpoint_name("faq", "Phi-4", "sub", "rg", "ws2", installation="i")
    assert name.startswith("faq-phi-4-")


@given(text, text)
def test_a_model_name_is_allowed(model: str, dataset: str) -> None:
    assert ASSET.match(naming.model_name(model, dataset))
    assert ASSET.match(naming.experiment_name(model))


@given(st.lists(st.tuples(text, text), min_size=2, max_size=6, unique=True))
def test_altered_model_names_never_meet(keys: list[tuple[str, str]]) -> None:
    names = defaultdict(set)
    for model, dataset in keys:
        wanted = f"{model}-{dataset}".replace("/", "-")
        name = naming.model_name(model, dataset)
        names[name].add(wanted if name == wanted else (model, dataset))
    assert all(len(raw) == 1 for raw in names.values())


def test_the_notebooks_names() -> None:
    assert naming.model_name("Phi-3-mini-4k-instruct", "HuggingFaceH4/ultrachat_200k") == (
        "Phi-3-mini-4k-instruct-HuggingFaceH4-ultrachat_200k"
    )
    assert naming.experiment_name("Phi-3-mini-4k-instruct") == "chat_completion_Phi-3-mini-4k-instruct"
    assert naming.experiment_name("microsoft/phi-2") == "chat_completion_microsoft-phi-2"


def test_a_line_is_a_folder_and_a_base_model() -> None:
    assert re.match(r"^l[a-z2-7]{15}$", naming.line_id("faq", "Phi-4", installation="i"))
    assert naming.line_id("a", "bc", installation="i") != naming.line_id("ab", "c", installation="i")


@given(st.lists(text, min_size=2, max_size=2, unique=True), text, text)
def test_two_installations_give_no_name_twice(installations: list[str], dataset: str, model: str) -> None:
    """In one workspace, for the same folder and the same files."""

    def names(installation: str) -> tuple[str, str, str]:
        run = naming.run_id(f"{dataset}/train.jsonl", {"train.jsonl": "1"}, None, 0, installation=installation)
        line = naming.line_id(dataset, model, installation=installation)
        return run, line, naming.endpoint_name(dataset, model, "s", "g", "w", installation=installation)

    one, other = (names(each) for each in installations)
    assert not set(one) & set(other)


MADE = {"droptune.run": "r1", "droptune.attempt": "2", "droptune.line": "l1", "droptune.installation": "i1"}


@given(st.sampled_from((str.upper, str.lower, str.title)))
def test_what_was_made_for_a_run_is_known_by_its_name_and_its_tags(case: Callable[[str], str]) -> None:
    tags = {case(name): value for name, value in MADE.items()} | {"team": "chat"}
    assert naming.made_for("r1-2", tags) == naming.Made(run="r1", attempt="2", line="l1", installation="i1")


@given(text)
def test_a_copy_under_any_other_name_was_made_by_somebody_else(name: str) -> None:
    assert (naming.made_for(name, MADE) is None) == (name != "r1-2")


@given(st.sampled_from(sorted(MADE)), st.booleans())
def test_what_lacks_a_tag_was_made_by_somebody_else(name: str, empty: bool) -> None:
    left = {key: value for key, value in MADE.items() if key != name}
    assert naming.made_for("r1-2", left | ({name: ""} if empty else {})) is None


def test_the_notebooks_display_name() -> None:
    parameters = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": "4",
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        "apply_deepspeed": "true",
        "deepspeed_stage": "2",
    }
    name = naming.display_name(
        model="Phi-3-mini-4k-instruct", dataset="ultrachat", parameters=parameters, gpus_per_node=8, nodes=2
    )
    assert name == "Phi-3-mini-4k-instruct-ultrachat-bs128-cosine-ds2-lora-save_limit-1-seqlen-1"


def test_a_display_name_falls_back_on_the_components_defaults() -> None:
    plain = naming.display_name(model="m", dataset="d", parameters={}, gpus_per_node=1, nodes=1)
    assert plain == "m-d-bs1-linear-nods-nolora-save_limit-1-seqlen-1"
    limited = naming.display_name(
        model="m",
        dataset="d",
        parameters={"save_total_limit": 3, "max_seq_length": 512, "apply_deepspeed": "false"},
        gpus_per_node=1,
        nodes=1,
    )
    assert limited == "m-d-bs1-linear-nods-nolora-save_limit3-seqlen512"


# Names of others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (naming.BASE_MODEL, ("Phi-4", "Llama-3.3-70B-Instruct", "gpt-oss-20b", "qwen2.5_7b", "a" * 255)),
        (naming.COMPONENT, ("chat_completion_pipeline",)),
        (naming.VERSION, ("1", "0.0.73", "20260101")),
        (naming.REGISTRY, ("azureml", "azureml-meta", "my_registry")),
        (naming.COMPUTE, ("gpu-cluster", "serverless")),
        (naming.FOLDER, ("faq", "a b", "50 % & more", "#1", "a?b", "..a", "a.", "\U0001f600", "x" * 500)),
        (naming.HUB_DATASET, ("squad", "HuggingFaceH4/ultrachat_200k", "a/b.c-d_e")),
        (
            naming.HUB_REVISION,
            ("main", "refs/convert/parquet", "refs/pr/7", "v1.0", "a#b", "ü+1", "c0ffee" * 6 + "c0ff"),
        ),
        (naming.HUB_CONFIG, ("default", "20231101.en", "wikitext-103-raw-v1", "a b")),
        (naming.ID, (naming.run_id("a", {}, None, 0, installation="i"), naming.line_id("a", "b", installation="i"))),
        (naming.JOB, (naming.job_name("rabcdefghijklmno", 12),)),
        (naming.DEPLOYMENT, (naming.deployment_name("rabcdefghijklmno", 12),)),
        (naming.ENDPOINT, (naming.endpoint_name("../\U0001f600", "x", "s", "g", "w", installation="i"),)),
        (naming.MODEL, (naming.model_name("a/b", "../#?%\U0001f600"), naming.model_name("..", "x" * 500))),
    ],
)
def test_names_that_there_are_are_taken(kind: naming.Kind, names: tuple[str, ...]) -> None:
    assert [naming.refused(kind, name) for name in names] == [""] * len(names)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            naming.BASE_MODEL,
            ("", ".", "..", "../../x", "a/b", "a#b", "a?b", "a%2fb", "a b", "a\n", "ü", "-a", "a" * 256),
        ),
        (naming.COMPUTE, ("..", "a.b", "a/b", "\ud800")),
        (naming.FOLDER, ("", ".", "..", "a/b", "a\nb", "a\0b", "\ud800")),
        (naming.HUB_DATASET, ("..", "a/..", "a/b/c", "a--b", "a.git", "a?b", "/a", "a/")),
        (
            naming.HUB_REVISION,
            ("", "..", "a/../b", "/a", "a/", "a//b", "a b", "a?b", "a:b", "@{a", "a.lock", "-a", "a\\b"),
        ),
        (naming.HUB_CONFIG, ("", " ", ".", "..", "../x", "a/b", "a?b", "a|b")),
        (naming.HUB_COMMIT, ("main", "C0FFEE" * 6 + "C0FF", "c" * 39, "c" * 40 + "\n")),
        (naming.ID, ("", "..", "../x", "a/b", "a.b", "a\n", "a" * 65)),
    ],
)
def test_names_that_can_be_none_are_refused_in_a_sentence(kind: naming.Kind, names: tuple[str, ...]) -> None:
    for name in names:
        assert naming.refused(kind, name).endswith(f" is not {kind.what}: it must be {kind.must}"), name


@given(st.lists(st.sampled_from(["a", ".", "..", "...", "", "a.b"]), min_size=1))
def test_a_path_has_steps_where_a_client_takes_some(parts: list[str]) -> None:
    path = f"/x/{'/'.join(parts)}"
    assert naming.has_steps(path) == (parse_url(f"https://a{path}").path != path)
