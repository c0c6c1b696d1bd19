"""Writes all pages that are made of the code: `.venv/bin/python -m scripts.pages`.

The tests of each fail when it is stale; pre-commit runs this before a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts import architecture_page, cli_page, finetune_page, lifecycle_page, roles_page, rules_page, settings_page

PAGES: Mapping[Path, Callable[[], str]] = {
    settings_page.PAGE: settings_page.page,
    rules_page.PAGE: rules_page.page,
    finetune_page.PAGE: finetune_page.page,
    finetune_page.SCHEMA: finetune_page.schema,
    lifecycle_page.PAGE: lifecycle_page.page,
    architecture_page.PAGE: architecture_page.page,
    cli_page.PAGE: cli_page.page,
    roles_page.PAGE: roles_page.page,
}


def stale() -> list[Path]:
    """The pages that are not as they should be."""
    return [path for path, made in PAGES.items() if not path.exists() or path.read_text(encoding="utf-8") != made()]


def main() -> None:
    """Writes those, and leaves the others as they are."""
    for path in stale():
        path.write_text(PAGES[path](), encoding="utf-8")
        print(f"{path.name} was stale")


if __name__ == "__main__":
    main()
