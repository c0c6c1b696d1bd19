"""What the worst files take: CPU per MB at 4, 8, 16 and 32 MB, and memory, for families of files made to hurt a reader.

`make bench-readers` (ARGS=). Each file goes the whole way of `droptune check` with an output folder (read, judged,
split, written) in a process of its own, which has done a small file of the kind before. Under `hub: ...` the same file
comes from a hub, and goes through the hub's readers alone: what follows is the same. CPU is the process's user time,
the best of ROUNDS; memory is the most that it ever held. `growth` is how many times more a MB of a larger file takes
than one of a smaller file, at most; it is below 1 where what is over a limit is passed over, or where a file is refused
at a limit. Exit code 1 where a family grows by more than LIMIT, or takes more than MEMORY.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from benchmarks.hostile_inputs import FAMILIES

REPO = Path(__file__).parents[1]
HUB = "hub: "
NAMES = (*FAMILIES, *(HUB + name for name in FAMILIES))
SIZES = (4, 8, 16, 32)
LIMIT = 1.5
MEMORY = {".parquet": 1024}
"""MiB that a process may take at most, by kind; of the others: MEMORY_USUAL."""
MEMORY_USUAL = 512
LEAST = 0.05
"""Seconds of CPU a file of which growth is not looked at: what a clock's tick and a cold cache make of so little."""
ROUNDS = 3
PATIENCE = 200
"""Seconds of CPU for a file. What takes longer counts as that."""
_MB = 1_000_000

CHILD = """
import json, resource, sys, tempfile, time
from pathlib import Path
from shared.dataset.preparing.parallel import prepare_files
import fsspec
from shared.dataset.reading.files import FileFault, Limits, LocalFile
from shared.dataset.reading.hub_files import HubFile, batches
from shared.dataset.spec.choices import Policy

def checked(path, out):
    report = prepare_files(files={"train": LocalFile(path)}, out=out, policy=Policy(min_rows=1))
    return ", ".join(sorted(report.by_rule)) or f"{report.rows:,} rows"

def of_a_hub(path, out):
    rows = 0
    try:
        for batch in batches([HubFile(fsspec.filesystem("file"), str(path), path.name)], Limits()):
            rows += len(batch.numbers)
    except FileFault as fault:
        return fault.rule
    return f"{rows:,} rows"

def once(path, out):
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for times in range(1, 51):  # the system counts in ticks, of which a small file takes one or none
        said = (of_a_hub if from_hub else checked)(path, out)
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
        if spent >= 0.1:
            break
    return spent / times, said

def peak():
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 * (1024 if sys.platform == "darwin" else 1))

path, small, rounds, patience = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
from_hub = "hub" in sys.argv[5:]
resource.setrlimit(resource.RLIMIT_CPU, (patience * rounds, patience * rounds))
with tempfile.TemporaryDirectory() as out:
    once(small, Path(out))
    least = None
    began = time.monotonic()
    for _ in range(rounds):
        cpu, said = once(path, Path(out))
        least = cpu if least is None else min(least, cpu)
        if time.monotonic() - began > 20:
            break
print(json.dumps({"cpu": least, "mib": peak(), "said": said}))
"""


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a file took: seconds of CPU, MiB at most; `size`: the MB it was made for. What was said of it."""

    size: int
    stored: int
    cpu: float
    mib: int
    said: str

    @property
    def a_mb(self) -> float:
        """Seconds of CPU a MB."""
        return self.cpu / self.size


def measure(name: str, sizes: Iterable[int], rounds: int = ROUNDS, patience: int = PATIENCE) -> list[Took]:
    """What the files of a family take, at sizes in MB."""
    family = FAMILIES[name.removeprefix(HUB)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / f"small{family.kind}"
        with small.open("wb") as file:
            family.make(file, 100_000)
        for size in sizes:
            path = Path(folder) / f"data{family.kind}"
            with path.open("wb") as file:
                family.make(file, size * _MB)
            found.append(_took(path, small, size, rounds, patience, *(["hub"] if name.startswith(HUB) else [])))
            if found[-1].cpu >= patience:
                break
    return found


def _took(path: Path, small: Path, size: int, rounds: int, patience: int, *words: str) -> Took:
    command = [sys.executable, "-c", CHILD, str(path), str(small), str(rounds), str(patience), *words]
    stored = path.stat().st_size
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return Took(size=size, stored=stored, cpu=patience, mib=0, said=f"more than {patience} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        return Took(size=size, stored=stored, cpu=patience, mib=0, said=f"ended with {done.returncode}: {last[:200]}")
    told = json.loads(done.stdout)
    return Took(size=size, stored=stored, cpu=told["cpu"], mib=told["mib"], said=told["said"])


def growth(took: list[Took]) -> float:
    """How many times as much a MB takes in a larger file than in a smaller one, at most."""
    pairs = [
        later.a_mb / earlier.a_mb for earlier, later in combinations(took, 2) if later.cpu > LEAST and earlier.a_mb
    ]
    return max(pairs, default=0.0)


def allowed(name: str) -> int:
    """MiB that a file of the family may take."""
    return MEMORY.get(FAMILIES[name.removeprefix(HUB)].kind, MEMORY_USUAL)


def main() -> int:
    """Prints a table or JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description="CPU per MB and memory of files made to hurt a reader.")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="families whose name has one of these")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, metavar="MB", help="default: 4 8 16 32")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="the best counts (default: %(default)s)")
    parser.add_argument("--patience", type=int, default=PATIENCE, help="seconds for a file (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a result that a program can read")
    options = parser.parse_args()
    bad = []
    if not options.json:
        print(f"{'family':50}" + "".join(f"{size:>6} MB" for size in options.sizes) + "  growth    MiB  what is said")
        print(f"{'':50}{'CPU in ms a MB':>{9 * len(options.sizes)}}")
    for name in NAMES:
        if options.only and not any(word in name for word in options.only):
            continue
        took = measure(name, options.sizes, options.rounds, options.patience)
        more, most = growth(took), max(each.mib for each in took)
        failed = more > LIMIT or most > allowed(name) or any(each.cpu >= options.patience for each in took)
        bad += [name] * failed
        if options.json:
            print(
                json.dumps({"family": name, "growth": more, "mib": most, "took": [asdict(each) for each in took]}),
                flush=True,
            )
            continue
        figures = "".join(f"{each.a_mb * 1000:>9.1f}" for each in took).ljust(9 * len(options.sizes))
        print(f"{name:50}{figures}{more:>8.2f}{most:>7}  {took[-1].said[:60]}{'  <-- FAILED' * failed}", flush=True)
    if bad and not options.json:
        print(f"{len(bad)} over the limit of {LIMIT} times, or of {MEMORY_USUAL} MiB ({MEMORY}): {'; '.join(bad)}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
