"""Makes the lock files from requirements*.in: `make lock`, with uv on PATH.

Every package is pinned, with the hashes of all its files: set-up needs no resolver and installs the same everywhere.
requirements-torch.txt is written by hand: two lines, one a system, whose hashes PyTorch's index shows. The model
environment's other packages are resolved beside it. Further arguments go to uv.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTIONS = (
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--quiet",
)
LOCKS = (
    ("requirements.txt", "3.13", ["requirements.in"]),
    ("requirements-dev.txt", "3.13", ["requirements-dev.in"]),
    ("requirements-bench.txt", "3.13", ["requirements-bench.in"]),
    ("requirements-reader.txt", "3.11", ["requirements-reader.in"]),
    (
        "requirements-model.txt",
        "3.11",
        ["requirements-model.in", "requirements-torch.txt", "--no-emit-package", "torch"],
    ),
)


def main() -> int:
    """Rewrites each lock file, keeping pins that still fit. Returns the exit code."""
    uv = shutil.which("uv")
    if uv is None:
        print("lock: uv is needed on PATH (pip install uv)", file=sys.stderr)
        return 1
    for output, python, sources in LOCKS:
        command = [uv, "pip", "compile", *sources, "--python-version", python, "--output-file", output, *OPTIONS]
        if subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
