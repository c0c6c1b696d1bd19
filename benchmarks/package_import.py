"""What the package's .pyc are worth: the CPU time of its imports, against the same tree with fresh .pyc, and with none.

`make bench-package`, or `.venv/bin/python -m benchmarks.package_import [--archive ZIP] [--json] [--runs N]`. The
package is unpacked, as on Azure, under other times than it was packed with. Fresh .pyc are those that Python writes
itself at the first import. Fresh processes, the two in pairs; the median of the pairs' ratios. Exit code 1 when it is
over LIMIT.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from scripts.package import version
from scripts.package_tree import LIBRARIES

REPO = Path(__file__).parents[1]
LIMIT = 1.1
_IMPORT = """
import time, resource
import function_app, functions.web, shared.app, shared.run.loop, shared.api.views, shared.sweep, shared.messages
import azure.ai.ml, azure.identity, azure.storage.blob, azure.storage.queue, datasets
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def cpu(app: Path, *, cached: bool = True) -> float:
    """Seconds of processor time of a fresh process that imports what the app imports. `cached`: it may write .pyc."""
    flags = ["-S", "-P", "-W", "ignore", *([] if cached else ["-B"])]
    paths = os.pathsep.join([str(app), str(app / LIBRARIES)])
    done = subprocess.run(
        [sys.executable, *flags, "-c", _IMPORT],
        env={"PYTHONPATH": paths, "HOME": str(app.parent), "PATH": os.environ["PATH"]},
        cwd=app.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def without_pyc(app: Path) -> Path:
    """The app without any .pyc."""
    for path in app.rglob("*.pyc"):
        path.unlink()
    return app


def measure(archive: Path, runs: int, folder: Path) -> dict[str, float]:
    """Medians in seconds of the package, fresh .pyc and none; the ratio of the first two; below `folder`."""
    package, fresh = folder / "package", folder / "fresh"
    for target in (package, fresh):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(target)  # nothing keeps the times of 1980
    none = cpu(without_pyc(fresh), cached=False)
    cpu(fresh)  # Python writes them now
    cpu(package)
    pairs = [(cpu(package), cpu(fresh)) for _ in range(runs)]
    return {
        "package_s": round(statistics.median(ours for ours, _ in pairs), 3),
        "fresh_s": round(statistics.median(theirs for _, theirs in pairs), 3),
        "none_s": round(none, 3),
        "ratio": round(statistics.median(ours / theirs for ours, theirs in pairs), 3),
        "lowest_ratio": round(min(ours / theirs for ours, theirs in pairs), 3),
        "limit": LIMIT,
        "runs": runs,
    }


def main() -> int:
    """Prints a table or JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description="CPU time of the packaged app's imports.")
    parser.add_argument("--archive", type=Path, default=REPO / "dist" / f"droptune-{version(REPO)}.zip")
    parser.add_argument("--runs", type=int, default=7, help="pairs of processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a result that a program can read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options.archive, options.runs, Path(temporary))
    if options.json:
        print(json.dumps({"benchmark": "package_import", **result}))
    else:
        print(f"{'':18}{'CPU s':>8}")
        for name, key in (("the package", "package_s"), ("fresh .pyc", "fresh_s"), ("no .pyc", "none_s")):
            print(f"{name:18}{result[key]:>8}")
        print(f"ratio {result['ratio']} (at most {LIMIT}), median of {options.runs} pairs")
    return int(result["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
