"""Run in the package by test_real.py: indexes the app as the host does, then imports whatever any of its lines may.

`python import_all.py APP`. The last line is JSON: the functions, how many names were imported, each module's file.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
from pathlib import Path

from localcloud.host.worker import Worker


def imports(path: Path) -> set[str]:
    """The modules that a source imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}:{alias.name}" for alias in node.names)}
    return found


def main() -> None:
    app = Path(sys.argv[1])
    os.chdir(app)
    functions = sorted(function.name for function in Worker(app).index())
    sources = [app / "function_app.py", *sorted(app.glob("functions/*.py")), *sorted(app.rglob("shared/**/*.py"))]
    wanted = {".".join(path.relative_to(app).with_suffix("").parts) for path in sources}
    wanted |= {name for path in sources for name in imports(path)}
    for name in sorted(wanted):
        module, _, attribute = name.partition(":")
        loaded = importlib.import_module(module)
        if attribute and not hasattr(loaded, attribute):
            importlib.import_module(f"{module}.{attribute}")
    modules = {name: getattr(module, "__file__", None) for name, module in sorted(sys.modules.items())}
    sys.stdout.write(json.dumps({"functions": functions, "imported": len(wanted), "modules": modules}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the worker's threads


if __name__ == "__main__":
    main()
