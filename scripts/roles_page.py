"""Writes the table of roles in docs/azure.md from infra/roles.json, which Bicep reads too.

The rest of the page is written by hand and left as it is. `.venv/bin/python -m scripts.roles_page`; tests/test_docs.py
fails when the table is stale.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "infra" / "roles.json"
PARAMETERS = ROOT / "infra" / "main.parameters.json"
PAGE = ROOT / "docs" / "azure.md"
BEGIN, END = "<!-- roles: made by scripts/roles_page.py -->\n", "<!-- end of the roles -->\n"


def variables() -> dict[str, str]:
    """Parameters of infra/main.bicep, and the variable of azd that sets each."""
    found: dict[str, Any] = json.loads(PARAMETERS.read_text(encoding="utf-8"))["parameters"]
    return {name: re.sub(r"^\$\{(\w+).*", r"\1", each["value"]) for name, each in found.items()}


def made() -> str:
    """Who there is, what each gets in the order of the file, and what our own roles may do."""
    source: dict[str, Any] = json.loads(SOURCE.read_text(encoding="utf-8"))
    principals, roles, scopes = source["principals"], source["roles"], source["scopes"]
    rows = "".join(
        f"| {_name(each['principal'], principals)} | {roles[each['role']]['name']} | {_place(scopes[each['scope']])} "
        f"| {each['why']} | {_told(each.get('when', ''))} |\n"
        for each in source["assignments"]
    )
    people = "".join(
        f"| {(name := _name(key, principals))} | {_told(each['is'].removeprefix(f'{name}, '))} |\n"
        for key, each in principals.items()
    )
    own = "".join(
        f"\n{role['name']} is a role of our own: {', '.join(f'`{action}`' for action in role['actions'])}.\n"
        for role in roles.values()
        if role.get("custom")
    )
    return (
        f"{BEGIN}\n| who | is |\n|---|---|\n{people}\n| who | role | on | why | only if |\n|---|---|---|---|---|\n"
        f"{rows}{own}{END}"
    )


def page() -> str:
    """The whole page, with the table anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + made() + rest.partition(END)[2]


def _name(key: str, principals: dict[str, Any]) -> str:
    """A principal's name as one reads it: id-func and id-train by theirs, `datasetTopic` as two words."""
    of_identity = re.match(r"(id-\w+),", principals[key]["is"])
    return of_identity[1] if of_identity else re.sub("[A-Z]", lambda letter: f" {letter[0].lower()}", key)


def _place(scope: str) -> str:
    return re.sub(r"^its (container|queue) (.*)", r"the app's \1 `\2`", scope)


def _told(text: str) -> str:
    """A text in which parameters stand as the variables that set them, and values as code."""
    names = variables()
    told = re.sub(r"\w+", lambda word: f"`{names[word[0]]}`" if word[0] in names else word[0], text)
    return re.sub("'([^']+)'", r"`\1`", told).replace("parameter `", "variable `")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
