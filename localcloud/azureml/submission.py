"""What a pipeline job must be before it is accepted: the service's own checks of a submission.

azure-ai-ml checks little on the client's side (`num_train_epochs=0` gets through), so the component's specification is
held against the inputs here, as the service does. Pure but for looking things up in the store. Called by jobs.py.
"""

import re
from dataclasses import dataclass
from typing import Any

from localcloud.azureml import catalog, registry
from localcloud.azureml.blobs import locate
from localcloud.azureml.computes import KIND as COMPUTES
from localcloud.azureml.computes import SERVERLESS
from localcloud.azureml.core import Cloud, Json, user_error

_COMPONENT = re.compile(rf"azureml://registries/{registry.NAME}/components/([^/]+)/versions/([^/]+)")
_BINDING = re.compile(r"\$\{\{parent\.(inputs|outputs)\.([^}]+)\}\}")
_DATA_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model")
COMPUTE_INPUTS = ("compute_model_import", "compute_preprocess", "compute_finetune")
"""compute_model_evaluation is an input without a step in 0.0.82, but still has to exist when it is given."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job that passed the checks."""

    parameters: Json
    """Every input of the component that has a value, given or by default, in the specification's types."""
    outputs: dict[str, str]
    """The job's outputs: name -> the component's output that is bound to it."""
    compute: str
    """The cluster that trains, or `serverless`."""
    nodes: int


def check(cloud: Cloud, properties: Json) -> Submission:
    """Check the `properties` of a job's PUT. Raises ArmError 400 that names the input and what is wrong with it."""
    if properties.get("jobType") != "Pipeline":
        raise user_error(
            f"Jobs of type {properties.get('jobType')!r} are not supported by the local cloud: Pipeline is."
        )
    steps = properties.get("jobs") or {}
    if len(steps) != 1:
        raise user_error(f"The local cloud runs pipelines of one component, this one has {len(steps)}.")
    step: Json = next(iter(steps.values()))
    found = _COMPONENT.fullmatch(str(step.get("componentId", "")))
    specification = catalog.components().get(found[1], {}).get(found[2]) if found else None
    if specification is None:
        raise user_error(f"Component {step.get('componentId')} was not found in a registry of the local cloud.")

    given = {name: _bound(value, properties) for name, value in (step.get("inputs") or {}).items()}
    if unknown := sorted(given.keys() - specification["inputs"].keys()):
        raise user_error(f"Unrecognized input(s) {', '.join(unknown)} of component {step['componentId']}.")
    parameters: Json = {}
    for name, spec in specification["inputs"].items():
        value = given.get(name)
        if value is not None:
            parameters[name] = _value(name, spec, value)
        elif spec.get("default") is not None:
            parameters[name] = _literal(name, spec, spec["default"])
    for name, spec in specification["inputs"].items():
        if spec["type"] in _DATA_TYPES and name in parameters and not spec["type"].endswith("model"):
            locate(cloud, parameters[name])
    for name in (*COMPUTE_INPUTS, "compute_model_evaluation"):
        compute = parameters[name]
        if compute != SERVERLESS and cloud.store.get(COMPUTES, compute.rsplit("/", 1)[-1].lower()) is None:
            raise user_error(f"Unknown compute target '{compute}' in input {name}.")
    if (
        parameters["compute_finetune"] == SERVERLESS
        and parameters["instance_type_finetune"].lower() not in catalog.sizes()
    ):
        raise user_error(
            f"Instance type {parameters['instance_type_finetune']} is not available for serverless compute."
        )
    return Submission(
        parameters=parameters,
        outputs=_outputs(step, properties, specification),
        compute=parameters["compute_finetune"].rsplit("/", 1)[-1].lower(),
        nodes=parameters["num_nodes_finetune"],
    )


def _bound(value: Json, properties: Json) -> Json:
    """An input's value, looked up among the pipeline's own inputs when it is bound to one of them."""
    binding = _BINDING.fullmatch(str(value.get("value", "")))
    if binding is None:
        return value
    found = (properties.get("inputs") or {}).get(binding[2])
    if found is None:
        raise user_error(f"Binding {value['value']} names no input of the pipeline.")
    return dict(found)


def _outputs(step: Json, properties: Json, specification: Json) -> dict[str, str]:
    """The pipeline's outputs and what each is bound to. One that nothing is bound to is an error."""
    outputs: dict[str, str] = {}
    for name, value in (step.get("outputs") or {}).items():
        if name not in specification["outputs"]:
            raise user_error(f"Unrecognized output {name} of component {step['componentId']}.")
        if binding := _BINDING.fullmatch(str(value.get("value", ""))):
            outputs[binding[2]] = name
    if unbound := sorted((properties.get("outputs") or {}).keys() - outputs.keys()):
        raise user_error(f"No step is bound to the pipeline's output(s) {', '.join(unbound)}.")
    return outputs


def _value(name: str, spec: Json, value: Json) -> Any:
    """One input as it came over the wire: `{job_input_type or jobInputType, value or uri}`."""
    kind = value.get("job_input_type") or value.get("jobInputType")
    if spec["type"] in _DATA_TYPES:
        if kind != spec["type"]:
            raise user_error(f"Input {name} must be of type {spec['type']}, not {kind}.")
        if not value.get("uri"):
            raise user_error(f"Input {name} has no uri.")
        return str(value["uri"])
    if kind != "literal":
        raise user_error(f"Input {name} must be a {spec['type']}, not {kind}.")
    return _literal(name, spec, value.get("value"))


def _literal(name: str, spec: Json, value: Any) -> Any:
    """A literal in the specification's type, inside its minimum and enum."""
    kind: type = {"integer": int, "number": float}.get(spec["type"], str)
    try:
        converted = kind(value)
    except (TypeError, ValueError) as error:
        raise user_error(f"Input {name}: {value!r} is not of type {spec['type']}.") from error
    if "min" in spec and converted < spec["min"]:
        raise user_error(f"Input {name}: {converted} is less than the minimum, {spec['min']}.")
    if "enum" in spec and converted not in spec["enum"]:
        raise user_error(f"Input {name}: {converted!r} is none of {', '.join(spec['enum'])}.")
    return converted
