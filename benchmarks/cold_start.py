"""What a cold start costs: importing and indexing this app, against an empty app with as many triggers of each kind.

`.venv/bin/python -m benchmarks.cold_start [--json] [--runs N]`. Fresh processes, the two apps in turn, so that both
meet the same machine; medians; the time starts before azure.functions is imported. Exit code 1 when the ratio is over
LIMIT.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[1]
LIMIT = 1.25
_INDEX = """
import sys, time
begun = time.perf_counter()
import function_app
functions = function_app.app.get_functions()
took = time.perf_counter() - begun
import json
print(json.dumps({"seconds": took, "modules": len(sys.modules), "triggers": [
    f.get_trigger().get_dict_repr() | {"function": f.get_function_name()} for f in functions]}, default=str))
"""


def index(folder: Path) -> dict[str, object]:
    """Imports and indexes the app of `folder` in a fresh process: `seconds`, `modules` loaded, `triggers`."""
    done = subprocess.run(
        [sys.executable, "-c", _INDEX], cwd=folder, capture_output=True, text=True, check=True, env={"PYTHONPATH": "."}
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def write_empty_app(folder: Path, kinds: list[str]) -> None:
    """An app that does nothing, with a function for each of `kinds` (trigger types as the index names them)."""
    decorators = {
        "queueTrigger": '@app.queue_trigger(arg_name="given", queue_name="q{n}", connection="C")',
        "timerTrigger": '@app.timer_trigger(arg_name="given", schedule="0 0 * * * *")',
        "httpTrigger": '@app.route(route="r{n}")',
    }
    source = ["import azure.functions as func", "", "app = func.FunctionApp()"]
    for n, kind in enumerate(kinds):
        given = "req: func.HttpRequest" if kind == "httpTrigger" else "given"
        source += ["", "", decorators[kind].format(n=n), f"def f{n}({given}):", "    pass"]
    (folder / "function_app.py").write_text("\n".join(source) + "\n")


def measure(runs: int) -> dict[str, float]:
    """Medians in milliseconds of the app and the empty one, their ratio, how many triggers and modules there are."""
    triggers = index(REPO)["triggers"]
    assert isinstance(triggers, list)
    with tempfile.TemporaryDirectory() as temporary:
        empty = Path(temporary)
        write_empty_app(empty, [trigger["type"] for trigger in triggers])
        index(empty)  # both have been compiled now
        times: dict[Path, list[float]] = {REPO: [], empty: []}
        modules = dict.fromkeys(times, 0)
        for _ in range(runs):
            for folder, taken in times.items():
                found = index(folder)
                taken.append(float(str(found["seconds"])))
                modules[folder] = int(str(found["modules"]))
        ours, floor = statistics.median(times[REPO]), statistics.median(times[empty])
        return {
            "app_ms": round(ours * 1000, 1),
            "empty_ms": round(floor * 1000, 1),
            "ratio": round(ours / floor, 3),
            "limit": LIMIT,
            "triggers": len(triggers),
            "app_modules": modules[REPO],
            "empty_modules": modules[empty],
            "runs": runs,
        }


def main() -> int:
    """Prints a table or JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Cold start of the app against an empty one.")
    parser.add_argument("--runs", type=int, default=15, help="processes of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a result that a program can read")
    options = parser.parse_args()
    result = measure(options.runs)
    if options.json:
        print(json.dumps({"benchmark": "cold_start", **result}))
    else:
        print(f"{'':12}{'ms':>8}{'modules':>10}")
        print(f"{'this app':12}{result['app_ms']:>8}{result['app_modules']:>10}")
        print(f"{'empty app':12}{result['empty_ms']:>8}{result['empty_modules']:>10}")
        print(
            f"ratio {result['ratio']} (at most {LIMIT}), {result['triggers']} triggers, median of {options.runs} runs"
        )
    return int(result["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
