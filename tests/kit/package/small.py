"""A project as small as can be packaged, and libraries as pip would leave them."""

from __future__ import annotations

from pathlib import Path

LIBRARY = {
    "lib/__init__.py": "from lib import inner\n\nNAMES = {'one', 'two', 'three'}\n",
    "lib/inner.py": "def nested():\n    return [(lambda: each) for each in 'ab']\n",
    "lib/data.json": "{}",
    "lib/native.cpython-313-x86_64-linux-gnu.so": "ELF",
    "lib/testing/__init__.py": "",
    "lib-1.0.dist-info/METADATA": "Name: lib\nVersion: 1.0\n",
    "lib-1.0.dist-info/INSTALLER": "pip\n",
    "lib-1.0.dist-info/licenses/include/LICENSE.h": "MIT",
}
"""What has to stay."""
UNUSED = {
    "bin/tool": "#!/builder/bin/python3.13\n",
    "lib/tests/__init__.py": "",
    "lib/tests/test_lib.py": "def test_it() -> None: ...\n",
    "lib/conftest.py": "",
    "lib/include/lib/lib.h": "",
    "lib/native.pyx": "",
    "lib/native.pxd": "",
    "lib/inner.pyi": "",
    "lib/__pycache__/inner.cpython-313.pyc": "the wheel's own",
    "lib-stubs/__init__.pyi": "",
    "lib-1.0.dist-info/direct_url.json": '{"url": "file:///builder/lib"}',
}


def write(folder: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def project(root: Path) -> Path:
    """The sources, and what lies about beside them."""
    ours = {
        "pyproject.toml": '[project]\nname = "small"\nversion = "1.2.3"\n',
        "requirements.txt": "",
        "host.json": "{}",
        "function_app.py": "import functions\n",
        "functions/__init__.py": "",
        "functions/web.py": "def health() -> str:\n    return 'well'\n",
        "shared/__init__.py": "",
        "shared/room/__init__.py": "KINDS = frozenset({'a', 'b', 'c'})\n",
    }
    about = dict.fromkeys(
        ("localcloud/server.py", "cli/main.py", "tests/test_it.py", "local.settings.json", "shared/.DS_Store"), "x"
    )
    write(root, ours | about)
    write(root, {"shared/__pycache__/room.cpython-313.pyc": "stale"})
    return root


def install(_root: Path, target: Path, _temporary: Path) -> None:
    """In pip's place."""
    everything = LIBRARY | UNUSED
    names = [*everything, "lib-1.0.dist-info/RECORD", "../../bin/tool"]
    write(target, everything | {"lib-1.0.dist-info/RECORD": "".join(f"{name},sha256=x,1\n" for name in names)})
