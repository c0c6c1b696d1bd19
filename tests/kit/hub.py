"""A small Hugging Face hub on loopback: as much of its HTTP interface as `datasets` and `huggingface_hub` use to read.

Repositories with commits, branches and tags, listings, files by range, large files behind a redirect as on the real
hub's storage, gated and missing datasets with the error codes by which the library tells them apart. It counts what
it serves. The library reads HF_ENDPOINT when it is imported: what is tested runs in a child process (`Hub.run`),
which ends at once when it asks for a name or an address that is not this machine's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.kit.paths import ROOT

TOKEN = "hf_may_read"
OTHER_TOKEN = "hf_may_not_read"
LARGE = 64 * 1024
"""Files from this size on are kept as large files (LFS): a pointer in git, the bytes elsewhere."""
_NOISE = 8 * 1024 * 1024
STRAYED = 97
"""Exit code of a child that wanted to leave this machine."""

_LOOPBACK = f"""
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it

def _stay(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in (None, "localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1"):
        os.write(2, f"{{event}} {{host}}\\n".encode())
        os._exit({STRAYED})

sys.addaudithook(_stay)
"""

type Files = Mapping[str, bytes]


@dataclass
class Repo:
    """One dataset: its commits by id, the newest of each branch and tag, and who may read it."""

    name: str
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    converts: dict[str, str] = field(default_factory=dict)
    after_look: Callable[[], object] | None = None
    """Called once, after somebody has asked which commit a branch is at."""

    def commit(self, files: Files, *, branch: str = "main") -> str:
        """A new commit on a branch. Returns its id."""
        text = json.dumps([self.name, len(self.commits), sorted((n, _sha1(d)) for n, d in files.items())])
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        refs = self.converts if branch.startswith("refs/convert/") else self.branches
        refs[branch.removeprefix("refs/convert/")] = commit
        return commit

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag, a full ref or a commit's id means."""
        for refs, prefix in ((self.branches, "refs/heads/"), (self.tags, "refs/tags/"), (self.converts, "")):
            short = revision.removeprefix(prefix).removeprefix("refs/convert/")
            if short in refs and (refs is not self.converts or revision.startswith("refs/convert/")):
                return refs[short]
        return revision if revision in self.commits else None


class Hub:
    """The server, in a thread of this process. As a context manager it listens on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.served: Counter[str] = Counter()
        """Bytes of the files' contents that went out, by path."""
        self.requests: list[str] = []
        """`METHOD /path` of all requests."""
        self.unknown: list[str] = []
        """Those of them that this hub does not know, though the real one may."""
        self.aliases: dict[str, str] = {}
        """Names without an owner, and what they stand for."""
        self.down: str | None = None
        """Requests whose path has this in it are answered with 503."""
        self.held: str | None = None
        """A large file whose path has this in it is sent when `release` is set; `reached`: it was asked for."""
        self.reached, self.release = threading.Event(), threading.Event()

    def add(self, name: str, files: Files, *, gated: bool = False) -> Repo:
        """A new dataset with one commit on main."""
        repo = self.repos[name] = Repo(name=name, gated=gated)
        repo.commit(files)
        return repo

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self._app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="hub")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def environment(self, home: Path, *, token: str = "", **extra: str) -> dict[str, str]:
        """A child's whole environment: this hub, a home of its own, no token but the one given."""
        dropped = re.compile(r"HF_.*|.*_proxy|PYTHON(?!UNBUFFERED).*", re.IGNORECASE)
        kept = {name: value for name, value in os.environ.items() if not dropped.fullmatch(name)}
        made = {"HF_ENDPOINT": self.url, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "TMPDIR": str(home)}
        python = {"PYTHONPATH": str(ROOT)}
        return kept | made | python | ({"HF_TOKEN": token} if token else {}) | extra

    def run(
        self, code: str, home: Path, *arguments: str | Path, token: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in a child that finds this hub and nothing else; warnings are errors there."""
        with self.start(code, home, *arguments, token=token, **extra) as process:
            out, error = process.communicate(timeout=120)
        assert process.returncode != STRAYED, error
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def start(
        self, code: str, home: Path, *arguments: str | Path, token: str = "", **extra: str
    ) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _LOOPBACK + code, *map(str, arguments)],
            cwd=home,
            env=self.environment(home, token=token, **extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def droptune(
        self, home: Path, *arguments: str | Path, token: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command `droptune` in such a child."""
        return self.run(COMMAND, home, *arguments, token=token, **extra)

    # What it answers --------------------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        owner = r"/api/datasets/{owner}/{name}"
        file = r"/datasets/{owner}/{name}/resolve/{rest:path}"
        return Starlette(
            routes=[
                Route("/api/datasets/{alias}", self._alias),
                Route("/api/datasets/{alias}/revision/{revision:path}", self._alias),
                Route(owner, self._info),
                Route(owner + "/revision/{revision:path}", self._info),
                Route(owner + "/refs", self._refs),
                Route(owner + "/auth-check", self._auth_check),
                Route(owner + "/parquet", self._parquet),
                Route(owner + "/tree/{rest:path}", self._tree),
                Route(owner + "/paths-info/{revision:path}", self._paths_info, methods=["POST"]),
                Route(file, self._resolve),
                Route("/cdn/{owner}/{name}/{commit}/{path:path}", self._large),
                Route("/{rest:path}", self._unknown, methods=["GET", "POST", "PUT", "HEAD"]),
            ]
        )

    def _info(self, request: Request) -> Response:
        repo, commit, refusal = self._look(request, request.path_params.get("revision", "main"))
        if refusal:
            return refusal
        files = repo.commits[commit]
        answer = JSONResponse(
            {
                "_id": _sha1(repo.name.encode())[:24],
                "id": repo.name,
                "author": repo.name.split("/")[0],
                "sha": commit,
                "lastModified": "2024-10-16T11:52:27.000Z",
                "createdAt": "2023-10-24T08:24:57.000Z",
                "private": False,
                "gated": "auto" if repo.gated else False,
                "disabled": False,
                "tags": ["task_categories:text-generation", "format:parquet"],
                "downloads": 12,
                "likes": 3,
                "siblings": [{"rfilename": name} for name in sorted(files)],
                "cardData": _card_data(files.get("README.md", b"")),
            }
        )
        if repo.after_look and commit != request.path_params.get("revision"):
            happens, repo.after_look = repo.after_look, None
            happens()
        return answer

    def _alias(self, request: Request) -> Response:
        """Datasets without an owner in their name: the old spelling of some that have one now."""
        name = self.aliases.get(request.path_params["alias"])
        if name is None:
            return self._missing(request)
        revision = request.path_params.get("revision", "")
        return RedirectResponse(f"/api/datasets/{name}" + (f"/revision/{revision}" if revision else ""), 307)

    def _auth_check(self, request: Request) -> Response:
        _, _, refusal = self._look(request, "main", file=True)
        return refusal or Response("OK")

    def _refs(self, request: Request) -> Response:
        repo, _, refusal = self._look(request, "main")
        if refusal:
            return refusal

        def listed(refs: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": prefix + name, "targetCommit": commit} for name, commit in refs.items()]

        return JSONResponse(
            {
                "branches": listed(repo.branches, "refs/heads/"),
                "tags": listed(repo.tags, "refs/tags/"),
                "converts": listed(repo.converts, "refs/convert/"),
            }
        )

    def _parquet(self, request: Request) -> Response:
        repo, commit, refusal = self._look(request, "refs/convert/parquet")
        if refusal:
            return refusal
        found: dict[str, dict[str, list[str]]] = {}
        for path in sorted(repo.commits[commit]):
            config, split, file = path.split("/")
            number = int(file.removesuffix(".parquet"))
            url = f"{self.url}/api/datasets/{repo.name}/parquet/{config}/{split}/{number}.parquet"
            found.setdefault(config, {}).setdefault(split, []).append(url)
        return JSONResponse(found)

    def _tree(self, request: Request) -> Response:
        revision, _, folder = request.path_params["rest"].partition("/")
        if revision == "refs":
            revision, folder = _special(request.path_params["rest"])
        repo, commit, refusal = self._look(request, revision)
        if refusal:
            return refusal
        entries = _entries(repo.commits[commit])
        prefix = unquote(folder).rstrip("/") + "/" if folder else ""
        below = [entry for entry in entries if entry["path"].startswith(prefix)]
        if not below:
            return _refused(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        if request.query_params.get("recursive", "").lower() != "true":
            below = [entry for entry in below if "/" not in entry["path"][len(prefix) :]]
        return JSONResponse(below)

    async def _paths_info(self, request: Request) -> Response:
        repo, commit, refusal = self._look(request, request.path_params["revision"])
        if refusal:
            return refusal
        body = await request.body()
        wanted = re.findall(r"(?:^|&)paths=([^&]*)", body.decode())
        paths = {unquote(path.replace("+", " ")) for path in wanted}
        return JSONResponse([entry for entry in _entries(repo.commits[commit]) if entry["path"] in paths])

    def _resolve(self, request: Request) -> Response:
        rest = request.path_params["rest"]
        revision, path = _special(rest) if rest.startswith("refs/") else rest.split("/", 1)
        repo, commit, refusal = self._look(request, revision, file=True)
        if refusal:
            return refusal
        data = repo.commits[commit].get(path)
        about = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if data is None:
            return _refused(404, "EntryNotFound", "Entry not found", about)
        if len(data) >= LARGE:
            about |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{_sha256(data)}"'}
            storage = self.url.replace("127.0.0.1", "localhost")  # another host than the hub's, as in reality
            return RedirectResponse(f"{storage}/cdn/{repo.name}/{commit}/{path}", 302, about)
        return self._bytes(request, path, data, about | {"ETag": f'"{_blob(data)}"'})

    def _large(self, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.url.path}")
        found = request.path_params
        if self.held and self.held in found["path"]:
            self.reached.set()
            self.release.wait(60)
        data = self.repos[f"{found['owner']}/{found['name']}"].commits[found["commit"]][found["path"]]
        return self._bytes(request, found["path"], data, {"ETag": f'"{_sha256(data)}"', "Accept-Ranges": "bytes"})

    def _bytes(self, request: Request, path: str, data: bytes, headers: Mapping[str, str]) -> Response:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not asked:
            if request.method == "GET":
                self.served[path] += len(data)
            return Response(data, 200, headers, "application/octet-stream")
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
        self.served[path] += end + 1 - start
        about = {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"}
        return Response(data[start : end + 1], 206, about, "application/octet-stream")

    def _unknown(self, request: Request) -> Response:
        self.unknown.append(f"{request.method} {request.url.path}")
        return JSONResponse({"error": "Sorry, we can't find the page you are looking for."}, 404)

    def _look(self, request: Request, revision: str, *, file: bool = False) -> tuple[Repo, str, Response | None]:
        """The dataset and the commit that are asked for, or the real hub's refusal."""
        self.requests.append(f"{request.method} {request.url.path}")
        nothing = Repo(name="")
        if self.down and self.down in request.url.path:
            return nothing, "", Response("The service is down for maintenance.", 503)
        name = "{owner}/{name}".format(**request.path_params)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if given and given not in (TOKEN, OTHER_TOKEN):
            message = "Invalid credentials in Authorization header"
            return nothing, "", _refused(401, "", message, {"X-Error-Message": message})
        repo = self.repos.get(name)
        if repo is None:
            return nothing, "", self._missing(request)
        if file and repo.gated and given != TOKEN:
            message = f"Access to dataset {name} is restricted. You must have access to it and be authenticated."
            return nothing, "", _refused(403 if given else 401, "GatedRepo", message)
        commit = repo.find(unquote(revision))
        if commit is None:
            return nothing, "", _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, commit, None

    def _missing(self, request: Request) -> Response:
        """Without a token it doesn't tell what is missing from what is private."""
        if request.headers.get("authorization"):
            return _refused(404, "RepoNotFound", "Repository not found")
        return _refused(401, "RepoNotFound", "Invalid username or password.")


COMMAND = "from cli.__main__ import main\nsys.exit(main())\n"


# Datasets ------------------------------------------------------------------------------------------------------------


def ultrachat(splits: Mapping[str, tuple[int, int]], *, text: int = 600, group: int = 100, info: bool = True) -> Files:
    """The files of a dataset laid out like HuggingFaceH4/ultrachat_200k.

    `splits`: rows and shards of each. `text`: characters of an answer, drawn so that they hardly compress. `group`:
    rows of a row group. `info`: whether the card tells the columns and the numbers of rows, as the real one does.
    """
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {
            "prompt": pa.string(),
            "prompt_id": pa.string(),
            "messages": pa.list_(pa.struct({"content": pa.string(), "role": pa.string()})),
        }
    )
    files: dict[str, bytes] = {}
    for split, (rows, shards) in splits.items():
        for shard in range(shards):
            numbers = range(rows * shard // shards, rows * (shard + 1) // shards)
            table = pa.Table.from_pylist([row(split, number, text) for number in numbers], schema=schema)
            out = io.BytesIO()
            pq.write_table(table, out, row_group_size=group)
            digest = hashlib.sha256(out.getvalue()).hexdigest()[:16]
            files[f"data/{split}-{shard:05}-of-{shards:05}-{digest}.parquet"] = out.getvalue()
    files["README.md"] = _card(splits, files, info=info).encode()
    files[".gitattributes"] = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
    return files


def row(split: str, number: int, text: int = 600) -> dict[str, Any]:
    """Row `number` (from 0) of a split of `ultrachat`."""
    prompt_id = hashlib.sha256(f"{split} {number}".encode()).hexdigest()
    prompt = f"Tell me about subject {number} of {split}: its naïve reading, 北京 included."
    noise, at = _noise(), int(prompt_id[:8], 16) % (_NOISE - text)
    answer = noise[at : at + text]
    turns = [("user", prompt), ("assistant", answer), ("user", "And in short?"), ("assistant", f"Subject {number}.")]
    return {
        "prompt": prompt,
        "prompt_id": prompt_id,
        "messages": [{"content": content, "role": role} for role, content in turns],
    }


@cache
def _noise() -> str:
    """Text that hardly compresses."""
    return Random(3).randbytes(_NOISE // 2).hex()


def converted(files: Files, splits: Sequence[str]) -> Files:
    """What the hub's own conversion puts on refs/convert/parquet for such a dataset."""
    out: dict[str, bytes] = {}
    for split in splits:
        shards = sorted(name for name in files if name.startswith(f"data/{split}-"))
        out |= {f"default/{split}/{number:04}.parquet": files[name] for number, name in enumerate(shards)}
    return out


def _card_data(card: bytes) -> dict[str, Any]:
    """What the hub tells of a card's head; of the real one's many keys only the licence."""
    named = [line.removeprefix(b"license: ").decode() for line in card.splitlines() if line.startswith(b"license: ")]
    return {"license": named[0]} if named else {}


def _card(splits: Mapping[str, tuple[int, int]], files: Files, *, info: bool) -> str:
    lines = ["---", "language:", "- en", "license: mit", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    if info:
        lines += ["dataset_info:", "  features:"]
        lines += ["  - name: prompt", "    dtype: string", "  - name: prompt_id", "    dtype: string"]
        lines += ["  - name: messages", "    list:"]
        lines += ["    - name: content", "      dtype: string", "    - name: role", "      dtype: string", "  splits:"]
        for split, (rows, _) in splits.items():
            size = sum(len(data) for name, data in files.items() if name.startswith(f"data/{split}-"))
            lines += [f"  - name: {split}", f"    num_bytes: {2 * size}", f"    num_examples: {rows}"]
    return "\n".join([*lines, "---", "", "# Dataset card", ""])


def _entries(files: Files) -> list[dict[str, Any]]:
    """The listing of a commit, folders included."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    entries: list[dict[str, Any]] = [
        {"type": "directory", "oid": _sha1(folder.encode()), "size": 0, "path": folder} for folder in folders
    ]
    for name, data in files.items():
        entry: dict[str, Any] = {"type": "file", "oid": _blob(data), "size": len(data), "path": name}
        if len(data) >= LARGE:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{_sha256(data)}\nsize {len(data)}\n"
            entry["oid"] = _blob(pointer.encode())
            entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": len(pointer)}
        entries.append(entry)
    return sorted(entries, key=lambda entry: str(entry["path"]))


def _special(rest: str) -> tuple[str, str]:
    """`refs/convert/parquet/PATH` as revision and path."""
    parts = rest.split("/", 3)
    return "/".join(parts[:3]), parts[3] if len(parts) > 3 else ""


def _refused(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    told = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}) | dict(headers or {})
    return JSONResponse({"error": message}, status, told)


@cache
def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@cache
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
