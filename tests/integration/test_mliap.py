"""Potentials behind LAMMPS' ML-IAP interface, which a stand-in implements on emulated MPI ranks."""

from __future__ import annotations

import copy
import io
import pickle
import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from mlip.cli.prepare_lmp_mliap import main
from mlip.deploy.checkpoint import describe, write_checkpoint
from mlip.integrations.lammps_mliap import MLIAPError, MLIAPPotential, write_mliap_file
from mlip.models import Potential, build_model
from tests.compiled_models import CONFIGS, DTYPES, MODELS, TYPE_NAMES, potential
from tests.end_to_end import lammps_cases as geometry
from tests.evaluation import eager
from tests.mliap_stand_in import KokkosData, PlainData, as_plain, decompose, gather, run
from tests.physics import TOLERANCES, Result

GRIDS = {1: (1, 1, 1), 2: (2, 1, 1), 4: (2, 2, 1)}
GEOMETRIES: dict[str, Callable[[], Atoms]] = {
    "orthogonal": lambda: geometry.alloy((2, 2, 3)),
    "triclinic": geometry.triclinic,
    "slab": geometry.slab,
    "cluster": geometry.cluster,
    "cutoff longer than the cell": geometry.tiny_cell,
    "one atom": geometry.one_atom,
    "two atoms without edges": geometry.two_atoms_without_edges,
    "dimer across ranks": geometry.dimer_across_ranks,
    "all atoms in a corner": geometry.corner,
}
Prepare = Callable[..., Path]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Writes the file of a potential."""

    def write(model: Potential, *, compiled: bool = False) -> Path:
        file = tmp_path / "model.nequip.lmp.pt"
        write_mliap_file(model, file, compiled=compiled)
        return file

    return write


def load(file: Path) -> Any:
    """As LAMMPS does for files that end with .pt."""
    return torch.load(file, weights_only=False)


def in_lammps(file: Path, atoms: Atoms, ranks: int, *, plain: bool = False) -> tuple[Result, list[PlainData]]:
    """Energies, forces and stress by way of the interface, and the ranks' data after the step."""
    first = load(file)
    data, own = decompose(atoms, first.element_types, 2 * first.rcutfac, GRIDS[ranks])
    steps: list[PlainData] = [as_plain(step) for step in data] if plain else list(data)
    first._prepared(
        steps[0]
    )  # building models changes torch's settings for the process: not in several threads at once
    unified = [first, *(deepcopy_with_model(first) for _ in range(ranks - 1))]
    run([each.compute_forces for each in unified], steps)
    return gather(atoms, steps, own, [step.owners for step in data]), steps


def deepcopy_with_model(unified: MLIAPPotential) -> MLIAPPotential:
    """Another rank's object."""
    other = MLIAPPotential(b"", unified.element_types, 2 * unified.rcutfac, compiled=False)
    other._derivative = copy.deepcopy(unified._derivative)
    return other


def assert_same(found: Result, expected: Result, dtype: str) -> None:
    tolerance = TOLERANCES[dtype].same
    np.testing.assert_allclose(found.energies, expected.energies, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.stress, expected.stress, rtol=tolerance, atol=tolerance)


# The numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", GRIDS)
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("model", MODELS)
def test_kokkos_gives_what_the_model_gives(prepare: Prepare, model: str, name: str, ranks: int) -> None:
    atoms = GEOMETRIES[name]()
    found, _ = in_lammps(prepare(potential(model, "float64")), atoms, ranks)
    assert_same(found, eager(potential(model, "float64"))(atoms), "float64")


@pytest.mark.parametrize("ranks", GRIDS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_plain_package_gives_what_allegro_gives(prepare: Prepare, name: str, ranks: int) -> None:
    atoms = GEOMETRIES[name]()
    found, _ = in_lammps(prepare(potential("allegro", "float64")), atoms, ranks, plain=True)
    assert_same(found, eager(potential("allegro", "float64"))(atoms), "float64")


@pytest.mark.parametrize("model", MODELS)
def test_single_precision(prepare: Prepare, model: str) -> None:
    atoms = geometry.alloy((2, 2, 2))
    found, _ = in_lammps(prepare(potential(model, "float32")), atoms, 2)
    assert_same(found, eager(potential(model, "float32"))(atoms), "float32")


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_any_number_of_layers(prepare: Prepare, layers: int) -> None:
    model = build_model(CONFIGS["nequip"] | {"num_layers": layers, "model_dtype": "float64"}).eval()
    atoms = geometry.alloy((1, 2, 3))
    found, steps = in_lammps(prepare(model), atoms, 2)
    assert_same(found, eager(model)(atoms), "float64")
    counts = {step.exchanges for step in steps if isinstance(step, KokkosData)}
    assert len(counts) == 1
    assert (counts == {0}) == (layers == 1)


def test_one_layer_needs_no_exchange_and_runs_in_the_plain_package(prepare: Prepare) -> None:
    model = build_model(CONFIGS["nequip"] | {"num_layers": 1, "model_dtype": "float64"}).eval()
    atoms = geometry.alloy((1, 2, 3))
    found, _ = in_lammps(prepare(model), atoms, 2, plain=True)
    assert_same(found, eager(model)(atoms), "float64")


@pytest.mark.parametrize("model", MODELS)
def test_ranks_without_atoms_take_part_in_every_exchange(prepare: Prepare, model: str) -> None:
    _, steps = in_lammps(prepare(potential(model, "float64")), geometry.corner(), 4)
    assert [step.ntotal for step in steps].count(0) == 3
    assert all(step.found_energy == 0.0 for step in steps if step.nlocal == 0)
    assert len({step.exchanges for step in steps if isinstance(step, KokkosData)}) == 1


@pytest.mark.parametrize("model", MODELS)
def test_atoms_without_neighbours_keep_their_own_energy(prepare: Prepare, model: str) -> None:
    atoms = geometry.two_atoms_without_edges()
    expected = eager(potential(model, "float64"))(atoms)
    _, (step,) = in_lammps(prepare(potential(model, "float64")), atoms, 1)
    assert step.npairs == step.updates == 0
    np.testing.assert_allclose(step.found_eatoms, expected.energies, rtol=1e-14)
    np.testing.assert_allclose(step.found_energy, expected.energy, rtol=1e-14)


def test_pairs_beyond_the_cutoff_of_their_types_get_zero_forces(prepare: Prepare) -> None:
    gold = Atoms("Au2", [(0, 0, 0), (4.5, 0, 0)], cell=[30, 30, 30], pbc=True)  # 4.1 Å for gold with gold
    _, (step,) = in_lammps(prepare(potential("allegro", "float64")), gold, 1)
    assert step.npairs == 2
    assert step.updates == 1
    assert not step.f.any()


@pytest.mark.parametrize("plain", [True, False])
def test_atoms_of_other_pair_styles_are_left_alone(prepare: Prepare, *, plain: bool) -> None:
    atoms = geometry.alloy((2, 2, 2))
    atoms.symbols[::5] = "He"
    others = atoms.symbols == "He"
    expected = eager(potential("allegro", "float64"))(atoms[~others])
    found, _ = in_lammps(prepare(potential("allegro", "float64")), atoms, 2, plain=plain)
    np.testing.assert_allclose(found.energies[~others], expected.energies, atol=1e-10)
    np.testing.assert_allclose(found.forces[~others], expected.forces, atol=1e-10)
    assert not found.energies[others].any()
    assert not found.forces[others].any()


def test_neighbours_of_ghosts_change_nothing(prepare: Prepare) -> None:
    """LAMMPS lists them when the file's name is followed by 1 instead of 0."""
    atoms = geometry.dimer_across_ranks()
    unified = load(prepare(potential("allegro", "float64")))
    (data, _), _ = decompose(atoms, TYPE_NAMES, 5.0, GRIDS[2])
    assert data.npairs == 1
    both = PlainData(data.elems, 1, np.array([[0, 1], [1, 0]]), np.concatenate([data.rij, -data.rij]))
    unified.compute_forces(data)
    unified.compute_forces(both)
    np.testing.assert_array_equal(both.f, data.f)
    assert both.found_energy == data.found_energy


@pytest.mark.parametrize(
    "model, compiled",
    [
        ("allegro", False),
        pytest.param("allegro", True, marks=pytest.mark.slow),
        pytest.param("nequip", True, marks=pytest.mark.slow),
    ],
)
def test_atoms_may_come_and_go(prepare: Prepare, model: str, *, compiled: bool) -> None:
    """Compiled code is made once: for any number of atoms and edges, also none."""
    unified = load(prepare(potential(model, "float64"), compiled=compiled))
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        for name in ("orthogonal", "one atom", "two atoms without edges", "dimer across ranks", "cluster", "triclinic"):
            atoms = GEOMETRIES[name]()
            (data,), own = decompose(atoms, TYPE_NAMES, 5.0, GRIDS[1])
            unified.compute_forces(data)
            found = gather(atoms, [data], own, [data.owners])
            assert_same(found, eager(potential(model, "float64"))(atoms), "float64")


# Errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["orthogonal", "one atom", "all atoms in a corner"])
def test_the_plain_package_refuses_message_passing_on_all_ranks(prepare: Prepare, name: str) -> None:
    file = prepare(potential("nequip", "float64"))
    data, _ = decompose(GEOMETRIES[name](), TYPE_NAMES, 5.0, GRIDS[4])
    for step in data:
        with pytest.raises(MLIAPError, match=r"-sf kk .* or use pair_style nequip"):
            load(file).compute_forces(as_plain(step))


def test_an_old_lammps_is_named_as_such(prepare: Prepare) -> None:
    class Old:
        ntotal = nlistatoms = npairs = 0

    with pytest.raises(MLIAPError, match="no nlocal; use a LAMMPS of"):
        load(prepare(potential("allegro", "float64"))).compute_forces(Old())


def test_a_file_of_a_newer_version(prepare: Prepare) -> None:
    unified = load(prepare(potential("allegro", "float64")))
    with pytest.raises(MLIAPError, match="newer than the mlip"):
        unified.__setstate__(unified.__getstate__() | {"format_version": 99})


def test_types_are_shown_before_lammps_reads_pair_coeff(prepare: Prepare, capsys: pytest.CaptureFixture[str]) -> None:
    unified = load(prepare(potential("allegro", "float64")))
    unified.interface = object()
    assert capsys.readouterr().err == "mlip: ML-IAP potential for Cu Au, cutoff 5 Å\n"


# The file -----------------------------------------------------------------------------------------------------------


def test_lammps_finds_the_attributes_it_reads(prepare: Prepare) -> None:
    unified = load(prepare(potential("nequip", "float32")))
    assert unified.element_types == TYPE_NAMES
    assert unified.rcutfac == 2.5
    assert unified.ndescriptors == unified.nparams == 1
    assert unified.compute_gradients(None) is unified.compute_descriptors(None) is None


@pytest.mark.parametrize("model", MODELS)
def test_unpickling_calls_nothing_but_the_wrapper(prepare: Prepare, model: str) -> None:
    file = prepare(potential(model, "float32"))
    with zipfile.ZipFile(file) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        content = archive.read(name)
    operations = [opcode.name for opcode, _, _ in pickletools.genops(content)]
    assert operations.count("STACK_GLOBAL") == 1
    assert not {"GLOBAL", "INST", "REDUCE", "EXT1", "BINPERSID"} & set(operations)

    class OnlyTheWrapper(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            assert (module, name) == ("mlip.integrations.lammps_mliap", "MLIAPPotential")
            return MLIAPPotential

    assert isinstance(OnlyTheWrapper(io.BytesIO(content)).load(), MLIAPPotential)


def test_preparing_needs_no_lammps() -> None:
    code = (
        "import sys; sys.modules['lammps'] = None; import mlip.integrations.lammps_mliap; "
        "sys.exit(any(name.split('.')[0] in ('ase', 'lightning', 'hydra') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_failed_check_leaves_the_old_file(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlip.integrations.lammps_mliap as module

    file = prepare(potential("allegro", "float64"))
    before = file.read_bytes()
    monkeypatch.setattr(module, "unpack_model", lambda _: build_model(CONFIGS["allegro"] | {"seed": 6}).eval())
    with pytest.raises(MLIAPError, match="other forces"):
        prepare(potential("allegro", "float64"))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_models_that_embed_a_number_of_each_frame(prepare: Prepare) -> None:
    charge = {"field": "charge", "num_features": 2, "min": -1, "max": 1}
    with pytest.raises(MLIAPError, match=r"embeds a number of each frame \(charge\)"):
        prepare(build_model(CONFIGS["nequip"] | {"categorical_graph_field_embed": [charge]}))


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of an untrained model."""
    model = potential("nequip", "float64")
    contents = {
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        "hyper_parameters": {"model": model.config},
        "mlip": describe(object),
    }
    with (tmp_path / "best.ckpt").open("wb") as file:
        write_checkpoint(contents, file)
    return tmp_path / "best.ckpt"


def test_from_checkpoint_to_file(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cu.nequip.lmp.pt"
    main([str(checkpoint), str(file), "--no-compile", "--no-tf32"])
    assert "pair_style mliap unified cu.nequip.lmp.pt 0" in capsys.readouterr().out
    atoms = geometry.alloy((1, 2, 2))
    found, _ = in_lammps(file, atoms, 1)
    assert_same(found, eager(potential("nequip", "float64"))(atoms), "float64")


@pytest.mark.parametrize(
    "words, message",
    [
        (["best.ckpt", "cu.pt"], "must end with .nequip.lmp.pt, got cu.pt"),
        (["none.ckpt", "cu.nequip.lmp.pt"], "no such checkpoint: none.ckpt"),
        (["best.ckpt", "nowhere/cu.nequip.lmp.pt"], "there is no folder nowhere"),
        (["best.ckpt", "cu.nequip.lmp.pt", "--model", "other"], "there is no 'other'"),
    ],
)
def test_mistakes_end_with_one_sentence(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    with pytest.raises(SystemExit, match=message) as stop:
        main(words)
    assert str(stop.value).startswith("nequip-prepare-lmp-mliap: ")
    assert not list(checkpoint.parent.glob("*.lmp.pt"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_files_keep_their_precision(prepare: Prepare, dtype: str) -> None:
    from mlip.integrations.lammps_mliap import unpack_model

    state = load(prepare(potential("allegro", dtype))).__getstate__()
    assert str(unpack_model(state["model"]).model_dtype) == f"torch.{dtype}"
