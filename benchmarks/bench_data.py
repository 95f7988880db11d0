"""Speed and memory of reading frames one by one from LMDB, for data sets of different sizes.

Frames of a dozen atoms are written in our format, then read once in random order, each size in a process of its own.
What must not grow with the data set is the anonymous memory, which only the process can free. Mapped pages of the file
are the system's to take back; they are given beside it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_cpu import ROOT, machine

ATOMS = 12
CUTOFF = 5.0  # Å
ALLOWED_GROWTH = 16.0  # MiB of anonymous memory from the smallest to the largest data set


def main() -> None:
    """Measure, print, and write results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    rows = []
    import torch  # noqa: F401 - the same

    import mlip.data.lmdb_file  # noqa: F401 - the first import is not part of the first time

    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            path = Path(folder) / f"{size}.lmdb"
            start = time.process_time()
            write(path, size)
            seconds = time.process_time() - start
            command = [sys.executable, __file__, "--read", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(
                {"frames": size, "file_mib": path.stat().st_size / 2**20, "written_per_s": size / seconds}
                | json.loads(done.stdout)
            )
            print(rows[-1], flush=True)
    growth = rows[-1]["anonymous_mib"] - rows[0]["anonymous_mib"]
    report(options.output, rows, growth)
    if growth > ALLOWED_GROWTH:
        sys.exit(f"memory grew by {growth:.0f} MiB with the data set")


def write(path: Path, size: int) -> None:
    """Frames of random atoms in a box, with energies and forces."""
    import torch

    from mlip.data.frame import Frame
    from mlip.data.lmdb_file import write_lmdb

    def frames() -> Iterator[Frame]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(size):
            yield Frame(
                pos=8.0 * torch.rand(ATOMS, 3, generator=generator, dtype=torch.float64),
                atomic_numbers=torch.randint(1, 9, (ATOMS,), generator=generator),
                cell=8.0 * torch.eye(3, dtype=torch.float64),
                pbc=(True, True, True),
                labels={
                    "total_energy": torch.randn(1, 1, generator=generator, dtype=torch.float64),
                    "forces": torch.randn(ATOMS, 3, generator=generator, dtype=torch.float64),
                },
            )

    write_lmdb(path, frames())


def read(path: Path) -> dict[str, float]:
    """Read every frame once, as stored and with neighbour lists."""
    import torch

    from mlip.data.datasets import NequIPLMDBDataset
    from mlip.data.transforms import NeighborListTransform

    torch.set_num_threads(1)
    found: dict[str, float] = {}
    peak: dict[str, float] = {}
    for name, transforms in (("plain", []), ("with_neighbours", [NeighborListTransform(CUTOFF)])):
        dataset = NequIPLMDBDataset(path, transforms)
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))
        start = time.process_time()
        for count in range(len(order)):
            _ = dataset[int(order[count])]  # a list of all indices would take more memory than the data set
            if count % 1000 == len(order) % 1000:
                peak = {key: max(value, peak.get(key, 0.0)) for key, value in memory().items()}
        found[f"{name}_per_s"] = len(order) / (time.process_time() - start)
    return found | peak


def memory() -> dict[str, float]:
    """Memory of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {"anonymous_mib": int(sizes["RssAnon"]) / 1024, "mapped_mib": int(sizes["RssFile"]) / 1024}


def report(folder: Path, rows: list[dict[str, float]], growth: float) -> None:
    """Write results as JSON and Markdown."""
    stem = f"{dt.datetime.now(tz=dt.timezone.utc).date()}-bench-data"
    facts = {"command": "python benchmarks/bench_data.py", "machine": machine(), "atoms": ATOMS, "cutoff": CUTOFF}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    lines = [
        "# Reading frames from LMDB",
        "",
        f"Frames of {ATOMS} atoms, in random order, one process, one thread; neighbour lists within {CUTOFF:g} Å.",
        "Rates are per second of processor time, which other load on the machine does not change much.",
        "",
        "| frames | file | written, 1/s | read, 1/s | with neighbour lists, 1/s | anonymous memory | mapped memory |",
        "|---|---|---|---|---|---|---|",
        *[
            f"| {row['frames']:,} | {row['file_mib']:.0f} MiB | {row['written_per_s']:.0f} | "
            f"{row['plain_per_s']:.0f} | "
            f"{row['with_neighbours_per_s']:.0f} | {row['anonymous_mib']:.0f} MiB | {row['mapped_mib']:.0f} MiB |"
            for row in rows
        ],
        "",
        f"From the smallest to the largest the anonymous memory grows by {growth:.1f} MiB.",
        "",
        *[f"- {name}: {value}" for name, value in facts.items() if name in ("command", "machine")],
        "",
    ]
    (folder / f"{stem}.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
