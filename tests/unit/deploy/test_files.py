"""Small parts of deployment: targets, metadata, padding, example inputs, and the flag that kernels refuse."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from mlip.deploy.aotinductor import clear_stack_flag
from mlip.deploy.compile import inductor_settings
from mlip.deploy.errors import CompileError
from mlip.deploy.example import example_inputs
from mlip.deploy.gpu_memory import fit_memory, random_graph
from mlip.deploy.load import ModelFileError, load_compiled
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.padding import run_padded
from mlip.deploy.parallel import PiecesToCompile
from mlip.deploy.programs import stage_programs
from mlip.deploy.targets import TARGETS, TargetError, resolve_target
from mlip.models import build_model

GRAPH = ("pos", "edge_index", "atom_types")
PERIODIC = (*GRAPH, "cell", "edge_cell_shift")
# the contract with the reference's programs: what each target takes and gives, in order
CONTRACT = {
    "ase": (PERIODIC, ("atomic_energy", "total_energy", "forces", "stress")),
    "batch": ((*PERIODIC, "batch", "num_atoms"), ("atomic_energy", "total_energy", "forces", "stress")),
    "pair_nequip": (PERIODIC, ("atomic_energy", "forces", "virial", "edge_forces")),
    "pair_allegro": (GRAPH, ("atomic_energy", "forces", "virial", "edge_forces")),
}


# Targets ------------------------------------------------------------------------------------------------------------


def test_targets_take_and_give_what_the_reference_has() -> None:
    assert {name: (target.inputs, target.outputs) for name, target in TARGETS.items()} == CONTRACT


def test_a_target_may_be_given_by_its_fields() -> None:
    target = resolve_target(None, [*GRAPH, "cell"], ["forces"])
    assert (target.name, target.inputs, target.outputs) == ("custom", (*GRAPH, "cell"), ("forces",))


@pytest.mark.parametrize(
    "name, inputs, outputs, says",
    [
        ("lammps", None, None, "unknown --target 'lammps'; known are ase, batch, pair_nequip, pair_allegro"),
        (None, None, None, "give --target, or both --input-fields and --output-fields"),
        (None, ["pos"], None, "give --target, or both"),
        ("ase", ["pos"], ["forces"], "exclude each other"),
        (None, ["pos", "edge_index", "types"], ["forces"], "unknown input field 'types'; known are pos, edge_index"),
        (None, [*GRAPH], ["energy"], "unknown output field 'energy'; known are atomic_energy"),
        (None, ["pos", "edge_index"], ["forces"], "--input-fields must have atom_types"),
    ],
)
def test_mistakes_in_targets_are_named(
    name: str | None, inputs: list[str] | None, outputs: list[str] | None, says: str
) -> None:
    with pytest.raises(TargetError, match=says):
        resolve_target(name, inputs, outputs)


# Example inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("seed", range(5))
def test_examples_have_the_inputs_of_their_target(name: str, seed: int) -> None:
    target = TARGETS[name]
    inputs = dict(zip(target.inputs, example_inputs(target, 3, 4.0, 11, seed), strict=True))
    assert inputs["pos"].dtype == torch.float64
    assert inputs["atom_types"].dtype == inputs["edge_index"].dtype == torch.int64
    assert inputs["edge_index"].max() < len(inputs["pos"])
    assert (inputs["edge_index"][0].diff() >= 0).all()
    if "cell" in inputs:
        assert inputs["cell"].dtype == inputs["edge_cell_shift"].dtype == torch.float64
        frames = len(inputs["num_atoms"]) if target.is_batched else 1
        assert inputs["cell"].shape == (frames, 3, 3)
    if target.is_batched:
        assert inputs["num_atoms"].sum() == len(inputs["pos"])
        assert torch.equal(inputs["batch"].bincount(), inputs["num_atoms"])


@pytest.mark.parametrize("name", TARGETS)
def test_no_two_sizes_of_the_recorded_example_are_equal(name: str) -> None:
    """Recording takes equal sizes for the same size, and a size that is 2 or 3 for one that never changes."""
    target = TARGETS[name]
    inputs = dict(zip(target.inputs, example_inputs(target, 3, 4.0, 11, seed=0), strict=True))
    sizes = [len(inputs["pos"]), inputs["edge_index"].shape[1], 2, 3]
    if target.is_batched:
        sizes.append(len(inputs["num_atoms"]))
    assert len(set(sizes)) == len(sizes)


# Metadata -----------------------------------------------------------------------------------------------------------


def test_metadata_survive_being_written() -> None:
    metadata = ModelMetadata(
        type_names=["Cu", "Au"],
        r_max=0.1 + 0.2,
        model_dtype="float32",
        inputs=list(GRAPH),
        outputs=["forces"],
        device="cpu",
        per_edge_type_cutoff=[1 / 3, 0.1, 0.2, 0.3],
        allow_tf32=True,
        threads=4,
        target="custom",
        num_layers=3,
        layer_widths=[12, 40],
        ghost_types=True,
        stages=True,
        memory=[1024.5, 77.0],
        provenance={"source": "a b.ckpt"},
    )
    assert ModelMetadata.from_strings(metadata.to_strings()) == metadata


def test_files_of_the_reference_lack_our_own_keys() -> None:
    metadata = ModelMetadata.from_strings({"r_max": "4.5", "type_names": "H O", "model_dtype": "float64"})
    assert (metadata.threads, metadata.target, metadata.per_edge_type_cutoff) == (0, "", [])


# Padding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("atoms", [1, 2])
def test_a_graph_without_edges_gets_two_far_atoms_that_do_not_show(atoms: int) -> None:
    seen: dict[str, torch.Tensor] = {}

    def run(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.update(inputs)
        energy = torch.arange(1.0, len(inputs["pos"]) + 1).unsqueeze(1)
        edges = inputs["edge_index"].T
        total = energy.sum(0, keepdim=True)
        return {"atomic_energy": energy, "total_energy": total, "forces": inputs["pos"], "edge_forces": edges}

    pos = torch.full((atoms, 3), 2.0, dtype=torch.float64)
    inputs = {"pos": pos, "edge_index": torch.zeros(2, 0, dtype=torch.int64), "atom_types": torch.zeros(atoms).long()}
    outputs = run_padded(run, inputs, r_max=5.0)
    assert len(seen["pos"]) == atoms + 2
    assert seen["edge_index"].tolist() == [[atoms, atoms + 1], [atoms + 1, atoms]]
    first, second = seen["pos"][-2:]
    assert float((second - first).norm()) > 5.0
    assert len(outputs["atomic_energy"]) == len(outputs["forces"]) == atoms
    assert len(outputs["edge_forces"]) == 0
    assert float(outputs["total_energy"]) == float(outputs["atomic_energy"].sum())


@pytest.mark.parametrize("atoms, edges", [(0, 0), (1, 0), (3, 1)])
def test_features_and_adjoints_are_padded_like_atoms(atoms: int, edges: int) -> None:
    inputs = {
        "pos": torch.zeros(atoms, 3, dtype=torch.float64),
        "edge_index": torch.zeros(2, edges, dtype=torch.int64),
        "atom_types": torch.zeros(atoms, dtype=torch.int64),
        "features": torch.ones(atoms, 7, dtype=torch.float64),
        "adjoint": torch.ones(atoms, 4, dtype=torch.float64),
    }

    def run(padded: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert len(padded["pos"]) == len(padded["features"]) == len(padded["adjoint"]) == atoms + 2
        assert not padded["features"][atoms:].any()
        return {"features": padded["adjoint"], "adjoint": padded["features"]}

    outputs = run_padded(run, inputs, r_max=5.0)
    assert outputs["features"].shape == (atoms, 4)
    assert outputs["adjoint"].shape == (atoms, 7)


# Memory on the GPU --------------------------------------------------------------------------------------------------


def test_memory_is_a_linear_fit() -> None:
    sizes = [(2000, 24000), (1000, 48000), (2000, 72000)]
    assert fit_memory(sizes, [1000.0 * n + 50.0 * e for n, e in sizes]) == pytest.approx([1000.0, 50.0])
    per_atom, per_edge = fit_memory(sizes, [50.0 * e - 10.0 * n for n, e in sizes])
    assert per_atom == 0.0, "never below zero"
    assert 45.0 < per_edge < 50.0


def test_memory_is_measured_in_graphs_that_fit_every_target() -> None:
    graph = random_graph(50, 8, 5.0)
    assert set(graph) == {name for target in TARGETS.values() for name in target.inputs}
    centre, neighbour = graph["edge_index"]
    assert centre.bincount().tolist() == [8] * 50
    assert not (centre == neighbour).any()
    assert int(neighbour.max()) < 50


# Pieces of NequIP ---------------------------------------------------------------------------------------------------


def test_pieces_are_recorded_with_numbers_of_atoms_and_edges_that_are_no_number_of_columns() -> None:
    """Equal sizes are taken for the same size."""
    for features in range(5, 30):
        config = {"_target_": "nequip.model.NequIPGNNModel", "type_names": ["H"], "r_max": 4.0, "num_layers": 3}
        model = build_model(config | {"num_features": features, "l_max": 1, "parity": False, "avg_num_neighbors": 9.0})
        for program in stage_programs(model, "cpu").values():
            inputs = dict(zip(program.interface.inputs, program.example, strict=True))
            columns = {inputs[name].shape[1] for name in ("features", "adjoint") if name in inputs}
            assert not columns & {len(inputs["pos"]), inputs["edge_index"].shape[1]}


# Compilation in several processes -----------------------------------------------------------------------------------


def test_pieces_are_taken_by_whoever_is_free() -> None:
    work = PiecesToCompile(["energy", "backward_0", "forward_0"])
    work.take(lambda name: [f"{name}.so"])
    assert work.files == {name: [f"{name}.so"] for name in ("energy", "backward_0", "forward_0")}
    assert not work.failures


def test_after_a_failure_no_further_piece_is_compiled() -> None:
    work = PiecesToCompile(["energy", "backward_0"])
    seen = []

    def compile_one(name: str) -> list[str]:
        seen.append(name)
        raise CompileError(f"{name} failed")

    work.take(compile_one)
    assert seen == ["energy"]
    assert work.failures == ["energy failed"]


# The executable-stack flag ------------------------------------------------------------------------------------------


def library(flags: int) -> bytes:
    """An ELF header with two program headers, the second for the stack."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x20, 64)
    struct.pack_into("<HH", header, 0x36, 56, 2)
    load = struct.pack("<II", 1, 5) + bytes(48)
    stack = struct.pack("<II", 0x6474E551, flags) + bytes(48)
    return bytes(header) + load + stack


def test_the_flag_is_cleared_and_nothing_else_changes() -> None:
    assert clear_stack_flag(library(7)) == library(6)


@pytest.mark.parametrize("content", [library(6), b"", b"no library", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_needs_no_change_is_left_alone(content: bytes) -> None:
    assert clear_stack_flag(content) is None


# Settings of the compiler -------------------------------------------------------------------------------------------


def test_settings_are_read_with_their_types() -> None:
    pairs = [
        "max_autotune=true",
        "cpp.simdlen=256",
        "cpp.weight_prepack=none",
        "cpp.cxx=g++",
        "cpp.threads=-1",
        "freezing=False",
    ]
    assert inductor_settings(pairs) == {
        "max_autotune": True,
        "cpp.simdlen": 256,
        "cpp.weight_prepack": None,
        "cpp.cxx": "g++",
        "cpp.threads": -1,
        "freezing": False,
    }


@pytest.mark.parametrize(
    "pair, says",
    [("max_autotune", "takes key=value"), ("aot_inductor.metadata=1", "is set by nequip-compile itself")],
)
def test_settings_that_cannot_be_are_refused(pair: str, says: str) -> None:
    with pytest.raises(CompileError, match=says):
        inductor_settings([pair])


# Files that are no models -------------------------------------------------------------------------------------------


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ModelFileError, match=r"no such model file: nowhere.nequip.pt2"):
        load_compiled("nowhere.nequip.pt2")


@pytest.mark.parametrize("name", ["best.ckpt", "model.nequip.zip", "model.nequip.lmp.pt"])
def test_another_suffix_is_no_compiled_model(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelFileError, match=r"is no compiled model: those end with .nequip.pt2 or .nequip.pth"):
        load_compiled(file)


@pytest.mark.parametrize("suffix", [".nequip.pt2", ".nequip.pth"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_damaged_files_are_called_damaged(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"cannot be loaded.*damaged"):
        load_compiled(file)


def test_a_program_of_something_else_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "other.nequip.pth"
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(file))
    with pytest.raises(ModelFileError, match=r"it lacks type names and cutoff radius"):
        load_compiled(file)
