"""Base models that a finetune.yaml may name: what the registry shows by the real SDK, and planning's verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from localcloud.azureml.registry import REGISTRY_ID
from localcloud.stack import Stack
from shared.api import models as subject
from shared.api import views
from shared.api.models_schema import ModelList, ModelView
from shared.app import App
from shared.cloud import registry as adapter
from shared.errors import Permanent
from shared.run.actions.train import resolve_plan
from tests.kit.carried import RUN
from tests.kit.hostile import WORST
from tests.kit.settings import changed, with_settings

MODELS = f"{REGISTRY_ID}/models"
A100 = "Standard_NC24ads_A100_v4"


@pytest.fixture
def anew(app: App) -> Iterator[App]:
    """The app as it is when its process begins: it has read no list. Its cluster is not made yet."""
    made = App.of(changed(app.settings, FINETUNE_COMPUTE="none-yet"))
    yield made
    made.cloud.close()


@pytest.fixture
def faults(cloud: Stack) -> Iterator[Any]:
    """Has the registry answer otherwise until the test ends."""

    def fault(path: str, status: int, body: Any = None) -> None:
        wanted = {"method": "GET", "path": path, "status": status, "count": None}
        cloud.control("POST", "/_local/faults", wanted | ({"body": body} if body else {}))

    yield fault
    cloud.control("DELETE", "/_local/faults")


def entry(name: str, version: str | None = "1") -> dict[str, Any]:
    return {"id": f"azureml://registries/azureml/models/{name}", "name": name, "properties": {"latestVersion": version}}


def document(name: str, metadata: dict[str, Any] | None = None, **tags: str) -> dict[str, Any]:
    properties = {"modelType": "mlflow_model", "modelUri": "azureml://x", "flavors": {}, "tags": tags}
    return {
        "id": f"azureml://registries/azureml/models/{name}/versions/1",
        "name": "1",
        "properties": properties | {"systemMetadata": metadata or {}},
    }


def shown(app: App, name: str = "") -> ModelList:
    status, body = views.models(app, name)
    assert status == 200, body
    return msgspec.json.decode(body, type=ModelList)


def of(found: ModelList, name: str) -> ModelView:
    [own] = [each for each in found.models if each.name == name]
    return own


def asked(cloud: Stack) -> list[str]:
    ledger = cloud.control("GET", "/_local/ledger")
    return [each["path"] for each in ledger if "/registries/azureml/models" in each["path"]]


def test_the_registry_s_models_come_with_the_verdict_of_planning(anew: App) -> None:
    found = shown(with_settings(anew, BASE_MODEL="Phi-4"))
    assert (found.registry, found.whole, found.left) == ("azureml", True, 0)
    assert found.training_on == found.serving_on == A100
    phi_4, small, old = (of(found, name) for name in ("Phi-4", "Phi-3-mini-4k-instruct", "Phi-3-medium-4k-instruct"))
    assert (phi_4.version, phi_4.default, phi_4.usable, phi_4.why) == ("8", True, True, "")
    assert found.models[0] == phi_4
    assert A100 in phi_4.training_sizes
    assert (small.default, small.usable) == (False, True)
    assert "Standard_NC6s_v3" in small.serving_sizes
    assert not old.usable
    assert "has retired from fine-tuning on 2025-08-30 and inference on 2025-08-30" in old.why
    assert found.models[-1] == old
    assert any("is deprecated for fine-tuning since 2025-06-30" in note for note in old.notes)


@pytest.mark.parametrize(("setting", "doing"), [("FINETUNE_SIZE", "fine-tuning"), ("SERVING_SIZE", "inference")])
def test_who_may_not_run_on_the_app_s_sizes_says_so_in_planning_s_words(app: App, setting: str, doing: str) -> None:
    other = with_settings(app, **{setting: "Standard_NC8as_T4_v3", "FINETUNE_COMPUTE": "none-yet"})
    for model in shown(other).models:
        assert not model.usable
        if "retired" not in model.why:
            assert f"does not allow {doing} on Standard_NC8as_T4_v3" in model.why
            assert f"Set {setting} to one of them" in model.why


def test_what_is_not_usable_can_not_be_planned_and_the_rest_can(app: App, key: str) -> None:
    other = with_settings(app, FINETUNE_COMPUTE=f"gpu-{key}", PREPROCESS_COMPUTE=f"cpu-{key}")
    for model in shown(other).models:
        run = replace(RUN, source=replace(RUN.source, base_model=model.name, parameters={}))
        if model.usable:
            assert resolve_plan(other, run).attempt.plan
        else:
            with pytest.raises(Permanent) as caught:
                resolve_plan(other, run)
            assert str(caught.value) == model.why


def test_default_parameters_that_the_component_does_not_take_are_a_reason(anew: App, faults: Any) -> None:
    faults(f"{MODELS}$", 200, {"value": [entry("odd-chat")]})
    faults(
        f"{MODELS}/odd-chat/versions/1$", 200, document("odd-chat", model_specific_defaults="{'deepspeed_stage': 7}")
    )
    own = of(shown(anew), "odd-chat")
    assert not own.usable
    assert "deepspeed_stage is 7 (from the model's tag model_specific_defaults); allowed: 2, 3" in own.why


def test_a_cluster_s_own_size_counts(app: App, faults: Any) -> None:
    cluster = {"properties": {"vmSize": "Standard_NC6"}, "provisioningState": "Succeeded", "computeType": "AmlCompute"}
    faults("/computes/gpu-made$", 200, {"name": "gpu-made", "id": "/x", "properties": cluster})
    found = shown(with_settings(app, FINETUNE_COMPUTE="gpu-made"))
    assert found.training_on == "Standard_NC6"
    assert "does not allow fine-tuning on Standard_NC6" in of(found, "Phi-4").why


def test_part_of_a_name_chooses_and_a_whole_one_is_found_wherever_it_is(app: App, anew: App, faults: Any) -> None:
    assert {model.name for model in shown(app, "MINI").models} == {"Phi-3-mini-4k-instruct"}
    assert shown(app, "no-such").models == []
    faults(f"{MODELS}$", 200, {"value": [entry("Phi-3-mini-4k-instruct", None)]})
    found = shown(anew, "Phi-3-medium-4k-instruct")
    assert [model.name for model in found.models] == ["Phi-3-medium-4k-instruct"], "archived: no list has it"
    assert of(shown(anew, "mini"), "Phi-3-mini-4k-instruct").version == "15", "the list does not say it"
    assert {model.name for model in shown(with_settings(anew, BASE_MODEL="Phi-4")).models} == {
        "Phi-4",
        "Phi-3-mini-4k-instruct",
    }


def test_a_base_model_that_is_not_there_is_told(anew: App) -> None:
    own = of(shown(with_settings(anew, BASE_MODEL="Phi-5")), "Phi-5")
    assert (own.default, own.usable) == (True, False)
    assert "Correct the base model, or AZUREML_REGISTRY" in own.why


def test_thousands_cost_a_bounded_number_of_calls_and_once_in_ten_minutes(
    anew: App, cloud: Stack, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"m-{number}" for number in range(2000)] + [f"m-{number}-instruct" for number in range(50)]
    faults(f"{MODELS}$", 200, {"value": [entry(name) for name in names]})
    faults(f"{MODELS}/m-[0-9]+/versions/1$", 200, document("m"))
    faults(f"{MODELS}/m-[0-9]+-instruct/versions/1$", 200, document("m", finetune_compute_allow_list=f"['{A100}']"))
    cloud.control("DELETE", "/_local/ledger")
    found = shown(anew)
    assert len(asked(cloud)) <= 1 + subject.LOOKED + 2, (
        "the list, the models; the newest of one that no list has takes three"
    )
    assert len(found.models) == subject.LOOKED
    assert (found.found, found.left, found.others) == (2051, 2051 - subject.LOOKED, 0)
    assert all("instruct" in model.name or model.default for model in found.models), "the likeliest first"
    once = len(asked(cloud))
    again = shown(anew)
    assert again.models == found.models
    assert len(asked(cloud)) - once <= 3, "of the app's own, whose newest version no list tells"
    few = shown(anew, "M-77")
    assert ([model.name for model in few.models], few.found, few.others) == ([], 11, 11)
    monkeypatch.setattr(adapter, "FRESH", 0.0)
    cloud.control("DELETE", "/_local/ledger")
    shown(anew)
    assert f"/mferp/managementfrontend{MODELS}" in asked(cloud)


def test_a_list_without_an_end_is_read_for_a_while_and_that_is_told(
    anew: App, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "MOST_LISTED", 2)
    faults(f"{MODELS}$", 200, {"value": [entry("Phi-4", "8"), entry("b"), entry("c")]})
    found = shown(with_settings(anew, BASE_MODEL="Phi-4"))
    assert (found.whole, found.found) == (False, 1), "the second one has no version to look at"


def test_many_who_ask_cost_one_read(anew: App, cloud: Stack) -> None:
    cloud.control("DELETE", "/_local/ledger")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: anew.cloud.registry.listing(), range(16)))
    assert len(asked(cloud)) == 1


def test_when_time_is_up_the_rest_is_left(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LOOK_SECONDS", -1.0)
    found = shown(app)
    assert (found.models, found.left) == ([], found.found)


def test_a_model_that_can_not_be_read_hides_no_other(anew: App, faults: Any) -> None:
    faults(f"{MODELS}/Phi-4/versions/8$", 409)
    found = shown(with_settings(anew, BASE_MODEL="Phi-4"))
    broken = of(found, "Phi-4")
    assert (broken.usable, broken.default) == (False, True)
    assert broken.why.startswith("it can't be looked at now: model Phi-4:8 in registry azureml: ")
    assert of(found, "Phi-3-mini-4k-instruct").usable


def test_a_registry_that_lets_nobody_in_is_told_and_asked_again(anew: App, cloud: Stack, faults: Any) -> None:
    faults("/registries/azureml", 403)
    status, body = views.models(anew, "")
    assert status == 503
    assert "AzureML Registry User on the registry" in json.loads(body)["error"]
    cloud.control("DELETE", "/_local/faults")
    assert shown(anew).models, "a failure is not kept"


def test_text_of_others_stays_exact_and_asks_for_nothing(anew: App, cloud: Stack, faults: Any) -> None:
    bad, long = f"evil{WORST}", "x" * 10_000
    faults(f"{MODELS}$", 200, {"value": [entry(bad), entry("../x"), entry(long), entry("licensed-chat")]})
    body = document("licensed-chat", license=bad, finetune_compute_allow_list=repr([bad, long]))
    faults(f"{MODELS}/licensed-chat/versions/1$", 200, body)
    cloud.control("DELETE", "/_local/ledger")
    found = shown(anew)
    for name in (bad, "../x", long):
        assert not of(found, name).usable
        assert "is not a base model's name" in of(found, name).why
    assert of(found, "licensed-chat").licence == bad
    assert of(found, "licensed-chat").training_sizes == [bad, long]
    assert {path.partition("/models")[2].split("/")[0:2][-1] for path in asked(cloud)} <= {
        "",
        "licensed-chat",
        "Phi-4",
        anew.settings.training.base_model,
    }


def test_one_model_is_told_whole_with_what_the_component_takes(app: App, cloud: Stack) -> None:
    status, body = views.models(app, "Phi-4", exact=True)
    found = msgspec.json.decode(body, type=ModelList)
    assert status == 200
    assert [(each.name, each.context, each.tools, each.usable) for each in found.models] == [
        ("Phi-4", 16384, False, True)
    ]
    assert found.models[0].defaults["num_train_epochs"] == 3
    inputs = {each.name: each for each in found.inputs}
    assert (inputs["num_train_epochs"].type, inputs["num_train_epochs"].min) == ("integer", 1)
    assert inputs["precision"].enum == ["32", "16"]
    own = msgspec.json.decode(views.models(app, "", exact=True)[1], type=ModelList)
    assert [each.name for each in own.models] == [app.settings.training.base_model]
    assert shown(app, "Phi-4").inputs == [], "a list of models is long enough"
    none = msgspec.json.decode(views.models(app, "Phi-44", exact=True)[1], type=ModelList)
    [gone] = none.models
    assert (gone.name, gone.usable) == ("Phi-44", False)
    assert gone.why.startswith("model Phi-44 in registry azureml: ")


def test_the_shape(app: App) -> None:
    found = json.loads(views.models(app, "Phi-4")[1])
    assert list(found) == [
        *("version", "registry", "training_on", "serving_on", "models"),
        *("found", "others", "left", "whole", "inputs"),
    ]
    assert list(found["models"][0]) == [
        *("name", "version", "licence", "training_sizes", "serving_sizes"),
        *("least", "default", "usable", "why", "notes"),
        *("context", "tools", "defaults"),
    ]
