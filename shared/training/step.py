"""The first step of the job of a big dataset, as plain data: our engine's code, its environment, its files.

The code travels as one zip file beside the data, and Python runs it from there: no code asset, so no upload into the
workspace's own storage, and what is unchanged is uploaded once. Everything has a name that is derived from its content.
The environment pins what runs here, in this very process. Called by the action `train`; `shared/cloud/jobs.py` turns
it into a component and a node of the pipeline.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

NAME = "prepare"
COMPONENT = "droptune_prepare"
ENVIRONMENT = "droptune-prepare"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
"""Azure ML's own base image for CPUs; what runs in it is the environment's Python."""
PYTHON = "3.13"
PACKAGES = ("datasets", "msgspec", "numpy", "pyarrow", "xxhash")
"""What shared/dataset imports; they are pinned with all that they need."""
PARTS = ("train", "validation", "test")
PAGES = ("report", "page")
"""The step's other outputs: what became of the data, for the app and for people."""
FEEDS = {"train": "train_file_path", "validation": "validation_file_path", "test": "test_file_path"}
"""The step's outputs, and the inputs of the fine-tune component that take them."""
INPUTS = {"code": "uri_file", "task": "uri_file", "source": "uri_folder"}
COMMAND = " ".join(
    (
        'PYTHONPATH="${{inputs.code}}" python -m shared.dataset.job_step --task "${{inputs.task}}"',
        '--source "${{inputs.source}}"',
        *(f'--{name} "${{{{outputs.{name}}}}}"' for name in (*PARTS, *PAGES)),
    )
)
"""Nothing but paths that we chose are put into it: names that others chose are in the task."""

_ROOT = Path(__file__).parents[2]
_VERSION_LENGTH = 20
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, kw_only=True)
class Step:
    """The step of one job. Addresses are azureml:// ones; `inputs` and `outputs` are addresses by name."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    compute: str
    conda: str = field(default_factory=lambda: conda(PACKAGES))

    @property
    def environment_version(self) -> str:
        """Changes with the image and the packages."""
        return _version(IMAGE, self.conda)

    @property
    def component_version(self) -> str:
        """Changes with the environment, the command, and what it takes and gives."""
        return _version(self.environment_version, COMMAND, INPUTS, sorted(self.outputs))


def step(*, code: str, task: str, source: str, outputs: Mapping[str, str], compute: str) -> Step:
    """The step that reads the files below `source` as `task` says, and writes `outputs`: each of PARTS and PAGES."""
    return Step(
        inputs={"code": code, "task": task, "source": f"{source.rstrip('/')}/"}, outputs=outputs, compute=compute
    )


def code_files(root: Path = _ROOT) -> dict[str, Path]:
    """The modules that the step runs from: the dataset engine, and what it stands on. Name in the zip -> file."""
    files = [
        root / "shared" / "__init__.py",
        root / "shared" / "errors.py",
        root / "shared" / "logs.py",
        root / "shared" / "naming.py",
        *(root / "shared" / "dataset").rglob("*.py"),
        *(root / "shared" / "serving").glob("*.py"),  # finetune.yaml speaks of the gate, too
    ]
    return {file.relative_to(root).as_posix(): file for file in sorted(files)}


def code(root: Path = _ROOT) -> tuple[str, bytes]:
    """The name of the step's code and the zip file itself; both depend on the modules' content alone."""
    contents = {name: file.read_bytes() for name, file in code_files(root).items()}
    version = _version({name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)  # of 1980: a file's own time would make the same code another zip
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return f"{version}.zip", buffer.getvalue()


def conda(packages: Iterable[str]) -> str:
    """The environment as conda reads it: Python, and the packages as they are installed here, with what they need."""
    pins = [f"{name}=={version}" for name, version in sorted(_closure(packages).items())]
    dependencies = [f"python={PYTHON}", "pip", {"pip": pins}]
    return json.dumps({"name": ENVIRONMENT, "channels": ["conda-forge"], "dependencies": dependencies}, indent=1)


def _closure(packages: Iterable[str]) -> dict[str, str]:
    """Name -> version of the packages and, as far as they are installed, of what they need, extras left out."""
    found: dict[str, str] = {}
    wanted = list(packages)
    while wanted:
        name = _normal(wanted.pop())
        if name in found:
            continue
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        for requirement in distribution.requires or ():
            needed = _REQUIREMENT.match(requirement)
            if needed and "extra ==" not in requirement and _installed(needed[1]):
                wanted.append(needed[1])
    return found


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False  # for another system or another Python
    return True


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(*key: object) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:_VERSION_LENGTH]
