"""torch-sim: one compiled model, any state, torch-sim's own checks, and the runs that people use it for."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlip.cli import compile as compile_command
from mlip.deploy.load import ModelFileError
from tests.compiled_models import compiled, potential
from tests.evaluation import eager
from tests.integration.test_training_run import CONFIG, in_process
from tests.physics import TOLERANCES, crystal, dimer, molecule

ts = pytest.importorskip("torch_sim", reason="torch-sim needs Python 3.11")
from mlip.integrations.torch_sim import NequIPTorchSimCalc  # noqa: E402

ROOT = Path(__file__).parents[2]
F64 = torch.float64
SUFFIX = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}
# the kit's elements, played by the two types of the tests' models
ROLES = dict.fromkeys(["Si", "Mg", "Fe", "C", "Ti", "O", "Ni", "Ar", "Ca"], "Cu") | dict.fromkeys(
    ["H", "Cu", "Al", "N", "Ga", "Sb", "Os"], "Au"
)


@pytest.fixture(scope="module", params=["torchscript", "aotinductor"])
def calculator(request: pytest.FixtureRequest) -> NequIPTorchSimCalc:
    """A model compiled in either mode."""
    file = compiled("allegro", "float64", request.param, "batch")
    return NequIPTorchSimCalc.from_compiled_model(file, chemical_species_to_atom_type_map=True)


def state_of(frames: list[Atoms]) -> Any:
    return ts.io.atoms_to_state(frames, torch.device("cpu"), F64)


def assert_right(results: dict[str, torch.Tensor], frames: list[Atoms], model: str = "allegro") -> None:
    """The numbers of each system are those it has alone, in Python."""
    tolerance, alone = TOLERANCES["float64"].same, eager(potential(model, "float64"))
    count = len(frames)
    assert results["energy"].shape == (count,)
    assert results["forces"].shape == (sum(map(len, frames)), 3)
    assert results["stress"].shape == (count, 3, 3)
    start = 0
    for index, atoms in enumerate(frames):
        expected = alone(atoms)
        np.testing.assert_allclose(results["energy"][index], expected.energy, rtol=0, atol=tolerance)
        forces = results["forces"][start : start + len(atoms)]
        np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=tolerance)
        np.testing.assert_allclose(results["stress"][index], expected.stress, rtol=0, atol=tolerance)
        start += len(atoms)
    assert all(value.dtype == F64 and not value.requires_grad for value in results.values())


# States -------------------------------------------------------------------------------------------------------------


def test_systems_of_other_sizes_and_numbers_one_after_the_other(calculator: NequIPTorchSimCalc) -> None:
    for frames in (
        [crystal()],
        [crystal(3), crystal(4) * (1, 1, 2), crystal(5)],
        [molecule(), Atoms("Cu", [(0, 0, 0)]), dimer(["Cu", "Au"], 2.5)],
        [crystal(6)] * 5,
        [Atoms("Au", [(1, 2, 3)])],
        [dimer(["Cu", "Cu"], 40.0), Atoms("Cu", [(0, 0, 0)])],
        [bulk("Cu", a=3.7)],  # one atom and its images
    ):
        assert_right(calculator(state_of(frames)), frames)


@pytest.mark.parametrize("backend", ["matscipy", "vesin", "ase", "alchemiops"])
def test_every_neighbour_list_gives_the_same(backend: str) -> None:
    if backend == "alchemiops":
        pytest.importorskip("nvalchemiops")
    file = compiled("nequip", "float64", "torchscript", "batch")
    calculator = NequIPTorchSimCalc.from_compiled_model(
        file, chemical_species_to_atom_type_map=True, neighborlist_backend=backend
    )
    for frames in ([crystal(), crystal(3) * (1, 1, 2)], [molecule(), Atoms("Cu", [(0, 0, 0)])]):
        assert_right(calculator(state_of(frames)), frames, "nequip")


def test_atoms_outside_the_cell(calculator: NequIPTorchSimCalc) -> None:
    elsewhere = crystal()
    elsewhere.positions[3] += 3 * elsewhere.cell[0] - 2 * elsewhere.cell[2]
    inside = calculator(state_of([crystal(), crystal(3)]))
    outside = calculator(state_of([elsewhere, crystal(3)]))
    for name, value in inside.items():
        torch.testing.assert_close(outside[name], value, rtol=0, atol=1e-10)


def test_tensors_in_any_layout_and_precision(calculator: NequIPTorchSimCalc) -> None:
    """A strided view, another dtype, or fields instead of a state change no number beyond rounding."""
    frames = [crystal(), crystal(3)]
    state = state_of(frames)
    expected = calculator(state)
    wide = torch.zeros(state.n_atoms, 6, dtype=F64)
    wide[:, ::2] = state.positions
    strided = state.clone()
    strided.positions = wide[:, ::2]
    strided.cell = state.cell.mT.contiguous().mT
    assert not strided.positions.is_contiguous()
    assert not strided.cell.is_contiguous()
    for name, value in calculator(strided).items():
        assert torch.equal(value, expected[name])
    fields = {name: getattr(state, name) for name in ("positions", "cell", "pbc", "atomic_numbers", "system_idx")}
    for name, value in calculator(fields).items():
        assert torch.equal(value, expected[name])
    single = ts.io.atoms_to_state(frames, torch.device("cpu"), torch.float32)
    for name, value in calculator(single).items():
        assert value.dtype == F64
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-3)


def test_a_state_is_left_as_it_is(calculator: NequIPTorchSimCalc) -> None:
    state = state_of([crystal()])
    before = {name: getattr(state, name).clone() for name in ("positions", "cell", "atomic_numbers", "system_idx")}
    calculator(state)
    for name, value in before.items():
        assert torch.equal(getattr(state, name), value)


def test_stress_is_zero_without_a_cell_even_if_the_file_divides_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the NequIP framework give stresses that are not finite there."""
    file = compiled("allegro", "float64", "torchscript", "batch")
    calculator = NequIPTorchSimCalc.from_compiled_model(file, chemical_species_to_atom_type_map=True)
    model = calculator.model

    def careless(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        outputs = model(inputs)
        return outputs | {"stress": outputs["virial" if "virial" in outputs else "stress"] / 0.0}

    monkeypatch.setattr(calculator, "model", _Like(model, careless))
    stress = calculator(state_of([molecule(), Atoms("Cu", [(0, 0, 0)])]))["stress"]
    assert torch.equal(stress, torch.zeros(2, 3, 3, dtype=F64))


class _Like:
    """A compiled model with another function."""

    def __init__(self, model: Any, function: Any) -> None:
        self.metadata, self.device, self._function = model.metadata, model.device, function

    def __call__(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self._function(inputs)


def test_what_is_switched_off_is_not_given(calculator: NequIPTorchSimCalc) -> None:
    calculator.compute_stress = calculator.compute_forces = False
    try:
        assert set(calculator(state_of([crystal()]))) == {"energy"}
    finally:
        calculator.compute_stress = calculator.compute_forces = True
    assert calculator.dtype == F64
    assert calculator.device == torch.device("cpu")
    assert calculator.memory_scales_with == "n_atoms_x_density"


# Types --------------------------------------------------------------------------------------------------------------


def test_only_a_missing_map_warns() -> None:
    file = compiled("allegro", "float64", "torchscript", "batch")
    with pytest.warns(UserWarning, match="taken for chemical symbols") as caught:
        NequIPTorchSimCalc.from_compiled_model(file, device="cpu")
    (ours,) = (one for one in caught if "taken for chemical symbols" in str(one.message))  # torch may warn, too
    assert ours.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        NequIPTorchSimCalc.from_compiled_model(file, device="cpu", chemical_species_to_atom_type_map=True)
        NequIPTorchSimCalc.from_compiled_model(file, device="cpu", chemical_species_to_atom_type_map=ROLES)


def test_a_map_says_which_type_an_element_is() -> None:
    file = compiled("allegro", "float64", "torchscript", "batch")
    swapped = NequIPTorchSimCalc.from_compiled_model(file, chemical_species_to_atom_type_map={"Cu": "Au", "Au": "Cu"})
    other = crystal()
    other.symbols = np.where(other.symbols == "Cu", "Au", "Cu")
    assert_right({**swapped(state_of([crystal()]))}, [other])


@pytest.mark.parametrize(
    "mapping, message",
    [
        ({"Cu": "copper"}, "the model has no type 'copper'; it has Cu, Au"),
        ({"Q1": "Cu"}, "'Q1' is no chemical symbol"),
        (["Cu", "Au"], "must be True or a dictionary"),
    ],
)
def test_a_map_that_does_not_fit(mapping: Any, message: str) -> None:
    file = compiled("allegro", "float64", "torchscript", "batch")
    with pytest.raises(ModelFileError, match=message):
        NequIPTorchSimCalc.from_compiled_model(file, chemical_species_to_atom_type_map=mapping)


def test_an_element_without_a_type_is_named(calculator: NequIPTorchSimCalc) -> None:
    with pytest.raises(ModelFileError, match="no type for Ag, Zn; it knows Cu, Au"):
        calculator(state_of([crystal(), bulk("Ag"), bulk("Zn")]))


def test_a_file_for_one_system_at_a_time_is_refused() -> None:
    file = compiled("allegro", "float64", "torchscript", "ase")
    with pytest.raises(ModelFileError, match=r"target ase.*compile it again with --target batch"):
        NequIPTorchSimCalc.from_compiled_model(file, chemical_species_to_atom_type_map=True)


# torch-sim's own checks and runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model, mode", [("allegro", "aotinductor"), ("nequip", "torchscript")])
def test_torch_sims_contract(model: str, mode: str) -> None:
    from torch_sim.models.interface import validate_model_outputs

    calculator = NequIPTorchSimCalc.from_compiled_model(
        compiled(model, "float64", mode, "batch"), chemical_species_to_atom_type_map=ROLES
    )
    validate_model_outputs(calculator, torch.device("cpu"), F64)


def test_torch_sims_comparison_with_ase() -> None:
    """The states that torch-sim exports for this, with the model in both programs."""
    kit = pytest.importorskip("torch_sim.testing", reason="not in this version of torch-sim")
    from mlip.integrations.ase import NequIPCalculator

    batch = NequIPTorchSimCalc.from_compiled_model(
        compiled("allegro", "float64", "torchscript", "batch"), chemical_species_to_atom_type_map=ROLES
    )
    single = NequIPCalculator.from_compiled_model(
        compiled("allegro", "float64", "torchscript", "ase"), chemical_species_to_atom_type_map=ROLES
    )
    for name in kit.CONSISTENCY_SIMSTATES:
        # zeros there, and not defined in ASE
        batch.compute_stress = name not in kit.SIMSTATE_MOLECULE_GENERATORS
        kit.assert_model_calculator_consistency(batch, single, kit.SIMSTATE_GENERATORS[name](torch.device("cpu"), F64))


def forty() -> list[Atoms]:
    """Structures of 4 to 16 atoms."""
    rng = np.random.default_rng(4)
    frames = []
    for index in range(40):
        atoms = bulk("Cu", a=3.7, cubic=True) * (1, 1, 1 + index % 4)
        atoms.symbols[rng.random(len(atoms)) < 0.4] = "Au"
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        frames.append(atoms)
    return frames


def fast() -> NequIPTorchSimCalc:
    """The file that people use: compiled ahead of time."""
    return NequIPTorchSimCalc.from_compiled_model(
        compiled("allegro", "float64", "aotinductor", "batch"), chemical_species_to_atom_type_map=True
    )


def test_forty_structures_are_relaxed_in_batches() -> None:
    frames, calculator = forty(), fast()
    fire = ts.Optimizer.fire if hasattr(ts, "Optimizer") else ts.optimizers.fire
    batches = ts.InFlightAutoBatcher(calculator, memory_scales_with="n_atoms", max_memory_scaler=60)
    relaxed = ts.optimize(
        state_of(frames),
        calculator,
        optimizer=fire,
        autobatcher=batches,
        convergence_fn=ts.generate_force_convergence_fn(force_tol=0.05, include_cell_forces=False),
        max_steps=300,
    )
    assert relaxed.n_systems == len(frames)
    results, before = calculator(relaxed), calculator(state_of(frames))
    assert float(results["forces"].norm(dim=1).max()) < 0.05
    assert bool((results["energy"] < before["energy"]).all())
    for index, atoms in enumerate(ts.io.state_to_atoms(relaxed)):  # each is still itself
        assert str(atoms.symbols) == str(frames[index].symbols)


def test_forty_structures_at_a_temperature() -> None:
    frames, calculator, steps = forty(), fast(), 40
    langevin = ts.Integrator.nvt_langevin if hasattr(ts, "Integrator") else ts.nvt_langevin
    batches = ts.BinningAutoBatcher(calculator, memory_scales_with="n_atoms", max_memory_scaler=100)
    torch.manual_seed(1)
    final = ts.integrate(
        state_of(frames),
        calculator,
        integrator=langevin,
        n_steps=steps,
        temperature=300,
        timestep=0.002,
        autobatcher=batches,
    )
    assert final.n_systems == len(frames)
    assert bool(torch.isfinite(final.positions).all())
    kinetic = float((final.momenta.pow(2).sum(1) / (2 * final.masses)).mean())  # eV
    assert 150 < kinetic / 1.5 / 8.617e-5 < 500  # K; the structures start displaced, so not quite 300
    moved = ts.io.state_to_atoms(final)
    assert_right(calculator(final), moved)


# The documented example ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small model of silicon, trained here."""
    folder = tmp_path_factory.mktemp("silicon")
    rng = np.random.default_rng(2)
    (folder / "data").mkdir()
    for name, count in (("train", 6), ("val", 3), ("test", 2)):
        frames = []
        for _ in range(count):
            atoms = bulk("Si", a=5.43 * rng.uniform(0.97, 1.03), cubic=True)
            atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
            atoms.calc = LennardJones(sigma=2.1, epsilon=0.5, rc=4.0, smooth=True)
            labels = {key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces", "stress")}
            atoms.calc = SinglePointCalculator(atoms, **labels)
            frames.append(atoms)
        write(folder / f"data/{name}.xyz", frames, format="extxyz")
    config = CONFIG.replace("???", "data").replace("[Cu, Au]", "[Si]").replace("r_max: 3.2", "r_max: 4.0")
    (folder / "config.yaml").write_text(config)
    return in_process(folder, "run", "trainer.max_epochs=2", "run=[train]") / "best.ckpt"


@pytest.mark.parametrize("mode", SUFFIX)
def test_the_example_of_the_documentation(
    mode: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"compiled_model{SUFFIX[mode]}"
    compile_command.main([str(trained), str(file), "--device", "cpu", "--mode", mode, "--target", "batch"])
    text = (ROOT / "docs/torch-sim.md").read_text()
    example = next(block for block in text.split("```python\n")[1:] if "atoms_to_state" in block).split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example.replace("compiled_model.nequip.pt2", file.name), "example", "exec"), names)  # noqa: S102
    assert names["energies"].shape == (3,)
    assert names["forces"].shape == (24, 3)
    assert names["stress"].shape == (3, 3, 3)
    assert len(set(names["energies"].tolist())) == 3


def test_scripts_of_the_framework_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "compat/src"))
    try:
        for module in ("nequip.integrations", "nequip.integrations.torchsim"):
            assert importlib.import_module(module).NequIPTorchSimCalc is NequIPTorchSimCalc
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "nequip"]:
            del sys.modules[name]
