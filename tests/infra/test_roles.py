"""Roles: infra/roles.json says who may do what and where; Bicep assigns exactly that, and Azure knows the GUIDs."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from tests.kit.infra.access import ASSIGNMENT, DEFINITION, ROLES, Grant, granted, grants
from tests.kit.infra.plan import INFRA, SUBSCRIPTION, Plan, parameter_files, planned, templates
from tests.kit.infra.syntax import Call, Fields, Literal, Member, Name, Node, within
from tests.kit.paths import ROOT

GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
BUILT_IN = {
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": ("Reader", "afc42755"),
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": ("Storage Blob Data Reader", "57ef6073"),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": ("Storage Blob Data Contributor", "ade1da02"),
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": ("Storage Blob Data Owner", "8c8413fd"),
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": ("Storage Queue Data Contributor", "6833377a"),
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": ("Storage Queue Data Message Sender", "651da6b6"),
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": ("Storage Table Data Contributor", "0660d1be"),
    "f6c7c914-8db3-469d-8ca1-694a8f32e121": ("AzureML Data Scientist", "ce7c38df"),
    "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815": ("AzureML Compute Operator", "9705ba41"),
    "f1a07417-d97a-45cb-824c-7a7467783830": ("Managed Identity Operator", "5d1f2f81"),
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05": ("Monitoring Reader", "6943b79e"),
    "3913510d-42f4-4e42-8a64-420c390055eb": ("Monitoring Metrics Publisher", "214365af"),
    "73c42c96-874c-492b-b04d-ab87d138a893": ("Log Analytics Reader", "737a257e"),
    "d5a91429-5739-47e2-a06b-3470a27159e7": ("EventGrid Data Sender", "c5d60004"),
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": ("AcrPull", "3f1bb68f"),
    "b24988ac-6180-42a0-ab88-20f7382dd24c": ("Contributor", "f071e727"),
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": ("Role Based Access Control Administrator", "bdc6d799"),
}
"""Azure's own roles by their GUIDs: what they are called, and the digest of what they grant."""
KINDS = ("actions", "notActions", "dataActions", "notDataActions")
ACTION = re.compile(r"(\*|Microsoft\.[A-Za-z]+)(/(\*|[A-Za-z]+))*/(read|write|delete|action|\*)|\*", re.IGNORECASE)


def digest(role: dict[str, Any]) -> str:
    told = "\n".join(sorted(f"{kind} {each}".lower() for kind in KINDS for each in role[kind]))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def wanted(plan: Plan) -> set[Grant]:
    """What roles.json assigns with these parameters."""

    def meant(when: str) -> bool:
        """`parameter`, `no parameter`, `parameter is 'value'`, with `, or ` between."""

        def one(condition: str) -> bool:
            name, _, value = condition.partition(" is ")
            if value:
                return bool(plan.parameters[name] == value.strip("'"))
            return not plan.parameters[name[3:]] if name.startswith("no ") else bool(plan.parameters[name])

        return not when or any(one(each) for each in when.split(", or "))

    return {
        Grant(each["principal"], each["role"], each["scope"])
        for each in ROLES["assignments"]
        if each["principal"] != "deployer" and meant(each.get("when", ""))
    }


def test_bicep_assigns_what_the_file_says_to_whom_it_says_and_where(plan: Plan) -> None:
    """A scope is an id here: one that is wider than the file's is another."""
    assert set(granted(plan)) == wanted(plan)


def test_each_assignment_of_the_file_is_made_by_one_of_the_examples() -> None:
    made = {grant for name in parameter_files() for grant in granted(planned(name))}
    told = {Grant(each["principal"], each["role"], each["scope"]) for each in ROLES["assignments"]}
    assert told - made == {grant for grant in told if grant.principal == "deployer"}
    assert len(told) == len(ROLES["assignments"]), "one stands there twice"


def test_an_assignment_is_called_after_what_it_is(plan: Plan) -> None:
    for grant, made in granted(plan).items():
        assert made.symbol == f"{grant.principal}_{grant.role}_{grant.scope}"
        assert made.properties["principalType"] == ROLES["principals"][grant.principal]["type"]


def test_the_name_of_an_assignment_is_made_of_scope_principal_and_role() -> None:
    """The next deployment finds it again, and one of another identity is another one: none can be moved."""
    for made in (each for template in templates() for each in template.resources.values() if each.type == ASSIGNMENT):
        told = fields(made.body)
        name, principal = told["name"], fields(told["properties"])["principalId"]
        assert isinstance(name, Call)
        assert name.name == "guid"
        where, who, what = name.arguments
        scope = told.get("scope")
        assert where == Member(scope, "id") if scope else isinstance(where, Member) and isinstance(where.of, Call)
        assert who == principal or Member(Member(who.of, "properties"), "principalId") == principal  # type: ignore[union-attr]
        definition = fields(told["properties"])["roleDefinitionId"]
        of_the_file = Member(Name("roles"), made.symbol.split("_")[1])
        assert what in within(definition) or what == Member(of_the_file, "name")


def fields(node: Node) -> dict[str, Node]:
    assert isinstance(node, Fields)
    return {str(key.value): value for key, value in node.pairs if isinstance(key, Literal)}


def test_no_two_assignments_share_a_name(plan: Plan) -> None:
    names = [each.name for each in plan.of(ASSIGNMENT)]
    assert len(names) == len(set(names))
    assert all(GUID.fullmatch(name) for name in names)


def test_built_in_roles_are_azure_s() -> None:
    found = {role["guid"]: role["name"] for role in ROLES["roles"].values() if "guid" in role}
    assert found == {guid: name for guid, (name, _) in BUILT_IN.items()}


@pytest.mark.parametrize("name", [name for name, role in ROLES["roles"].items() if "guid" in role])
def test_what_a_built_in_role_grants_is_azure_s_to_say(name: str) -> None:
    """Is something missing, then another role is needed: writing it in here grants nothing."""
    role = ROLES["roles"][name]
    assert digest(role) == BUILT_IN[role["guid"]][1], f"{role['name']}: see Azure's own definition, then the digest"


def test_our_own_role_is_made_of_the_file() -> None:
    plan = planned("subscription-custom-role")
    made, told = plan.one(DEFINITION), ROLES["roles"]["watcher"]
    assert made.properties["permissions"] == [{kind: told[kind] for kind in KINDS}]
    assert made.properties["assignableScopes"] == [SUBSCRIPTION]
    assert made.properties["type"] == "CustomRole"
    assert made.properties["roleName"] == f"{told['name']} ({plan.parameters['environmentName']})".replace("(", "(rg-")
    assert made.scope == SUBSCRIPTION
    assert not [
        name for name in parameter_files() if name != "subscription-custom-role" and planned(name).of(DEFINITION)
    ]


def test_our_own_role_only_reads() -> None:
    told = ROLES["roles"]["watcher"]
    assert all(each.endswith("/read") and "*" not in each for each in told["actions"])
    assert not told["dataActions"]


def test_the_file_is_well_formed() -> None:
    for name, role in ROLES["roles"].items():
        assert ("guid" in role) != bool(role.get("custom")), name
        for kind in KINDS:
            assert all(ACTION.fullmatch(each) for each in role[kind]), f"{name}: {kind}"
            assert len(set(role[kind])) == len(role[kind]), f"{name}: {kind}"
    for each in ROLES["assignments"]:
        assert each["principal"] in ROLES["principals"]
        assert each["role"] in ROLES["roles"]
        assert each["scope"] in ROLES["scopes"]
        assert each["why"].endswith("."), each
        assert each.keys() <= {"principal", "role", "scope", "why", "when"}
    for kind, name in (("roles", "role"), ("scopes", "scope"), ("principals", "principal")):
        assert ROLES[kind].keys() == {each[name] for each in ROLES["assignments"]}, f"{kind} that nothing uses"


def test_no_guid_of_a_role_stands_anywhere_else() -> None:
    places = [*INFRA.rglob("*.*"), *ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.md")]
    for folder in ("functions", "shared", "cli", "localcloud", "scripts", "tests"):
        places += [each for each in (ROOT / folder).rglob("*.py") if "node_modules" not in each.parts]
    found = {
        path.relative_to(ROOT)
        for path in places
        if path.is_file() and set(GUID.findall(path.read_text())) & BUILT_IN.keys()
    }
    assert {str(path) for path in found} == {"infra/roles.json", "tests/infra/test_roles.py"}
    assert not [each.path.name for each in templates() if GUID.search(each.path.read_text())]


# How Azure matches ---------------------------------------------------------------------------------------------------


def role(*actions: str, but: tuple[str, ...] = (), data: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"actions": actions, "notActions": but, "dataActions": data, "notDataActions": ()}


def test_actions_are_matched_as_azure_matches_them() -> None:
    assert grants(role("*/read"), "Microsoft.X/a/b/read")
    assert not grants(role("*/read"), "Microsoft.X/a/b/write")
    assert grants(role("microsoft.x/A/*/READ"), "Microsoft.X/a/b/c/read"), "case does not count, * is any text"
    assert grants(role("*"), "Microsoft.X/a/write")
    assert not grants(role("Microsoft.X/a/read"), "Microsoft.X/a/read/more")


def test_what_is_taken_out_is_not_granted() -> None:
    assert not grants(role("*", but=("Microsoft.X/a/write",)), "Microsoft.X/a/write")
    assert grants(role("*", but=("Microsoft.X/a/write",)), "Microsoft.X/b/write")


def test_actions_are_no_data_actions() -> None:
    assert not grants(role("*"), "Microsoft.X/a/read", data=True)
    assert grants(role(data=("Microsoft.X/*",)), "Microsoft.X/a/read", data=True)


def test_in_doubt_nothing_is_granted() -> None:
    assert not grants(role("Microsoft.X/a/*/read"), "Microsoft.X/a/read")
    assert not grants(role("*", but=("Microsoft.X/a/*/read",)), "Microsoft.X/a/read")
