"""What the check finds: secrets, paths of the builder, .pyc that Python would not take, what nobody asked for."""

from __future__ import annotations

import py_compile
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import package
from scripts.package_check import faults
from scripts.package_tree import LIBRARIES, SITE
from tests.kit.package import small

BUILDER, HOME = Path("/builder/work"), Path("/homes/ada")
SECRETS = {
    "a storage key": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + "Ab1+/" * 8,
    "a key of a namespace": "Endpoint=sb://a/;SharedAccessKeyName=Root;SharedAccessKey=" + "Ab1+/" * 8,
    "a signature (SAS)": "blob?sv=2024-01-01&sig=" + "aB3%2F" * 6,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "an instrumentation key": "InstrumentationKey=01234567-89ab-cdef-0123-456789abcdef",
    "a token": "hf_" + "aB3" * 12,
    "a function key": "https://app/api/runs?code=" + "aB3_" * 12,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small.project(tmp_path_factory.mktemp("project"))
    return package.build(root, root / "dist", small.install).app


@pytest.fixture
def tree(good: Path, tmp_path: Path) -> Path:
    """A package of one's own."""
    return Path(shutil.copytree(good, tmp_path / "app"))


def found(tree: Path) -> list[str]:
    return faults(tree, builder=[BUILDER], usual=[HOME])


def written(path: Path, text: str, *, name: str | None = None, checked: bool = False) -> None:
    """A source and its .pyc. `name`: the path in it, Azure's by default."""
    path.write_text(text)
    root = next(parent for parent in path.parents if (parent / "host.json").exists())
    mode = py_compile.PycInvalidationMode.CHECKED_HASH if checked else py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(path), dfile=name or f"{SITE}/{path.relative_to(root)}", invalidation_mode=mode)


def test_a_good_one_has_no_fault(tree: Path) -> None:
    assert found(tree) == []


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_in_what_is_ours_is_found_also_where_it_is_compiled(tree: Path, what: str) -> None:
    written(tree / "shared" / "room" / "config.py", f"GIVEN = '{SECRETS[what]}'\n")
    assert sorted(found(tree)) == [
        f"shared/room/__pycache__/config.cpython-313.pyc holds {what}",
        f"shared/room/config.py holds {what}",
    ]


@pytest.mark.parametrize(
    "harmless",
    ["'AccountKey='", "'the query ?sig= is cut off'", "'/tmp'", "'hf_hub_download'", "'x-functions-key'", "'code=200'"],
)
def test_speaking_of_secrets_is_no_secret(tree: Path, harmless: str) -> None:
    written(tree / "shared" / "words.py", f"WORDS = {harmless}\n")
    assert faults(tree, builder=[BUILDER], usual=[HOME, Path("/tmp")]) == []


@pytest.mark.parametrize("place", ["shared/x.py", f"{LIBRARIES}/lib/x.py", f"{LIBRARIES}/lib/data.txt"])
def test_the_folder_of_the_build_is_named_nowhere(tree: Path, place: str) -> None:
    (tree / place).write_text(f"# {BUILDER}/dist/app\n")
    assert f"{place} holds the builder's path {BUILDER}" in found(tree)


def test_another_folder_that_begins_so_is_another_folder(tree: Path) -> None:
    (tree / LIBRARIES / "lib" / "data.json").write_text(f"{BUILDER}-of-others/x {BUILDER}.d")
    assert found(tree) == []


@pytest.mark.parametrize("place", ["functions/x.py", f"{LIBRARIES}/lib-1.0.dist-info/RECORD"])
def test_what_was_made_here_does_not_name_the_home_of_the_builder(tree: Path, place: str) -> None:
    (tree / place).write_text(f"# {HOME}/secret\n")
    assert f"{place} holds the builder's path {HOME}" in found(tree)


def test_a_library_may_speak_of_such_a_home_but_its_pyc_says_no_more(tree: Path) -> None:
    path = tree / LIBRARIES / "lib" / "words.py"
    written(path, f"EXAMPLE = '{HOME}/models'\n")
    assert found(tree) == []
    written(path, "EXAMPLE = ''\n", name=f"{HOME}/src/lib/words.py")
    pyc = f"{LIBRARIES}/lib/__pycache__/words.cpython-313.pyc"
    assert f"{pyc} holds the builder's path {HOME}" in found(tree)
    assert f"{pyc}: its code names {HOME}/src/lib/words.py" in found(tree)


def uncompiled(tree: Path) -> None:
    (tree / "shared" / "new.py").write_text("")


def changed(tree: Path) -> None:
    (tree / "functions" / "web.py").write_text("")


def orphaned(tree: Path) -> None:
    (tree / "functions" / "web.py").unlink()


def by_time(tree: Path) -> None:
    written(tree / "functions" / "web.py", "", checked=True)


def of_another_python(tree: Path) -> None:
    path = tree / "functions" / "__pycache__" / "web.cpython-313.pyc"
    path.write_bytes(b"\0" + path.read_bytes()[1:])


def local_cloud(tree: Path) -> None:
    (tree / "localcloud").mkdir()


def tests_of_a_library(tree: Path) -> None:
    (tree / LIBRARIES / "lib" / "tests").mkdir()
    written(tree / LIBRARIES / "lib" / "tests" / "test_it.py", "")


def link(tree: Path) -> None:
    (tree / "shared" / "data.json").symlink_to("/etc/hosts")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (uncompiled, "shared/new.py: it is not compiled"),
        (changed, "functions/__pycache__/web.cpython-313.pyc: it was compiled from another source"),
        (orphaned, "functions/__pycache__/web.cpython-313.pyc: its source is missing"),
        (by_time, "functions/__pycache__/web.cpython-313.pyc: Python would compare it with its source"),
        (of_another_python, "functions/__pycache__/web.cpython-313.pyc: another Python compiled it"),
        (local_cloud, "localcloud does not belong into the package"),
        (tests_of_a_library, f"{LIBRARIES}/lib/tests/test_it.py is not needed on Azure"),
        (link, "shared/data.json is a link"),
    ],
)
def test_what_would_not_run_or_does_not_belong_is_found(tree: Path, change: Callable[[Path], None], told: str) -> None:
    change(tree)
    assert [each for each in found(tree) if each.startswith(told)]
