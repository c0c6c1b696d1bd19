"""Checks infra/ against the rules of checkov: `make check-infra`, outside of `make test`.

Checkov and its hundred libraries live in .venv-checkov, made at the first call by whatever Python 3.9 or newer runs
this. A rule that fails must stand in infra/checkov-allowed.json with its resources and a reason; an exception that is
not needed any more fails too, so that the list stays true. What checkov can't parse it skips, and calls that a success:
here it is a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INFRA = ROOT / "infra"
ALLOWED = INFRA / "checkov-allowed.json"
ENVIRONMENT = ROOT / ".venv-checkov"
CHECKOV = "checkov==3.3.30"


class CheckError(Exception):
    """The check could not be made. The text is one line that says what to do."""


def environment() -> Path:
    """The Python that has checkov; made when there is none, or one of another version."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "checkov.stamp"
    wanted = f"{CHECKOV} {sys.version} {ROOT}"  # environments hold absolute paths
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    print(f"check-infra: installing {CHECKOV} into {ENVIRONMENT.name}")
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", CHECKOV]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckError(f"{CHECKOV} could not be installed: {done.stderr.strip()[-300:]}")
    stamp.write_text(wanted)
    return python


def report(python: Path) -> dict[str, Any]:
    """What checkov finds in infra/, as it tells it. It asks nobody outside this machine."""
    options = ["--framework", "bicep", "--compact", "--skip-download", "--output", "json", "--directory", str(INFRA)]
    # Not from the root: checkov reads .checkov.yaml where it stands, and one in the root must not change the answer.
    done = subprocess.run(
        [str(python), "-m", "checkov.main", *options],
        cwd=ENVIRONMENT,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise CheckError(f"checkov gave no report: {(done.stderr or done.stdout).strip()[-300:]}") from None
    if not isinstance(found, dict) or "results" not in found:
        raise CheckError("checkov found nothing to check in infra/")
    return found


def faults(found: Mapping[str, Any], allowed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with `found`, a line each: files not parsed, rules that fail, exceptions that nothing needs."""
    results = found["results"]
    unread = [path.removeprefix(f"{INFRA}/") for path in results["parsing_errors"]]
    lines = [f"{path}: checkov can't parse it, so nothing in it was checked" for path in unread]
    if found["summary"]["parsing_errors"] and not lines:
        lines.append("checkov could not parse every file, and does not say which")
    failed: dict[str, dict[str, str]] = {}
    for check in results["failed_checks"]:
        where = f"{check['file_path'].lstrip('/')} {check['resource'].rpartition('.')[2]}"
        failed.setdefault(check["check_id"], {})[where] = check["check_name"]
    for rule, exception in allowed.items():
        if not exception["reason"].strip():
            lines.append(f"{rule}: an exception needs a reason")
        unneeded = set(exception["resources"]) - set(failed.get(rule, {}))
        lines += [f"{rule} {where}: no longer fails, take the exception away" for where in sorted(unneeded)]
    for rule, places in failed.items():
        excepted = allowed.get(rule, {}).get("resources", [])
        lines += [f"{rule} {where}: {name}" for where, name in sorted(places.items()) if where not in excepted]
    return lines


def main() -> int:
    """0: infra/ is as the list says. 1: it is not, or could not be checked."""
    try:
        found = report(environment())
    except CheckError as error:
        print(f"check-infra: {error}", file=sys.stderr)
        return 1
    allowed = json.loads(ALLOWED.read_text())
    lines = faults(found, allowed)
    for line in lines:
        print(f"check-infra: {line}", file=sys.stderr)
    if not lines:
        print(
            f"check-infra: {found['summary']['passed']} rules hold,"
            f" {found['summary']['failed']} exceptions of {len(allowed)} kinds, no file unread"
        )
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
