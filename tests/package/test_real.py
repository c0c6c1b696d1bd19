"""The package itself: the same bytes from two builders, nothing of theirs in it, and imports where it is read-only."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import function_app
from benchmarks import package_import
from scripts.package_check import faults
from scripts.package_tree import FUNCIGNORE, LIBRARIES, files
from shared.training import step
from tests.kit.package.outside import Azure, builders, sources, state
from tests.kit.paths import ROOT

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

IMPORTS = ROOT / "tests" / "kit" / "package" / "import_all.py"


def test_two_builders_make_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    other = sources(tmp_path / "somebody else's folder" / "droptune")
    for number, path in enumerate(other.rglob("*")):
        os.utime(path, (number, number * 1e6))
    # Another home, but the same downloads.
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    environment = builders() | homes | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [environment["PYTHON313"], "-m", "scripts.package"]
    done = subprocess.run(command, cwd=other, env=environment, umask=0o077, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (other / "dist" / archive.name).read_bytes() == archive.read_bytes()
    folder = {name: path.read_bytes() for name, path in files(other / "dist" / "app") if name != FUNCIGNORE}
    with zipfile.ZipFile(archive) as packed:
        assert folder == {entry.filename: packed.read(entry) for entry in packed.infolist()}
    shutil.rmtree(other)


def test_its_size_is_told_and_it_holds_the_app_alone(
    archive: Path, told: str, record_property: Callable[[str, object], None]
) -> None:
    size = archive.stat().st_size
    assert f"{archive.name}: {size / 1e6:.1f} MB" in told
    record_property("package, MB", round(size / 1e6))
    assert size < 160e6
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"host.json", "function_app.py", "functions", "shared", "__pycache__", ".python_packages"}
    assert [
        name for name in names if not name.startswith(LIBRARIES) and not name.endswith((".py", ".pyc", ".json"))
    ] == []
    parts = {part for name in names if ".dist-info/" not in name for part in name.split("/")[:-1]}
    assert parts.isdisjoint({"localcloud", "tests", "include"})


def test_a_secret_or_a_path_of_the_builder_is_found_in_it(azure: Azure, tmp_path: Path) -> None:
    """In links to its files, so that only what is planted is written."""
    tree = tmp_path / "app"
    shutil.copytree(azure.app, tree, copy_function=os.link)
    for path in (tree, *tree.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    assert faults(tree, builder=[tmp_path]) == []
    (tree / "shared" / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    library = tree / LIBRARIES / "azure" / "ai" / "ml" / "planted.py"
    library.write_text("")
    py_compile.compile(str(library), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    wrong = faults(tree, builder=[tmp_path])
    pyc = f"{LIBRARIES}/azure/ai/ml/__pycache__/planted.cpython-313.pyc"
    assert "shared/key.pem holds a private key" in wrong
    assert f"{pyc} holds the builder's path {tmp_path}" in wrong
    assert {each.split(" ")[0].rstrip(":") for each in wrong} == {"shared/key.pem", pyc}


def test_everything_is_imported_from_it_and_no_file_is_written(azure: Azure) -> None:
    before = state(azure.app)
    done = subprocess.run(
        [*azure.python, str(IMPORTS), str(azure.app)],
        cwd=azure.scratch,
        env=azure.environment({"SWEEP_SCHEDULE": "0 */5 * * * *", "CLEANUP_SCHEDULE": "0 */15 * * * *"}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["functions"] == sorted(str(each.get_function_name()) for each in function_app.app.get_functions())
    assert found["imported"] >= 100
    for name in ("shared.app", "shared.run.loop", "shared.api.views", "azure.ai.ml", "datasets", "sacrebleu"):
        assert found["modules"][name]
    standard = str(Path(os.__file__).parent)
    allowed = (str(azure.app), str(azure.worker), str(ROOT / "localcloud"), standard, str(IMPORTS))
    elsewhere = {name: file for name, file in found["modules"].items() if file and not file.startswith(allowed)}
    assert elsewhere == {}
    heavy = [file for name, file in found["modules"].items() if name.split(".")[0] in ("shared", "azure", "datasets")]
    assert all(file.startswith(str(azure.app)) for file in heavy if file and "functions_runtime" not in file)
    assert state(azure.app) == before
    assert list(azure.scratch.rglob("*")) == []


def test_the_job_of_a_big_dataset_is_made_from_it_as_from_here(azure: Azure) -> None:
    """The environment pins what is installed, and the code is read from the sources."""
    asked = "from shared.training import step; print(step.code()[0]); print(step.conda(step.PACKAGES))"
    done = subprocess.run(
        [*azure.python, "-c", asked],
        cwd=azure.scratch,
        env=azure.environment() | {"PYTHONPATH": f"{azure.app}{os.pathsep}{azure.paths['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    name, conda = done.stdout.split("\n", 1)
    assert name == step.code()[0]
    assert json.loads(conda) == json.loads(step.conda(step.PACKAGES))


def test_its_imports_cost_what_they_cost_with_fresh_pyc(archive: Path, tmp_path: Path) -> None:
    """The benchmark has the exact limit; without valid .pyc it would be more than three times as much."""
    result = package_import.measure(archive, 2, tmp_path)
    assert result["lowest_ratio"] < 1.5
    assert result["none_s"] > 1.5 * result["package_s"]
