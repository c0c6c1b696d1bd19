"""The reader of Bicep, and the plan that is made of it: what they can't read or make is an error that says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.infra.bicep import parsed
from tests.kit.infra.plan import SUBSCRIPTION, Plan, deployed
from tests.kit.infra.syntax import BicepError

HEAD = "targetScope = 'subscription'\n"
GROUP = """resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg'
  location: 'here'
}
"""


def plan(folder: Path, main: str, given: dict[str, Any] | None = None, **modules: str) -> Plan:
    """What is made of main.bicep with this text, and of modules beside it."""
    for name, text in {"main": HEAD + main, **modules}.items():
        (folder / f"{name}.bicep").write_text(text)
    return deployed(given or {}, folder / "main.bicep")


def value(folder: Path, expression: str, before: str = "") -> Any:
    return plan(folder, f"{before}\noutput found string = {expression}\n").outputs["found"]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("'a\\'b'", "a'b"),
        ("'${'x'}-${1 + 2 * 3}'", "x-7"),
        ("'${empty('') ? '{' : '}'}'", "{"),
        ("true ? 'a' : nowhere", "a"),
        ("(!empty([]) || 1 < 2) && 'a' == 'a'", True),
        ("{ a: { 'b c': [1, 2] } }.a['b c'][1]", 2),
        ("union({ a: 1 }, { b: 2, a: 3 })", {"a": 3, "b": 2}),
        ("concat([1], [2])", [1, 2]),
        ("[for each in ['a', 'b']: '${each}!']", ["a!", "b!"]),
        ("split('a/b', '/')[1]", "b"),
        ("string(true)", "true"),
        ("subscription().id", SUBSCRIPTION),
    ],
)
def test_expressions_have_the_values_that_azure_gives_them(tmp_path: Path, expression: str, wanted: Any) -> None:
    assert value(tmp_path, expression) == wanted


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("param a string = 'x", "main:1: a text does not end"),
        ("\nparam a string =\n", "main:2: an expression can't begin with the end of the line"),
        ("func a() string => 'x'", "main:1: func is not read here"),
        ("var a = 1\nvar a = 2", "main:2: a is declared twice"),
        ("var a = [1 2]", "main:1: ] is wanted, not 2"),
        ("var a = 1 2", "main:1: 2 is too much"),
        ("var a = #", "main:1: can't read '#'"),
    ],
)
def test_what_it_can_t_read_it_says_with_the_line(source: str, told: str) -> None:
    with pytest.raises(BicepError) as raised:
        parsed(source, Path("main"))
    assert str(raised.value) == told


@pytest.mark.parametrize(
    ("main", "told"),
    [
        ("output a string = b", "there is no symbol b"),
        ("var a = { b: 1 }\noutput c int = a.d", "there is no d in"),
        ("output a string = unheard()", "the function unheard is not known"),
        ("param a string", "parameter a has no value"),
        ("@allowed(['x'])\nparam a string = 'y'", "parameter a: 'y' is against @allowed"),
        ("@minValue(1)\nparam a int = 0", "parameter a: 0 is against @minValue"),
        ("@maxLength(1)\nparam a string = 'xy'", "parameter a: 'xy' is against @maxLength"),
        ("param a int = '1'", "parameter a is no int: '1'"),
        ("module m 'm.bicep' = {\n  name: 'm'\n  params: {}\n}", "can't go to"),
        ("module m 'm.bicep' = {\n  name: 'm'\n  scope: group\n  params: { b: 1 }\n}", "m.bicep has no parameter b"),
        ("module m 'm.bicep' = {\n  name: 'm'\n  scope: group\n  dependsOn: [away]\n}", "dependsOn away: there is no"),
        (
            "module m 'm.bicep' = if (false) {\n  name: 'm'\n}\noutput a string = m!.outputs.a",
            "m is read, but is not made",
        ),
    ],
)
def test_what_resource_manager_would_refuse_is_refused(tmp_path: Path, main: str, told: str) -> None:
    with pytest.raises(BicepError, match=told):
        plan(tmp_path, GROUP + main, m="output a string = 'x'\n")


def test_a_parameter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BicepError, match=r"main\.bicep has no parameter b"):
        plan(tmp_path, "param a string = 'x'", {"b": 1})


MODULE = """param queue string
resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = { name: 'st' }
resource service 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}
resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for each in [queue]: {
  parent: service
  name: each
}]
resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: 'r'
  scope: account
  properties: { id: account.properties.clientId }
  dependsOn: [queues]
}
output id string = account.id
"""
READER = """param id string
resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = { name: 'st' }
resource other 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'other'
  properties: { id: id, client: account.properties.clientId }
}
"""
BOTH = """
module one 'one.bicep' = {
  name: 'one'
  scope: group
  params: { queue: 'q' }
}
module two 'two.bicep' = {
  name: 'two'
  scope: group
  params: { id: one.outputs.id }
}
"""


def test_resources_have_the_ids_that_azure_gives_them_in_whichever_module_they_are_read(tmp_path: Path) -> None:
    made = plan(tmp_path, GROUP + BOTH, one=MODULE, two=READER)
    account = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/st"
    assert f"{account}/queueServices/default/queues/q" in made.by_id
    assert f"{account}/providers/Microsoft.Authorization/roleAssignments/r" in made.by_id
    role = made.one("Microsoft.Authorization/roleAssignments")
    other = made.one("Microsoft.Storage/storageAccounts", "other")
    assert role.scope == account
    assert other.properties == {"id": account, "client": f"<{account}.properties.clientId>"}
    assert role.properties["id"] == other.properties["client"], "the same property, read in two modules"


def test_what_is_made_before_what_follows_from_what_is_read_and_from_depends_on(tmp_path: Path) -> None:
    made = plan(tmp_path, GROUP + BOTH, one=MODULE, two=READER)
    role, queue = (
        made.one("Microsoft.Authorization/roleAssignments"),
        made.one("Microsoft.Storage/storageAccounts/queueServices/queues"),
    )
    other = made.one("Microsoft.Storage/storageAccounts", "other")
    assert made.before(queue, role)
    assert made.before(queue, other)
    assert not made.before(role, queue)
    assert not made.before(other, queue)
    (tmp_path / "apart").mkdir()
    apart = plan(tmp_path / "apart", GROUP + BOTH.replace("one.outputs.id", "'x'"), one=MODULE, two=READER)
    assert not apart.before(queue, other)
