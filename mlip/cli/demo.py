"""The main job from end to end: data, training, compilation, ASE and LAMMPS, for `make demo` and `make demo-acac`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

    from mlip.cli.demo_report import ModelReport
    from mlip.integrations.lammps_md import Dynamics, Trajectory

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class DemoModel:
    """A model of the demo.

    Attributes:
        config: name of its training config.
        style: LAMMPS pair style.
        ranks: numbers of MPI ranks to run on.
    """

    config: str
    style: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Demo:
    """What one demo trains and runs.

    Attributes:
        title: for the figure.
        data_variable: environment variable that tells the configs where the data are.
        data: folder of the data.
        models: what to train.
        structure: where dynamics starts.
        test_files: data to compare predictions with.
        temperature: of the dynamics, K.
        timestep: ps.
        steps: of each run.
    """

    title: str
    data_variable: str
    data: Path
    models: tuple[DemoModel, ...]
    structure: Atoms
    test_files: tuple[str, ...]
    temperature: float
    timestep: float
    steps: int


def main(args: list[str] | None = None) -> None:
    """Entry point; exits with status 1 and the failing command's own message when a step fails."""
    parser = argparse.ArgumentParser(prog="python -m mlip.cli.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder (default: %(default)s)")
    parser.add_argument("--acac", type=Path, metavar="FOLDER", help="train on the AcAc data in this folder instead")
    parser.add_argument("--steps", type=int, help="length of each LAMMPS run")
    options = parser.parse_args(args)

    from mlip.integrations.lammps_md import LammpsError

    try:
        run(options.output.resolve(), options.acac, options.steps)
    except (subprocess.CalledProcessError, LammpsError) as error:
        sys.exit(f"demo: {error}")


def run(output: Path, acac: Path | None, steps: int | None) -> None:
    """Do everything, and end with a table and a figure in ``output``."""
    from rich.console import Console

    from mlip.cli.demo_report import print_table, write_figure

    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    demo = alloy_demo(output / "data") if acac is None else molecule_demo(acac.resolve())
    reports = []
    for number, model in enumerate(demo.models, start=1):
        console.rule(f"[bold]{model.config}[/] ({number} of {len(demo.models)})")
        reports.append(run_model(demo, model, output / model.config, steps or demo.steps))
    console.rule("[bold]results")
    print_table(reports)
    figure = write_figure(reports, demo.title, output / "demo.png")
    console.print(f"Figure: {figure}\nFolder: {output}", highlight=False, soft_wrap=True)


def alloy_demo(data: Path) -> Demo:
    """CuAu, labelled on the spot with ASE's EMT potential."""
    from mlip.data.emt import example_crystal, write_emt_dataset

    if not all((data / f"{part}.xyz").is_file() for part in ("train", "val", "test")):
        write_emt_dataset(data, num_train=200, num_val=20, num_test=50, seed=1)
    models = (DemoModel("demo_allegro", "allegro", (1, 2)), DemoModel("demo_nequip", "nequip", (1,)))
    return Demo("CuAu, EMT", "MLIP_DEMO_DATA", data, models, example_crystal(), ("test.xyz",), 600.0, 0.002, 1000)


def molecule_demo(data: Path) -> Demo:
    """Acetylacetone, from the AcAc data set."""
    from ase.io import read

    molecule = read(data / "test_MD_300K.xyz", index=0)
    models = (DemoModel("acac_allegro", "allegro", (1, 2)),)
    files = ("test_MD_300K.xyz", "test_MD_600K.xyz")
    return Demo("Acetylacetone", "MLIP_ACAC_DATA", data, models, molecule, files, 300.0, 0.0005, 2000)


def run_model(demo: Demo, model: DemoModel, folder: Path, steps: int) -> ModelReport:
    """Train, compile twice, compare with the test data in ASE, run in LAMMPS."""
    from mlip.cli.demo_report import ModelReport, compare_with_labels

    command(
        ["nequip-train", "-cn", model.config, f"hydra.run.dir={folder}"], environment={demo.data_variable: demo.data}
    )
    checkpoint, compiled, for_ase = folder / "best.ckpt", folder / "lammps.nequip.pt2", folder / "ase.nequip.pth"
    for output, mode, target in (
        (compiled, "aotinductor", f"pair_{model.style}"),
        (for_ase, "torchscript", "ase"),
    ):
        words: list[str | Path] = [checkpoint, output, "--mode", mode, "--device", "cpu", "--target", target]
        command(["nequip-compile", *words], environment={})

    from mlip.integrations.ase import NequIPCalculator
    from mlip.integrations.lammps_md import Dynamics

    calculator = NequIPCalculator.from_compiled_model(for_ase, chemical_species_to_atom_type_map=True)
    evaluation = compare_with_labels(calculator, [demo.data / name for name in demo.test_files])
    runs = {}
    for ensemble, ranks in [*(("nve", count) for count in model.ranks), ("nvt", model.ranks[-1])]:
        label = f"{ensemble}, {ranks} rank{'s' if ranks > 1 else ''}"
        names = calculator.model.metadata.type_names
        settings = Dynamics(model.style, compiled, names, ensemble, demo.temperature, demo.timestep, steps, ranks=ranks)
        runs[label] = run_with_progress(demo.structure, settings, folder / f"{ensemble}-{ranks}", label)
    atoms = demo.structure.copy()
    atoms.calc = calculator
    return ModelReport(model.config, evaluation, runs, atoms.get_potential_energy(), atoms.get_forces())


def run_with_progress(atoms: Atoms, settings: Dynamics, folder: Path, label: str) -> Trajectory:
    """One run in LAMMPS with a progress bar."""
    from rich.progress import Progress

    from mlip.integrations.lammps_md import run_dynamics

    with Progress() as progress:
        task = progress.add_task(f"LAMMPS {label}", total=settings.steps)
        return run_dynamics(atoms, settings, folder, lambda step: progress.update(task, completed=step))


def command(words: list[str | Path], environment: dict[str, Path]) -> None:
    """Show a command as a user would type it, and run it."""
    program, *arguments = [str(word) for word in words]
    shown = " ".join([*(f"{key}={value}" for key, value in environment.items()), program, *arguments])
    print(f"$ {shown}", flush=True)
    variables = {"OMP_NUM_THREADS": "1"} | dict(os.environ) | {key: str(value) for key, value in environment.items()}
    subprocess.run([str(PROGRAMS / program), *arguments], check=True, env=variables)


if __name__ == "__main__":
    main()
