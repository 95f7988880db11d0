"""One timed task in one process: prepares, then runs as often as its standard input says.

    python worker.py SIDE CASE TASK FOLDER

SIDE is ``ours`` or ``reference`` (each run by the Python of its own environment), FOLDER holds what tasks share:
``oracle`` (reference only) draws weights and writes CASE-oracle.npz with them and with float64 forces; ``compile``
writes SIDE-CASE.nequip.pt2; ``compiled`` and ``eager`` infer; ``train`` and ``train-compiled`` take optimizer steps.

A prepared worker prints one JSON line. Then for every line with a number N it runs N times and prints the seconds of
each run. At the end of its input it prints its memory.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from cases import Case, make_case

ASE_INPUTS = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift")
ORACLE_EDGES = 4000  # at a time
WARM_UP_RUNS, WARM_UP_SECONDS = 3, 20.0  # whichever comes first, but at least one run


def memory(field: str) -> float:
    """A memory figure of this process in MiB: VmRSS (now) or VmHWM (peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return float("nan")


def reset_peak() -> bool:
    """Start the peak anew, so that preparation does not count; False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def relative_force_error(forces: Any, expected: np.ndarray) -> float:
    """Norm of the difference over the norm of the float64 forces."""
    return float(np.linalg.norm(forces.detach().double().numpy() - expected) / np.linalg.norm(expected))


class Worker:
    """Prepares one task; ``run`` is what is timed."""

    def __init__(self, side: str, name: str, folder: Path) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.name, self.folder = name, folder
        self.case: Case = make_case(name)
        self.package = folder / f"{side}-{name}.nequip.pt2"
        self.oracle = folder / f"{name}-oracle.npz"
        self.side = side

    def backend(self) -> Any:
        """The module that knows one side's Python interface; compiled inference does not need it."""
        return importlib.import_module({"ours": "our_side", "reference": "reference_side"}[self.side])

    def weights(self) -> dict[str, Any]:
        """The state dict that both sides use, written by the oracle task."""
        with np.load(self.oracle) as content:
            return {k[2:]: self.torch.as_tensor(content[k]) for k in content.files if k.startswith("w/")}

    def tensors(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """The graph fields as tensors."""
        return {k: self.torch.as_tensor(np.ascontiguousarray(v)) for k, v in arrays.items()}

    def make_oracle(self) -> None:
        """Draw weights, and compute forces with them in float64.

        A strictly local model's forces are the sum of those from the edges of some centres at a time: all at once would
        take 20 GB in the largest case.
        """
        backend = self.backend()
        model = backend.build(self.case.config, "float64", None)
        frame = self.case.frame
        forces = self.torch.zeros(frame["pos"].shape, dtype=self.torch.float64)
        parts = -(-len(frame["edge_index"][0]) // ORACLE_EDGES) if self.case.strictly_local else 1
        for centres in np.array_split(np.arange(len(frame["pos"])), parts):
            chosen = np.isin(frame["edge_index"][0], centres)
            edges = {"edge_index": frame["edge_index"][:, chosen], "edge_cell_shift": frame["edge_cell_shift"][chosen]}
            forces += backend.inference(model, self.tensors(frame | edges))().detach()
        weights = {f"w/{k}": v.detach().numpy() for k, v in model.state_dict().items() if v.numel()}
        np.savez(self.oracle, forces=forces.numpy(), **weights)

    def compile(self) -> None:
        """Write the compiled model."""
        backend = self.backend()
        model = backend.build(self.case.config, self.case.dtype, self.weights())
        backend.compile_package(model, self.tensors(self.case.frame), self.package)

    def eager(self) -> Callable[[], Any]:
        """Inference by the Python model; returns forces."""
        backend = self.backend()
        model = backend.build(self.case.config, self.case.dtype, self.weights())
        return backend.inference(model, self.tensors(self.case.frame))

    def compiled(self) -> Callable[[], Any]:
        """Inference by the compiled model through torch's own loader, the same for both sides."""
        model = self.torch._inductor.aoti_load_package(str(self.package))
        graph = self.tensors(self.case.frame)
        inputs = [graph[k] for k in ASE_INPUTS]
        return lambda: model(inputs)[2]

    def train(self, compiled: bool = False) -> Callable[[], Any]:
        """A training step: energies, forces, loss, its gradient, Adam; returns None."""
        backend = self.backend()
        model = backend.build(self.case.config, self.case.dtype, self.weights(), compiled=compiled, training=True)
        batch = self.tensors(self.case.batch)
        rng = np.random.default_rng(7)
        sizes = batch["num_atoms"][:, None]
        energies = self.torch.as_tensor(rng.normal(size=(len(sizes), 1)))
        forces = self.torch.as_tensor(rng.normal(size=batch["pos"].shape))
        if compiled:
            backend.training_prediction(model, self.tensors(self.case.small_batch))()
        predict = backend.training_prediction(model, batch)
        optimizer = self.torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            predicted_energies, predicted_forces = predict()
            loss = (((predicted_energies - energies) / sizes) ** 2).mean() + ((predicted_forces - forces) ** 2).mean()
            loss.backward()
            optimizer.step()

        return step


def say(record: dict[str, Any]) -> None:
    """One JSON line for the driver."""
    print(json.dumps(record), flush=True)


def main() -> None:
    """Prepare one task and serve the driver."""
    side, name, task, folder = sys.argv[1:5]
    start = time.perf_counter()
    worker = Worker(side, name, Path(folder))
    baseline = memory("VmRSS")
    if task in ("oracle", "compile"):
        worker.make_oracle() if task == "oracle" else worker.compile()
        say({"seconds": time.perf_counter() - start, "peak_mib": memory("VmHWM")})
        return
    run = {
        "eager": worker.eager,
        "compiled": worker.compiled,
        "train": worker.train,
        "train-compiled": lambda: worker.train(compiled=True),
    }[task]()
    result, warm = None, time.perf_counter()
    for count in range(WARM_UP_RUNS):
        if count == 0 or time.perf_counter() - warm < WARM_UP_SECONDS:
            result = run()
    error = None
    if result is not None:
        with np.load(worker.oracle) as content:
            error = relative_force_error(result, content["forces"])
    del result
    reset = reset_peak()
    say({"setup_seconds": time.perf_counter() - start, "force_error": error, "versions": versions(worker.torch)})
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
        say({"seconds": seconds})
    say(
        {
            "baseline_mib": baseline,
            "running_peak_mib": memory("VmHWM") if reset else None,
            "lifetime_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def versions(torch: Any) -> dict[str, str]:
    """What computed the numbers."""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "tunables": os.environ.get("GLIBC_TUNABLES", ""),
    }


if __name__ == "__main__":
    main()
