"""How much memory code takes, in a process of its own: for tests of readers that must not hold what they read."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.kit.paths import ROOT

# Of this process alone: what getrusage tells after a fork includes the parent's memory.
_TELL = """
with open("/proc/self/status") as status:
    print("\\n" + next(line for line in status if line.startswith("VmHWM")))
"""


def run(code: str, *arguments: object) -> tuple[str, int]:
    """Runs `code` with `arguments` in sys.argv: what it printed, and the most memory that it ever held, in MiB."""
    command = [sys.executable, "-W", "error", "-c", code + _TELL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    printed, _, peak = done.stdout.rpartition("\nVmHWM:")
    found = re.search(r"\d+", peak)
    assert found, done.stdout[-200:]
    return printed.strip(), int(found[0]) // 1024
