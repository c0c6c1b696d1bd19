"""What a pipeline job must be before it is accepted: the service's own checks of a submission.

azure-ai-ml checks little on the client's side (`num_train_epochs=0` gets through), so the component's specification is
held against the inputs here, as the service does. Pure but for looking things up in the store. Called by jobs.py.
"""

import re
import uuid
from dataclasses import dataclass
from typing import Any

from localcloud.azureml import catalog, registry
from localcloud.azureml.arm import user_error
from localcloud.azureml.blobs import locate
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.components import command_component
from localcloud.azureml.computes import KIND as COMPUTES
from localcloud.azureml.computes import SERVERLESS
from localcloud.azureml.store import Json

_COMPONENT = re.compile(rf"azureml://registries/{registry.NAME}/components/([^/]+)/versions/([^/]+)")
_BINDING = re.compile(r"\$\{\{parent\.(inputs|outputs)\.([^}]+)\}\}")
_STEP_OUTPUT = re.compile(r"\$\{\{parent\.jobs\.([^.}]+)\.outputs\.([^}]+)\}\}")
PLACEHOLDER = re.compile(r"\$\{\{(inputs|outputs)\.([^}]+)\}\}")
_STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,254}")
_DATA_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model")
COMPUTE_INPUTS = ("compute_model_import", "compute_preprocess", "compute_finetune")
"""compute_model_evaluation is an input without a step in 0.0.82, but still has to exist when it is given."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a step writes: a `uri_file` or `uri_folder`, and the datastore path that it becomes.

    `mounted`: what is there when the step ends stays, however that was; otherwise only what a good step leaves counts.
    """

    kind: str
    uri: str
    mounted: bool


@dataclass(frozen=True, kw_only=True)
class Command:
    """A step that runs a command. `kinds`: the types of its inputs, `compute`: the cluster's name, or `serverless`."""

    name: str
    command: str
    inputs: Json
    kinds: dict[str, str]
    outputs: dict[str, Output]
    compute: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job that passed the checks."""

    steps: tuple[Command, ...]
    """What runs before the fine-tune component, in that order."""
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
    nodes = properties.get("jobs") or {}
    commands = {name: node for name, node in nodes.items() if node.get("type") == "command"}
    others = {name: node for name, node in nodes.items() if name not in commands}
    if len(others) != 1:
        raise user_error(f"The local cloud runs one pipeline component a job, this one has {len(others)}.")
    steps: dict[str, Command] = {}
    while len(steps) < len(commands):  # those first whose inputs are there
        ready = [name for name in commands if name not in steps and _needs(commands[name]) <= steps.keys()]
        if not ready:
            raise user_error(f"Steps {', '.join(sorted(commands.keys() - steps.keys()))} wait for each other.")
        for name in ready:
            steps[name] = _command(cloud, name, commands[name], properties, steps)
    return _finetune(cloud, next(iter(others.values())), properties, steps)


def _finetune(cloud: Cloud, step: Json, properties: Json, steps: dict[str, Command]) -> Submission:
    """The fine-tune component's step, which comes last."""
    found = _COMPONENT.fullmatch(str(step.get("componentId", "")))
    specification = catalog.components().get(found[1], {}).get(found[2]) if found else None
    if specification is None:
        raise user_error(f"Component {step.get('componentId')} was not found in a registry of the local cloud.")
    parameters = _inputs(cloud, step, specification, properties, steps)
    for name in (*COMPUTE_INPUTS, "compute_model_evaluation"):
        _check_compute(cloud, parameters[name], f"in input {name}")
    if (
        parameters["compute_finetune"] == SERVERLESS
        and parameters["instance_type_finetune"].lower() not in catalog.sizes()
    ):
        raise user_error(
            f"Instance type {parameters['instance_type_finetune']} is not available for serverless compute."
        )
    return Submission(
        steps=tuple(steps.values()),
        parameters=parameters,
        outputs=_outputs(step, properties, specification),
        compute=parameters["compute_finetune"].rsplit("/", 1)[-1].lower(),
        nodes=parameters["num_nodes_finetune"],
    )


def _command(cloud: Cloud, name: str, node: Json, properties: Json, before: dict[str, Command]) -> Command:
    """A step of the workspace's own component."""
    if not _STEP_NAME.fullmatch(name):
        raise user_error(f"Step name {name!r}: small letters, digits and '_', a letter first.")
    specification = command_component(cloud, str(node.get("componentId", "")))
    if specification is None:
        raise user_error(f"Component {node.get('componentId')} of step {name} was not found in the workspace.")
    compute = str(node.get("computeId") or "")
    _check_compute(cloud, compute, f"of step {name}")
    inputs = _inputs(cloud, node, specification, properties, before)
    outputs = {}
    for output, spec in (specification.get("outputs") or {}).items():
        given = (node.get("outputs") or {}).get(output) or {}
        uri = given.get("uri") or f"azureml://datastores/workspaceblobstore/paths/azureml/{uuid.uuid4()}/{output}"
        locate(cloud, uri)
        kind = spec["type"]
        if kind not in ("uri_file", "uri_folder"):
            raise user_error(f"Output {output} of step {name} is a {kind}: the local cloud writes files and folders.")
        mounted = given.get("mode") in (None, "ReadWriteMount")
        if not mounted and given["mode"] != "Upload":
            raise user_error(f"Output {output} of step {name}: mode {given['mode']} is not implemented.")
        outputs[output] = Output(kind=kind, uri=uri, mounted=mounted)
    if unknown := sorted((node.get("outputs") or {}).keys() - outputs.keys()):
        raise user_error(f"Unrecognized output(s) {', '.join(unknown)} of step {name}.")
    command = str(specification["command"])
    for kind, key in PLACEHOLDER.findall(command):
        if key not in (inputs if kind == "inputs" else outputs):
            raise user_error(f"The command of step {name} names {kind}.{key}, which it has not.")
    return Command(
        name=name,
        command=command,
        inputs=inputs,
        kinds={key: spec["type"] for key, spec in (specification.get("inputs") or {}).items()},
        outputs=outputs,
        compute=compute.rsplit("/", 1)[-1].lower(),
    )


def _needs(node: Json) -> set[str]:
    """The steps whose outputs a step takes."""
    values = (node.get("inputs") or {}).values()
    return {found[1] for value in values if (found := _STEP_OUTPUT.fullmatch(str(value.get("value", ""))))}


def _inputs(cloud: Cloud, step: Json, specification: Json, properties: Json, before: dict[str, Command]) -> Json:
    """The values of a step's inputs, given or by default, in the specification's types."""
    specs = specification.get("inputs") or {}
    given = {name: _bound(value, properties, before) for name, value in (step.get("inputs") or {}).items()}
    if unknown := sorted(given.keys() - specs.keys()):
        raise user_error(f"Unrecognized input(s) {', '.join(unknown)} of component {step['componentId']}.")
    values: Json = {}
    for name, spec in specs.items():
        value = given.get(name)
        if value is not None:
            values[name] = _value(name, spec, value)
        elif spec.get("default") is not None:
            values[name] = _literal(name, spec, spec["default"])
        elif specification.get("type") == "command" and not spec.get("optional"):
            raise user_error(f"Required input {name} of component {step['componentId']} is missing.")
        if spec["type"] in _DATA_TYPES and name in values and not spec["type"].endswith("model"):
            locate(cloud, values[name])
    return values


def _check_compute(cloud: Cloud, compute: str, where: str) -> None:
    if compute != SERVERLESS and cloud.store.get(COMPUTES, compute.rsplit("/", 1)[-1].lower()) is None:
        raise user_error(f"Unknown compute target '{compute}' {where}.")


def _bound(value: Json, properties: Json, before: dict[str, Command]) -> Json:
    """An input's value, looked up where it is bound: among the pipeline's inputs, or the outputs of a step before."""
    if step := _STEP_OUTPUT.fullmatch(str(value.get("value", ""))):
        output = before[step[1]].outputs.get(step[2]) if step[1] in before else None
        if output is None:
            raise user_error(f"Binding {value['value']} names no output of a step that runs before.")
        return {"job_input_type": output.kind, "uri": output.uri}
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
