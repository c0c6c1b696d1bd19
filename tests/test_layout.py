"""Where tests take their helpers from: the kit alone."""

from __future__ import annotations

import re

from tests.kit.paths import ROOT

IMPORT = re.compile(r"^\s*(?:from|import) (tests\b(?!\.kit\b).*)", re.MULTILINE)
RELATIVE = re.compile(r"^\s*(from \.+.*)", re.MULTILINE)


def test_no_test_module_and_no_conftest_is_imported_by_another() -> None:
    """Code that tests hand to a process of its own counts too. What two need moves to tests/kit/."""
    found = {
        str(path.relative_to(ROOT)): names
        for folder in ("tests", "benchmarks", "scripts", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (names := [*IMPORT.findall(text := path.read_text()), *RELATIVE.findall(text)])
    }
    assert found == {}
