"""What a deployment of infra/ makes for given parameters: every resource with its id, its body and what it waits for.

Expressions get their values as Azure Resource Manager would give them. What only Azure knows (a client id, an address)
stays a `Ref`: equal when it is the same property of the same resource, whichever module reads it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tests.kit.infra.bicep import read
from tests.kit.infra.syntax import (
    BicepError,
    Binary,
    Call,
    Choice,
    Fields,
    For,
    Index,
    Items,
    Literal,
    Member,
    Module,
    Name,
    Node,
    Not,
    Param,
    Resource,
    Template,
    Text,
    within,
)
from tests.kit.paths import ROOT

INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"
SUBSCRIPTION = "/subscriptions/SUBSCRIPTION"
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
}
_TYPES: dict[str, type] = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}


@dataclass(frozen=True)
class Ref:
    """A property that only Azure knows: `<id of the resource>.properties.clientId`."""

    of: str
    path: str

    def __str__(self) -> str:
        return f"<{self.of}.{self.path}>"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A resource of a deployment. `module` is its symbol in main.bicep, "" for main's own."""

    module: str
    symbol: str
    type: str
    id: str
    name: str
    scope: str
    """Id of what it is deployed to, or for a resource with a `scope:` or `parent:` line, of that."""
    existing: bool
    body: Mapping[str, Any] = field(repr=False)

    @property
    def properties(self) -> dict[str, Any]:
        """Its properties."""
        found: dict[str, Any] = self.body.get("properties", {})
        return found


@dataclass(frozen=True)
class _Group:
    id: str


@dataclass(kw_only=True)
class Plan:
    """What a deployment makes. `parameters` with their defaults; `before` says what is made before what."""

    parameters: dict[str, Any]
    resources: list[Made] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    waits: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """By module: each symbol with those that it waits for. "" is main.bicep."""

    def of(self, kind: str) -> list[Made]:
        """The resources of that type that it makes; those that are there already are not among them."""
        return [each for each in self.resources if each.type == kind and not each.existing]

    def one(self, kind: str, name: str = "") -> Made:
        """The only one; `name` is that of the resource, or how it begins."""
        found = [each for each in self.of(kind) if each.name.startswith(name)]
        assert len(found) == 1, f"{kind} {name}: {[each.name for each in found]}"
        return found[0]

    @cached_property
    def by_id(self) -> dict[str, Made]:
        """What it makes, by id."""
        return {each.id: each for each in self.resources if not each.existing}

    def before(self, first: Made, then: Made) -> bool:
        """Whether `first` is sure to be there when `then` is made."""
        if first.module == then.module:
            return first.symbol in self._all(first.module, then.symbol)
        return first.module in self._all("", then.module)

    def _all(self, module: str, symbol: str) -> set[str]:
        waits, found, open_ = self.waits[module], set[str](), [symbol]
        while open_:
            new = waits.get(open_.pop(), set()) - found
            found |= new
            open_ += new
        return found


class _Scope:
    """One template being deployed. Values are had when they are asked for, so that a branch not taken costs nothing."""

    def __init__(self, plan: Plan, template: Template, given: Mapping[str, Any], where: str, module: str) -> None:
        self.plan, self.template, self.where, self.module = plan, template, where, module
        self.params = {name: self._param(param, given) for name, param in template.params.items()}
        if unknown := given.keys() - template.params.keys():
            raise BicepError(f"{template.path.name} has no parameter {', '.join(sorted(unknown))}")
        self._known: dict[str, Any] = {}
        self._loop: dict[str, Any] = {}

    def _param(self, param: Param, given: Mapping[str, Any]) -> Any:
        what = f"{self.template.path.name}: parameter {param.symbol}"
        if param.symbol in given:
            value = given[param.symbol]
        elif param.default is not None:
            value = self.value(param.default)
        else:
            raise BicepError(f"{what} has no value")
        if isinstance(value, Ref):
            return value
        if type(value) is not _TYPES[param.type]:
            raise BicepError(f"{what} is no {param.type}: {value!r}")
        for name, (limit,) in ((name, args) for name, args in param.decorators.items() if len(args) == 1):
            if not _allowed(name, value, limit):
                raise BicepError(f"{what}: {value!r} is against @{name}")
        return value

    def deploy(self) -> None:
        """Makes everything, and has modules make theirs."""
        self.plan.waits[self.module] = {
            symbol: self._waits(statement)
            for symbol, statement in (self.template.resources | self.template.modules).items()
        }
        for symbol in (*self.template.resources, *self.template.modules):
            statement = self.template.resources.get(symbol) or self.template.modules[symbol]
            if not self.value(statement.condition):
                continue
            made = self.symbol(symbol)
            if isinstance(statement, Resource):
                self.plan.resources += made if isinstance(made, list) else [made]

    def _waits(self, node: object) -> set[str]:
        found: set[str] = set()
        for name in {each.name for each in within(node) if isinstance(each, Name)}:
            if name in self.template.resources or name in self.template.modules:
                found.add(name)
            elif name in self.template.variables:
                found |= self._waits(self.template.variables[name].value)
        return found

    # Symbols

    def symbol(self, name: str) -> Any:
        """What it stands for here."""
        for known in (self._loop, self.params):
            if name in known:
                return known[name]
        if name not in self._known:
            if name in self.template.variables:
                self._known[name] = self.value(self.template.variables[name].value)
            elif name in self.template.resources:
                self._known[name] = self._resource(self.template.resources[name])
            elif name in self.template.modules:
                self._known[name] = self._module(self.template.modules[name])
            else:
                raise BicepError(f"{self.template.path.name}: there is no symbol {name}")
        return self._known[name]

    def _resource(self, resource: Resource) -> Made | list[Made]:
        self._present(resource)
        if not isinstance(resource.body, For):
            return self._one(resource, self.value(resource.body))
        return [self._one(resource, body) for body in self.value(resource.body)]

    def _one(self, resource: Resource, body: dict[str, Any]) -> Made:
        name, parent, scope = body["name"], body.pop("parent", None), body.pop("scope", None)
        body.pop("dependsOn", None)
        if parent:
            there, id_ = parent.id, f"{parent.id}/{resource.type.rpartition('/')[2]}/{name}"
        else:
            there = scope.id if scope else self.where
            if resource.type == "Microsoft.Resources/resourceGroups":
                id_ = f"{there}/resourceGroups/{name}"
            else:
                id_ = _id(there, resource.type, name)
        return Made(
            module=self.module,
            symbol=resource.symbol,
            type=resource.type,
            id=id_,
            name=name,
            scope=there,
            existing=resource.existing,
            body=_plain(body),
        )

    def _module(self, module: Module) -> dict[str, Any]:
        self._present(module)
        body = self.value(module.body)
        template = read((self.template.path.parent / module.path).resolve())
        scope = body.get("scope")
        where = scope.id if scope else self.where
        if ("/resourceGroups/" in where) != (template.scope == "resourceGroup"):
            raise BicepError(f"module {module.symbol}: a template for a {template.scope} can't go to {where}")
        inner = _Scope(self.plan, template, body.get("params", {}), where, module.symbol)
        inner.deploy()
        return {"name": body["name"], "outputs": _Outputs(inner)}

    def _present(self, statement: Resource | Module) -> None:
        if not self.value(statement.condition):
            raise BicepError(f"{self.template.path.name}: {statement.symbol} is read, but is not made here")

    # Expressions

    def value(self, node: Node) -> Any:
        """The expression's value."""
        match node:
            case Literal(value):
                return value
            case Text(pieces):
                return "".join(each if isinstance(each, str) else str(_id_of(self.value(each))) for each in pieces)
            case Name(name):
                return self.symbol(name)
            case Member(of, name):
                return _member(self.value(of), name)
            case Index(of, at):
                return self.value(of)[self.value(at)]
            case Not(of):
                return not self.value(of)
            case Choice(test, then, other):
                return self.value(then if self.value(test) else other)
            case Items(items):
                return [self.value(each) for each in items]
            case Fields(pairs):
                return {self.value(key): self._field(key, each) for key, each in pairs}
        return self._computed(node)

    def _field(self, key: Node, node: Node) -> Any:
        """A field's value. What a `dependsOn` names may be absent: it has none, but has to be a symbol."""
        if key != Literal("dependsOn"):
            return self.value(node)
        for each in within(node):
            if isinstance(each, Name) and each.name not in self.template.resources | self.template.modules:
                raise BicepError(f"{self.template.path.name}: dependsOn {each.name}: there is no such symbol")
        return None

    def _computed(self, node: Node) -> Any:
        match node:
            case Binary(left, "||", right):
                return self.value(left) or self.value(right)
            case Binary(left, "&&", right):
                return self.value(left) and self.value(right)
            case Binary(left, sign, right) if sign in _OPERATORS:
                return _OPERATORS[sign](self.value(left), self.value(right))
            case Call(name, arguments):
                return self._call(name, [self.value(each) for each in arguments])
            case For(each, over, body):
                return [self._turn(each, item, body) for item in self.value(over)]
        raise BicepError(f"{self.template.path.name}: {node} is not known here")

    def _turn(self, name: str, item: Any, body: Node) -> Any:
        self._loop[name] = item
        try:
            return self.value(body)
        finally:
            del self._loop[name]

    def _call(self, name: str, given: list[Any]) -> Any:
        if name == "resourceGroup":
            subscription = SUBSCRIPTION if len(given) < 2 else f"/subscriptions/{given[0]}"
            return _Group(f"{subscription}/resourceGroups/{given[-1]}" if given else self.where)
        if name == "loadJsonContent":
            return json.loads((self.template.path.parent / given[0]).read_text())
        if name not in _FUNCTIONS:
            raise BicepError(f"{self.template.path.name}: the function {name} is not known here")
        return _FUNCTIONS[name](*given)


class _Outputs:
    """A module's outputs."""

    def __init__(self, scope: _Scope) -> None:
        self._scope = scope

    def __getitem__(self, name: str) -> Any:
        """Raises KeyError."""
        return self._scope.value(self._scope.template.outputs[name].value)


def _member(of: Any, name: str) -> Any:
    if isinstance(of, Made):
        if name in ("id", "name", "type"):
            return getattr(of, name)
        return of.body[name] if name == "location" and not of.existing else Ref(of.id, name)
    if isinstance(of, Ref):
        return Ref(of.of, f"{of.path}.{name}")
    if isinstance(of, _Group):
        return {"id": of.id}[name]
    try:
        return of[name]
    except (KeyError, TypeError):
        raise BicepError(f"there is no {name} in {str(of)[:80]}") from None


def _id_of(value: Any) -> Any:
    return value.id if isinstance(value, Made | _Group) else value


def _plain(value: Any) -> Any:
    """As it goes to Azure: what only Azure knows as text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Ref) else value


def _id(where: str, kind: str, name: str) -> str:
    provider, *kinds = kind.split("/")
    names = name.split("/")
    assert len(kinds) == len(names), f"{kind} {name}"
    return f"{where}/providers/{provider}/" + "/".join(f"{a}/{b}" for a, b in zip(kinds, names, strict=True))


def _allowed(decorator: str, value: Any, limit: Node) -> bool:
    if decorator == "allowed" and isinstance(limit, Items):
        return Literal(value) in limit.items
    if not isinstance(limit, Literal) or not isinstance(limit.value, int):
        return True
    match decorator:
        case "minValue" | "maxValue":
            found = value
        case "minLength" | "maxLength":
            found = len(value)
        case _:
            return True
    return bool(found >= limit.value if decorator.startswith("min") else found <= limit.value)


def _union(*given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in given:
        found |= each
    return found


def _joined(*given: Any) -> Any:
    if all(isinstance(each, list) for each in given):
        return [item for each in given for item in each]
    return "".join(map(str, given))


def _hash(*given: Any) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([str(each) for each in given])))


def _string(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": _joined,
    "empty": lambda value: not value,
    "environment": lambda: {
        "suffixes": {"storage": "STORAGE.SUFFIX"},
        "authentication": {"loginEndpoint": "https://LOGIN/"},
    },
    "guid": _hash,
    "split": lambda text, by: text.split(by),
    "string": _string,
    "subscription": lambda: {"id": SUBSCRIPTION, "subscriptionId": SUBSCRIPTION.rpartition("/")[2]},
    "subscriptionResourceId": lambda kind, name: _id(SUBSCRIPTION, kind, name),
    "tenant": lambda: {"tenantId": "TENANT"},
    "union": _union,
    "uniqueString": lambda *given: re.sub(
        r"[^a-z]", "", _hash(*given).translate(str.maketrans("0123456789", "ghijklmnop"))
    )[:13],
}


# Deployments ---------------------------------------------------------------------------------------------------------


def deployed(given: Mapping[str, Any], main: Path = MAIN) -> Plan:
    """What main.bicep makes with these parameters. Raises BicepError for what Resource Manager would refuse."""
    plan = Plan(parameters={})
    scope = _Scope(plan, read(main), given, SUBSCRIPTION, "")
    plan.parameters = scope.params
    scope.deploy()
    plan.outputs = {name: _plain(scope.value(each.value)) for name, each in scope.template.outputs.items()}
    return plan


def parameter_files() -> dict[str, Path]:
    """The parameter files, one for each switch, by name."""
    return {path.stem: path for path in sorted((INFRA / "parameters").glob("*.json"))}


def parameters_in(path: Path) -> dict[str, Any]:
    """The values of a parameter file."""
    return {name: each["value"] for name, each in json.loads(path.read_text())["parameters"].items()}


@cache
def planned(name: str) -> Plan:
    """What a deployment with infra/parameters/<name>.json makes."""
    return deployed(parameters_in(parameter_files()[name]))


def templates() -> Iterator[Template]:
    """Every Bicep file."""
    return map(read, sorted(INFRA.rglob("*.bicep")))
