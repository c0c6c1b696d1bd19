"""The processor time of `droptune --help` against that of a Python that does nothing.

`make bench-help`, or `.venv/bin/python -m benchmarks.help_cost [--json] [--pairs N]`. User and system time of fresh
processes, the two in pairs, after one of each that warms the caches; the median of the pairs' ratios. Exit code 1 when
it is over LIMIT.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).parents[1]
LIMIT = 7.0
HELP = (sys.executable, "-m", "cli", "--help")
NOTHING = (sys.executable, "-c", "pass")


def cpu(command: Sequence[str]) -> float:
    """Seconds of processor time of the process, its children's among them."""
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime


def measure(pairs: int) -> dict[str, float]:
    """Medians in milliseconds, and the ratio."""
    cpu(HELP)
    cpu(NOTHING)
    found = [(cpu(HELP), cpu(NOTHING)) for _ in range(pairs)]
    return {
        "help_ms": round(statistics.median(ours for ours, _ in found) * 1000, 1),
        "nothing_ms": round(statistics.median(nothing for _, nothing in found) * 1000, 1),
        "ratio": round(statistics.median(ours / nothing for ours, nothing in found), 2),
        "highest_ratio": round(max(ours / nothing for ours, nothing in found), 2),
        "limit": LIMIT,
        "pairs": pairs,
    }


def main() -> int:
    """Prints a table or JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description="CPU time of `droptune --help` against `python -c pass`.")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a result that a program can read")
    options = parser.parse_args()
    result = measure(options.pairs)
    if options.json:
        print(json.dumps({"benchmark": "help_cost", **result}))
    else:
        print(f"{'':18}{'CPU ms':>8}")
        print(f"{'droptune --help':18}{result['help_ms']:>8}")
        print(f"{'python -c pass':18}{result['nothing_ms']:>8}")
        print(f"ratio {result['ratio']} (at most {LIMIT}), median of {options.pairs} pairs")
    return int(result["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
