"""Models and data through the real SDK; models from a job's output are in test_jobs.py."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from azure.ai.ml.entities import Data, Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

PREPARED = "azureml://datastores/prepared/paths"


@pytest.fixture
def name() -> str:
    return f"asset-{uuid4().hex[:8]}"


def model(name: str, version: str, path: str = f"{PREPARED}/model", **more: Any) -> Any:
    return Model(name=name, version=version, path=path, type="mlflow_model", **more)


def test_a_model_s_versions(ml: Any, name: str) -> None:
    for version in ("1", "2", "10"):
        made = ml.models.create_or_update(model(name, version, tags={"v": version}, properties={"job": "j"}))
        assert (made.name, made.version, made.tags, made.type) == (name, version, {"v": version}, "mlflow_model")
    assert ml.models.get(name, label="latest").version == "10"
    assert [each.version for each in ml.models.list(name=name)] == ["10", "2", "1"]
    assert name in [each.name for each in ml.models.list()]
    found = ml.models.get(name, "2")
    assert found.id.endswith(f"/models/{name}/versions/2")
    assert found.path.endswith("datastores/prepared/paths/model")
    assert found.properties == {"job": "j"}


def test_tags_change_and_the_path_does_not(ml: Any, name: str) -> None:
    ml.models.create_or_update(model(name, "1", tags={"a": "1"}))
    assert ml.models.create_or_update(model(name, "1", tags={"a": "2"})).tags == {"a": "2"}
    with pytest.raises(HttpResponseError, match=r"\(UserError\) Asset paths cannot be updated\.") as caught:
        ml.models.create_or_update(model(name, "1", f"{PREPARED}/other"))
    assert caught.value.status_code == 400


def test_an_archived_model_is_left_out(ml: Any, name: str) -> None:
    for version in ("1", "2"):
        ml.models.create_or_update(model(name, version))
    ml.models.archive(name, "2")
    assert [each.version for each in ml.models.list(name=name)] == ["1"]


def test_a_model_of_no_job_is_refused(ml: Any, name: str) -> None:
    with pytest.raises(HttpResponseError, match="Job no-such-job does not exist") as caught:
        ml.models.create_or_update(model(name, "1", "azureml://jobs/no-such-job/outputs/trained_model"))
    assert caught.value.status_code == 400


def test_what_is_not_there_is_not_found(ml: Any, name: str) -> None:
    with pytest.raises(ResourceNotFoundError):
        ml.models.get(name, "1")
    with pytest.raises(ResourceNotFoundError):
        ml.data.get(name, "1")
    with pytest.raises(HttpResponseError, match="no name or version"):
        ml.models.create_or_update(model(name + "$", "1"))


def test_data_versions(ml: Any, name: str) -> None:
    made = ml.data.create_or_update(Data(name=name, version="1", type="uri_file", path=f"{PREPARED}/train.jsonl"))
    assert made.path.endswith("datastores/prepared/paths/train.jsonl")
    ml.data.create_or_update(Data(name=name, version="2", type="uri_file", path=f"{PREPARED}/more.jsonl"))
    assert ml.data.get(name, label="latest").version == "2"
    assert [each.version for each in ml.data.list(name=name)] == ["2", "1"]
    with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
        ml.data.create_or_update(Data(name=name, version="1", type="uri_file", path=f"{PREPARED}/more.jsonl"))
