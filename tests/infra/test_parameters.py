"""Parameters: those of main.bicep, those that azd fills in, and examples that turn on each switch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.kit.infra.bicep import read
from tests.kit.infra.plan import INFRA, MAIN, Plan, deployed, parameter_files, parameters_in
from tests.kit.infra.syntax import Literal, Param

AZD: dict[str, str] = parameters_in(INFRA / "main.parameters.json")
PARAMS = read(MAIN).params
NOT_TEXT: dict[str, Callable[[str], Any]] = {"int": int, "bool": {"true": True, "false": False}.__getitem__}


def filled(environment: dict[str, str]) -> dict[str, Any]:
    """The parameters as azd fills them in: `${NAME=default}`, and what is no text by the type of the parameter."""
    found: dict[str, Any] = {}
    for name, text in AZD.items():
        variable, _, default = text.removeprefix("${").removesuffix("}").partition("=")
        value = environment.get(variable, default)
        found[name] = NOT_TEXT.get(PARAMS[name].type, str)(value)
    return found


def default_of(param: Param) -> object:
    assert isinstance(param.default, Literal), param.symbol
    return param.default.value


def test_azd_can_set_each_but_the_tags() -> None:
    assert AZD.keys() == PARAMS.keys() - {"tags"}
    variables = [
        re.fullmatch(r"\$\{(AZURE_ENV_NAME|AZURE_LOCATION|DROPTUNE_\w+)(=[^}]*)?\}", each) for each in AZD.values()
    ]
    assert all(variables)
    assert len({found[1] for found in variables if found}) == len(AZD)


def test_azd_s_variables_are_called_like_their_parameters() -> None:
    for name, text in AZD.items():
        if name not in ("environmentName", "location"):
            wanted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
            assert text.startswith(f"${{DROPTUNE_{wanted}"), name


def test_azd_s_defaults_are_those_of_the_template() -> None:
    found = filled({"AZURE_ENV_NAME": "droptune-test", "AZURE_LOCATION": "westeurope"})
    for name, param in PARAMS.items():
        if param.default is not None and name in AZD:
            assert found[name] == default_of(param), name


def test_with_azd_the_same_is_made_as_without_a_choice(default: Plan) -> None:
    found = deployed(filled({"AZURE_ENV_NAME": "droptune-test", "AZURE_LOCATION": "westeurope"}))
    assert found.resources == default.resources


def test_as_installed_nothing_is_deleted_and_nothing_is_made_beside_the_template(default: Plan) -> None:
    chosen = default.parameters
    assert chosen["cleanupMode"] == "report", "read some reports first"
    assert chosen["makeClusters"] is True
    assert chosen["appMakesClusters"] is False
    assert chosen["apiAuth"] == "key", "a login needs an app registration"
    assert chosen["subscriptionAccess"] == "monitoring-reader"
    assert chosen["budgetAmount"] == 0, "not every offer has budgets"


def test_the_examples_turn_on_every_switch() -> None:
    """So that each condition of the template is met and missed at least once, here and by whatever else reads them."""
    files = {name: parameters_in(path) for name, path in parameter_files().items()}
    chosen = {name: {file[name] for file in files.values() if name in file} for name in PARAMS if name != "tags"}
    switches = {name for name, param in PARAMS.items() if param.type == "bool"}
    for name in switches:
        assert chosen[name] | {default_of(PARAMS[name])} == {True, False}, name
    for name in ("cleanupMode", "apiAuth", "subscriptionAccess"):
        (allowed,) = PARAMS[name].decorators["allowed"]
        told = {each.value for each in allowed.items if isinstance(each, Literal)}  # type: ignore[union-attr]
        assert chosen[name] | {default_of(PARAMS[name])} == told, name
    for name in (name for name, param in PARAMS.items() if param.type == "string" and default_of_text(param) == ""):
        assert chosen[name], f"no example sets {name}"


def default_of_text(param: Param) -> object:
    return param.default.value if isinstance(param.default, Literal) else None


def test_every_parameter_file_is_one_of_azure_s() -> None:
    for path in (*parameter_files().values(), INFRA / "main.parameters.json"):
        found = json.loads(path.read_text())
        assert found["$schema"].endswith("/2019-04-01/deploymentParameters.json#"), path.name
        assert found.keys() == {"$schema", "contentVersion", "parameters"}


def test_each_parameter_says_what_it_is_and_what_it_may_be() -> None:
    for param in PARAMS.values():
        assert "description" in param.decorators, param.symbol
        limits = {"allowed"} if param.type == "bool" else {"minValue", "maxValue", "minLength", "maxLength", "allowed"}
        free = param.type in ("bool", "object") or param.symbol in UNLIMITED
        assert free or limits & param.decorators.keys(), f"{param.symbol} has no limits"


UNLIMITED = {
    "existingWorkspaceStorageId",
    "existingWorkspaceRegistryId",
    "existingJobTopic",
    "existingDatasetTopic",
    "budgetContacts",
}
"""Ids and names that somebody else gave."""


def test_what_is_there_already_is_made_or_told_of(plan: Plan) -> None:
    """A module that reads a resource which nothing makes would fail in the middle of a deployment."""
    adopted = tuple(
        value
        for name, value in plan.parameters.items()
        if name.startswith("existing") and isinstance(value, str) and value
    )
    for each in plan.resources:
        if each.existing and each.id not in plan.by_id:
            assert adopted, each.id
            assert each.id.endswith(tuple(f"/{name.rpartition('/')[2]}" for name in adopted)), each.id
