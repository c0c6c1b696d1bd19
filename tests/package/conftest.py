"""The real package, built once for all who test it, as a fresh clone builds it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.package import version
from tests.kit.package.outside import Azure, builders, sources, unpack, worker_folder
from tests.kit.paths import ROOT


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip file that `make package` made in a clone, whose dist/app is gone (it is big)."""
    clone, place = _shared(tmp_path_factory)
    made = clone / "dist" / f"droptune-{version(ROOT)}.zip"
    with place.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers of this run wait for the one that builds
        if not made.exists():
            shutil.rmtree(clone, ignore_errors=True)
            done = subprocess.run(
                ["make", "package"], cwd=sources(clone), env=builders(), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (clone / "told.txt").write_text(done.stdout)
            shutil.rmtree(clone / "dist" / "app")
    return made


@pytest.fixture(scope="session")
def told(archive: Path) -> str:
    """What `make package` printed."""
    return (archive.parents[1] / "told.txt").read_text()


@pytest.fixture
def azure(archive: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Azure:
    """The package, unpacked read-only for the whole run, and beside it what is not the app's."""
    clone, place = _shared(tmp_path_factory)
    app, worker = clone.parent / "wwwroot", clone.parent / "worker"
    with place.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not worker.exists():
            worker_folder(worker, unpack(archive, app))
    (tmp_path / "scratch").mkdir()
    return Azure(app=app, worker=worker, scratch=tmp_path / "scratch")


def _shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The clone's folder and the lock file: the same in all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "package"
    folder.mkdir(exist_ok=True)
    return folder / "a clone", folder / "lock"
