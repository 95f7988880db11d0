"""Compiled files keep their contract, are checked before they are written, and are refused where they do not fit."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mlip.deploy.compile as compile_module
from mlip.data.emt import write_emt_dataset
from mlip.deploy.checkpoint import load_checkpoint
from mlip.deploy.compile import SUFFIXES, compile_potential
from mlip.deploy.errors import CompileError
from mlip.deploy.gpu_memory import store_memory
from mlip.deploy.load import ModelFileError, load_compiled, load_stages
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.targets import TARGETS
from mlip.deploy.torchscript import compile_torchscript
from mlip.deploy.tracing import Program, tensor_function
from mlip.integrations.ase import NequIPCalculator
from mlip.models import build_model
from tests import physics
from tests.compiled_models import CONFIGS, CUTOFFS, DTYPES, MODELS, R_MAX, TYPE_NAMES, compiled, potential
from tests.evaluation import calculator, eager, from_file, inputs_of, joined, with_ghosts
from tests.integration.test_training_run import CONFIG, in_process
from tests.physics import TOLERANCES, crystal, molecule

MODES = tuple(SUFFIXES)
# (model, dtype, mode, target): what is compiled anyway
FILES = [
    *((model, dtype, mode, f"pair_{model}") for model in MODELS for dtype in DTYPES for mode in MODES),
    *((model, dtype, "torchscript", "ase") for model in MODELS for dtype in DTYPES),
    ("allegro", "float32", "aotinductor", "ase"),
    ("allegro", "float64", "aotinductor", "batch"),
    ("nequip", "float32", "torchscript", "batch"),
]


# The contract with other programs -----------------------------------------------------------------------------------


def stored_strings(file: Path) -> dict[str, str]:
    """The metadata as another program reads them."""
    if file.name.endswith(".pt2"):
        return dict(torch._inductor.aoti_load_package(str(file)).loader.get_metadata())
    keys = ("r_max", "type_names", "num_types", "model_dtype", "allow_tf32", "per_edge_type_cutoff", "num_threads")
    extra: dict[str, Any] = dict.fromkeys((*keys, "nequip_aoti_inputs", "nequip_aoti_outputs", "mlip_provenance"), "")
    torch.jit.load(str(file), _extra_files=extra)
    return {key: value.decode() for key, value in extra.items()}


@pytest.mark.parametrize("file", FILES, ids="-".join)
def test_the_strings_in_a_file_are_those_the_reference_reads(file: tuple[str, str, str, str]) -> None:
    _, dtype, mode, target = file
    strings = stored_strings(compiled(*file))
    assert float(strings["r_max"]) == R_MAX
    assert strings["type_names"] == "Cu Au"
    assert strings["num_types"] == "2"
    assert strings["model_dtype"] == dtype
    assert strings["allow_tf32"] == "0"
    assert strings["nequip_aoti_inputs"].split() == list(TARGETS[target].inputs)
    assert strings["nequip_aoti_outputs"].split() == list(TARGETS[target].outputs)
    cutoffs = [float(word) for word in strings["per_edge_type_cutoff"].split()]
    assert cutoffs == [CUTOFFS[a][b] for a in TYPE_NAMES for b in TYPE_NAMES]
    assert strings["num_threads"] == ("1" if mode == "aotinductor" else "")
    assert json.loads(strings["mlip_provenance"])["torch"] == torch.__version__


@pytest.mark.parametrize("file", FILES, ids="-".join)
def test_outputs_have_their_shapes_and_are_double(file: tuple[str, str, str, str]) -> None:
    target = TARGETS[file[3]]
    inputs = inputs_of(crystal(), TYPE_NAMES, R_MAX)
    if target.is_batched:
        inputs = joined([inputs, inputs_of(molecule(), TYPE_NAMES, R_MAX), inputs])
    elif "cell" not in target.inputs:
        inputs = with_ghosts(inputs)
    atoms, frames = len(inputs["pos"]), 3 if target.is_batched else 1
    shapes = {
        "atomic_energy": (atoms, 1),
        "total_energy": (frames, 1),
        "forces": (atoms, 3),
        "stress": (frames, 3, 3),
        "virial": (frames, 3, 3),
        "edge_forces": (inputs["edge_index"].shape[1], 3),
    }
    outputs = load_compiled(compiled(*file))(inputs)
    assert list(outputs) == list(target.outputs)
    for name, value in outputs.items():
        assert value.dtype == torch.float64
        assert tuple(value.shape) == shapes[name]
        assert not value.requires_grad


def test_an_aotinductor_file_runs_on_a_plain_list_of_tensors() -> None:
    """As the reference's pair style calls it: tensors in the order of the metadata, nothing else."""
    file = compiled("nequip", "float64", "aotinductor", "pair_nequip")
    package = torch._inductor.aoti_load_package(str(file))
    inputs = inputs_of(crystal(), TYPE_NAMES, R_MAX)
    energies, forces, *_ = package.loader.run([inputs[name] for name in TARGETS["pair_nequip"].inputs])
    expected = eager(potential("nequip", "float64"))(crystal())
    np.testing.assert_allclose(energies.flatten(), expected.energies, rtol=0, atol=1e-10)
    np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=1e-10)


def test_libraries_in_a_file_do_not_ask_for_an_executable_stack() -> None:
    """New kernels and C libraries refuse those that do."""
    flags = {}
    for model in MODELS:
        with zipfile.ZipFile(compiled(model, "float64", "aotinductor", f"pair_{model}")) as archive:
            assert archive.testzip() is None
            for name in archive.namelist():
                if name.endswith(".so"):
                    flags[model, name] = stack_flags(archive.read(name))
    assert len(flags) >= len(MODELS)
    assert not any(flag & 1 for flag in flags.values()), flags


def stack_flags(library: bytes) -> int:
    """Flags of the program header that describes the stack (PT_GNU_STACK) of a 64-bit ELF file."""
    assert library[:4] == b"\x7fELF"
    (table,) = struct.unpack_from("<Q", library, 0x20)
    size, count = struct.unpack_from("<HH", library, 0x36)
    headers = [struct.unpack_from("<II", library, table + size * index) for index in range(count)]
    (flags,) = [flags for kind, flags in headers if kind == 0x6474E551]
    return flags


def test_files_can_be_read_by_whoever_the_user_lets_read_files(tmp_path: Path) -> None:
    """A compiled model in a shared folder is for the group, not for its author alone."""
    usual = tmp_path / "usual"
    usual.touch()
    for mode in MODES:
        assert compiled("allegro", "float32", mode, "pair_allegro").stat().st_mode == usual.stat().st_mode


def test_the_number_of_threads_is_recorded_where_it_is_part_of_the_code() -> None:
    assert load_compiled(compiled("allegro", "float32", "aotinductor", "pair_allegro")).metadata.threads == 1
    settings = {"allow_tf32": False, "source": "best.ckpt"}
    for_three = ModelMetadata.of(potential("nequip", "float32"), TARGETS["ase"], "cpu", threads=3, **settings)
    assert for_three.to_strings()["num_threads"] == "3"
    assert load_compiled(compiled("allegro", "float32", "torchscript", "pair_allegro")).metadata.threads == 0


# Writing ------------------------------------------------------------------------------------------------------------


def compile_small(file: Path, model: str = "nequip", target: str = "ase", **options: Any) -> float:
    options = {"mode": "torchscript", "device": "cpu"} | options
    return compile_potential(potential(model, "float64"), file, target=TARGETS[target], **options)


@pytest.fixture
def wrong_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that makes working code of another model."""

    def miscompile(programs: Mapping[str, Program], metadata: Mapping[str, str], path: Path) -> None:
        other = build_model(CONFIGS["nequip"] | {"model_dtype": "float64", "seed": 6}).eval()
        function = tensor_function(other.requires_grad_(requires_grad=False), programs["model"].interface)
        compile_torchscript({"model": replace(programs["model"], function=function)}, metadata, path)

    monkeypatch.setattr(compile_module, "compile_torchscript", miscompile)


@pytest.mark.usefixtures("wrong_compiler")
def test_a_wrong_result_of_the_compiler_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"the compiled model is wrong: its atomic_energy deviates by .*TOL"):
        compile_small(tmp_path / "model.nequip.pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("wrong_compiler")
def test_a_file_that_is_there_survives_a_failed_compilation(tmp_path: Path) -> None:
    file = tmp_path / "model.nequip.pth"
    file.write_text("what a running simulation uses")
    with pytest.raises(CompileError):
        compile_small(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "what a running simulation uses"


@pytest.mark.usefixtures("wrong_compiler")
def test_the_tolerance_can_be_set_and_the_check_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEQUIP_FLOAT64_MODEL_TOL", "1e6")
    assert 1e-3 < compile_small(tmp_path / "model.nequip.pth") < 1e6
    monkeypatch.setenv("NEQUIP_FLOAT64_MODEL_TOL", "0")
    with pytest.raises(CompileError, match=r"NEQUIP_FLOAT64_MODEL_TOL .now 0. sets the tolerance"):
        compile_small(tmp_path / "model.nequip.pth")
    monkeypatch.setenv("NEQUIP_SKIP_AOTI_MODEL_CHECK", "1")
    assert np.isnan(compile_small(tmp_path / "model.nequip.pth"))


def test_a_good_compilation_replaces_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "model.nequip.pth"
    file.write_text("old")
    assert compile_small(file) < 1e-12
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    physics.assert_same(from_file(file)(crystal()), eager(potential("nequip", "float64"))(crystal()), 1e-10)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"target": "pair_allegro"}, "needs a strictly local model, but NequIP passes messages .*pair_nequip"),
        ({"mode": "aotinductor"}, "the output of mode aotinductor must end with .nequip.pt2, got model.nequip.pth"),
        ({"device": "gpu"}, "unknown device 'gpu': use cpu or cuda"),
    ],
)
def test_what_cannot_be_compiled_is_said_before_the_work(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(CompileError, match=says):
        compile_small(tmp_path / "model.nequip.pth", **options)


@pytest.mark.parametrize("model, target", [("nequip", "ase"), ("allegro", "pair_allegro"), ("allegro", "pair_nequip")])
def test_pieces_are_refused_where_nobody_could_use_them(tmp_path: Path, model: str, target: str) -> None:
    with pytest.raises(
        CompileError, match=r"several layers that pass messages come in pieces, for --target pair_nequip"
    ):
        compile_small(tmp_path / "model.nequip.pth", model, target, stages=True)


def test_pieces_can_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "model.nequip.pth"
    assert compile_small(file, target="pair_nequip", stages=False) < 1e-12
    assert not load_compiled(file).metadata.stages
    whole = compiled("nequip", "float64", "torchscript", "pair_nequip")
    assert file.stat().st_size < 0.7 * whole.stat().st_size


@pytest.mark.usefixtures("wrong_compiler")
def test_a_file_whose_pieces_are_missing_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check opens each piece."""
    monkeypatch.setenv("NEQUIP_FLOAT64_MODEL_TOL", "1e6")
    with pytest.raises(ModelFileError, match=r"lacks the piece forward_0"):
        compile_small(tmp_path / "model.nequip.pth", target="pair_nequip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", MODES)
def test_measured_memory_is_added_to_the_metadata(tmp_path: Path, mode: str) -> None:
    file = tmp_path / f"model{SUFFIXES[mode]}"
    original = compiled("nequip", "float64", mode, "pair_nequip")
    shutil.copy(original, file)
    store_memory(file, [2048.5, 96.0])
    expected = replace(load_compiled(original).metadata, memory=[2048.5, 96.0])
    assert load_compiled(file).metadata == expected
    assert set(load_stages(file)) == {"forward_0", "energy", "backward_0"}
    physics.assert_same(from_file(file)(crystal()), eager(potential("nequip", "float64"))(crystal()), 1e-10)


def test_a_model_that_needs_what_no_target_gives_is_refused(tmp_path: Path) -> None:
    charge = {"field": "charge", "num_features": 2, "min": -1, "max": 1}
    model = build_model(CONFIGS["nequip"] | {"categorical_graph_field_embed": [charge]})
    with pytest.raises(CompileError, match=r"embeds a number of each frame \(charge\)"):
        compile_potential(model, tmp_path / "model.nequip.pth", mode="torchscript", device="cpu", target=TARGETS["ase"])


def test_a_missing_folder_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"there is no folder .*nowhere"):
        compile_small(tmp_path / "nowhere" / "model.nequip.pth")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: compiling for it is right")
def test_without_a_gpu_there_is_no_compiling_for_one(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"finds no GPU here"):
        compile_small(tmp_path / "model.nequip.pth", device="cuda")


# Loading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_file_for_another_device_is_refused(mode: str) -> None:
    file = compiled("allegro", "float32", mode, "ase")
    with pytest.raises(ModelFileError, match=r"was compiled for cpu and cannot run on cuda: compile it again with"):
        load_compiled(file, "cuda")


@pytest.mark.parametrize("mode", MODES)
def test_a_file_for_another_program_is_refused(mode: str) -> None:
    file = compiled("allegro", "float32", mode, "pair_allegro")
    with pytest.raises(ModelFileError, match=r"compiled for target pair_allegro and does not give total_energy"):
        NequIPCalculator.from_compiled_model(file, chemical_species_to_atom_type_map=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, mode: str, share: float) -> None:
    whole = compiled("allegro", "float32", mode, "ase")
    cut = tmp_path / whole.name
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(ModelFileError, match=rf"{cut} cannot be loaded.*damaged"):
        load_compiled(cut)


def test_an_input_that_is_missing_is_named() -> None:
    model = load_compiled(compiled("nequip", "float32", "torchscript", "pair_nequip"))
    with pytest.raises(ModelFileError, match=r"also needs the input 'cell'"):
        model(with_ghosts(inputs_of(crystal(), TYPE_NAMES, R_MAX)))


def test_an_element_the_model_does_not_know_is_named() -> None:
    atoms = molecule()
    atoms.symbols[0] = "Ag"
    file = compiled("allegro", "float32", "torchscript", "ase")
    atoms.calc = NequIPCalculator.from_compiled_model(file, chemical_species_to_atom_type_map=True)
    with pytest.raises(ModelFileError, match=r"has no type for Ag; it knows Cu, Au"):
        atoms.get_potential_energy()


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one epoch on a few EMT frames, away from its data."""
    work = tmp_path_factory.mktemp("train")
    write_emt_dataset(work / "data", num_train=4, num_val=2, num_test=1, seed=1)
    (work / "config.yaml").write_text(CONFIG.replace("???", "data"))
    run = in_process(work, "run", "trainer.max_epochs=1", "run=[train]", "training_module.model.model_dtype=float64")
    moved = tmp_path_factory.mktemp("elsewhere") / "best.ckpt"
    (run / "best.ckpt").rename(moved)
    return moved


def nequip_compile(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "mlip.cli.compile", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "mode, target", [("aotinductor", "pair_allegro"), ("torchscript", "pair_allegro"), ("torchscript", "ase")]
)
def test_from_a_checkpoint_to_a_file_by_the_command(checkpoint: Path, mode: str, target: str) -> None:
    output = f"{target}{SUFFIXES[mode]}"
    arguments = ("best.ckpt", output, "--mode", mode, "--device", "cpu", "--target", target)
    done = nequip_compile(checkpoint.parent, *arguments)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{output}: {mode}, cpu, target {target}, equal to the model within ")
    file = checkpoint.parent / output
    expected = eager(load_checkpoint(checkpoint).requires_grad_(requires_grad=False))
    physics.assert_same(from_file(file)(crystal()), expected(crystal()), TOLERANCES["float64"].same)
    assert load_compiled(file).metadata.provenance["source"] == "best.ckpt"
    if target == "ase":
        calc = NequIPCalculator.from_compiled_model(file, chemical_species_to_atom_type_map=True)
        physics.assert_same(calculator(calc)(molecule()), expected(molecule()), TOLERANCES["float64"].same)


OUTPUT = "out.nequip.pth"
USUAL = ("--mode", "torchscript", "--device", "cpu", "--target", "ase")


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("nowhere.ckpt", OUTPUT, *USUAL), "no such checkpoint: nowhere.ckpt"),
        (("notes.txt", OUTPUT, *USUAL), "notes.txt is not a checkpoint"),
        (("best.ckpt", "out.pth", *USUAL), "must end with .nequip.pth: out.pth"),
        (("best.ckpt", OUTPUT, *USUAL, "--threads", "0"), "--threads must be at least 1, got 0"),
        (("best.ckpt", OUTPUT, *USUAL, "--model", "second"), "holds one model, sole_model; there is no 'second'"),
        (("best.ckpt", OUTPUT, *USUAL[:-1], "lammps"), "unknown --target 'lammps'"),
        (("best.ckpt", OUTPUT, *USUAL[:-2]), "give --target, or both"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_end_in_one_sentence(
    checkpoint: Path, arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlip.cli.compile import main

    (checkpoint.parent / "notes.txt").write_text("no checkpoint")
    monkeypatch.chdir(checkpoint.parent)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert str(end.value).startswith("nequip-compile: ")
    assert says in str(end.value)
    assert "\n" not in str(end.value)
    assert not (checkpoint.parent / OUTPUT).exists()
