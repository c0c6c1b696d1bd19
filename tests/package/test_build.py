"""The package, made from a tiny project in pip's absence: what is in it, and what two builds have in common."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from scripts import package
from scripts.package_tree import FUNCIGNORE, LIBRARIES, SITE, PackageError, files, write_zip
from tests.kit.package import small
from tests.kit.paths import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> package.Built:
    root = small.project(tmp_path_factory.mktemp("project"))
    return package.build(root, root / "dist", small.install)


def sources(names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".pyc")}


def test_it_holds_our_sources_and_the_libraries_without_what_nothing_runs(built: package.Built) -> None:
    names = sources([name for name, _ in files(built.app)])
    record = "lib-1.0.dist-info/RECORD"
    ours = {"host.json", "function_app.py", "functions/__init__.py", "functions/web.py"}
    ours |= {"shared/__init__.py", "shared/room/__init__.py", FUNCIGNORE}
    assert names == ours | {f"{LIBRARIES}/{name}" for name in (*small.LIBRARY, record)}
    listed = (built.app / LIBRARIES / record).read_text().splitlines()
    assert [row.split(",")[0] for row in listed] == sorted([*small.LIBRARY, record])


def test_a_library_can_be_asked_what_it_is(built: package.Built) -> None:
    found = PathDistribution(built.app / LIBRARIES / "lib-1.0.dist-info")
    assert (found.name, found.version) == ("lib", "1.0")


def test_each_source_has_a_pyc_that_is_taken_unseen_and_names_azures_paths(built: package.Built) -> None:
    compiled = {path for _, path in files(built.app) if path.suffix == ".pyc"}
    written = [path for _, path in files(built.app) if path.suffix == ".py"]
    assert compiled == {Path(importlib.util.cache_from_source(str(path))) for path in written}
    for path in written:
        data = Path(importlib.util.cache_from_source(str(path))).read_bytes()
        assert data[:8] == importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
        assert marshal.loads(data[16:]).co_filename == f"{SITE}/{path.relative_to(built.app)}"
        assert bytes(built.app.parents[1]) not in data


def test_the_zip_file_is_the_folder_without_what_is_for_azd(built: package.Built) -> None:
    assert built.archive.name == "droptune-1.2.3.zip"
    with zipfile.ZipFile(built.archive) as archive:
        held = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
    assert held == {name: path.read_bytes() for name, path in files(built.app) if name != FUNCIGNORE}
    assert list(held) == sorted(held)


def test_azd_is_told_to_leave_nothing_out(built: package.Built) -> None:
    """With a file of that name it takes __pycache__ along; its lines would say what to leave out."""
    rules = [line for line in (built.app / FUNCIGNORE).read_text().splitlines() if not line.startswith("#")]
    assert rules == []


def test_two_builds_are_the_same_bytes(built: package.Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small.project(tmp_path / "another folder, with a longer name")
    for number, path in enumerate(root.rglob("*")):
        os.utime(path, (number, number * 1e6))
    for name, value in {"PYTHONHASHSEED": "7", "PYTHONOPTIMIZE": "2", "PYTHONPYCACHEPREFIX": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    try:
        again = package.build(root, root / "dist", small.install)
    finally:
        os.umask(before)
    assert again.archive.read_bytes() == built.archive.read_bytes()
    assert {path.stat().st_mode & 0o777 for _, path in files(again.app)} == {0o644}


def test_the_order_in_which_files_were_made_is_no_matter(tmp_path: Path) -> None:
    for folder, names in (("one", "abc"), ("two", "cba")):
        small.write(tmp_path / folder, {f"{name}/{name}.py": name for name in names})
        write_zip(tmp_path / folder, tmp_path / f"{folder}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


# What must not happen ------------------------------------------------------------------------------------------------


def secret(root: Path) -> None:
    (root / "shared" / "key.py").write_text(f"KEY = 'AccountKey={'A' * 40}'\n")


def path_of_the_builder(root: Path) -> None:
    (root / "functions" / "place.py").write_text(f"PLACE = '{root}/data'\n")


def data_in_our_rooms(root: Path) -> None:
    (root / "shared" / "notes.txt").write_text("to do")


def no_python(root: Path) -> None:
    (root / "shared" / "broken.py").write_text("def (:\n")


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (secret, "shared/key.py holds a storage key"),
        (path_of_the_builder, "functions/__pycache__/place.cpython-313.pyc holds the builder's path"),
        (data_in_our_rooms, "shared/notes.txt is no Python file"),
        (no_python, "shared/broken.py"),
    ],
)
def test_a_package_with_a_fault_is_not_made_and_an_earlier_one_is_gone(
    tmp_path: Path, plant: Callable[[Path], None], told: str
) -> None:
    root = small.project(tmp_path / "project")
    made = package.build(root, root / "dist", small.install)
    plant(root)
    with pytest.raises(PackageError, match=told.replace(".", r"\.")):
        package.build(root, root / "dist", small.install)
    assert not made.app.exists()
    assert list((root / "dist").iterdir()) == []


def test_a_path_that_an_installer_leaves_is_found(tmp_path: Path) -> None:
    def installs(root: Path, target: Path, temporary: Path) -> None:
        small.install(root, target, temporary)
        small.write(target, {"lib/config.py": f"PREFIX = '{temporary}'\n"})

    root = small.project(tmp_path / "project")
    with pytest.raises(PackageError, match=r"lib/config\.py holds the builder's path"):
        package.build(root, root / "dist", installs)


def test_what_pip_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small.project(tmp_path / "project")
    (root / "requirements.txt").write_text("no-such-thing==1.0 --hash=sha256:00\n")
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for no-such-thing==1.0' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(PackageError, match="the package index has no no-such-thing==1"):
        package.build(root, root / "dist")


def test_pip_works_below_the_packages_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is that folder's path that anything would keep, and the check knows it."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "$TMPDIR" > "{tmp_path}/used"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    package.install(tmp_path, tmp_path / "libraries", tmp_path / "work")
    assert (tmp_path / "used").read_text() == f"{tmp_path / 'work'}\n"


# A fresh clone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["package", "package_tree", "package_check"])
def test_it_is_written_for_any_python_and_needs_nothing_of_the_set_up(name: str) -> None:
    """An older Python has to get as far as looking for 3.13."""
    tree = ast.parse((ROOT / "scripts" / f"{name}.py").read_text(), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {each.split(".")[0] for each in imported} <= sys.stdlib_module_names | {"scripts"}


def test_the_target_waits_for_no_set_up() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    assert next(line for line in lines if line.startswith("package:")).split("##")[0].strip() == "package:"


def test_wheels_for_an_older_glibc_are_taken() -> None:
    assert package.PLATFORMS[0] == "manylinux_2_34_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64"} <= set(package.PLATFORMS)
