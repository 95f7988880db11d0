"""Reading files of the reference: what is taken from them, what is refused, and that nothing of them is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlip.deploy.container import FileKind, kind_of
from mlip.deploy.model_source import load_model, open_model
from mlip.deploy.reference_import import (
    ReferenceImportError,
    import_reference,
    is_reference_checkpoint,
    reference_package,
    write_as_checkpoint,
)
from mlip.deploy.reference_import_config import model_parameters
from tests.reference_archives import RunsCode, model_weights, write_reference_package

GOLDEN = Path(__file__).parents[2] / "conformance/golden_import"
CHECKPOINT = GOLDEN / "nequip_zbl_ema.ckpt"
ALLEGRO = GOLDEN / "allegro_spline_float32.ckpt"
EMBEDDING = "architecture.type_embedding.weight"
THEIR_EMBEDDING = "model.sole_model.model.func.type_embed.embed_module.weight"

Change = Callable[[dict[str, Any]], None]


def contents(path: Path = CHECKPOINT) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True))


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint of the reference after a change."""

    def make(change: Change, source: Path = CHECKPOINT) -> Path:
        changed = contents(source)
        change(changed)
        path = tmp_path / "altered.ckpt"
        torch.save(changed, path)
        return path

    return make


def set_model(**parameters: Any) -> Change:
    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"]["model"].update(parameters)

    return change


# --- what is read -----------------------------------------------------------------------------------------------------


def test_commands_take_a_checkpoint_of_the_reference() -> None:
    assert kind_of(CHECKPOINT) is FileKind.TORCH_SAVE
    assert is_reference_checkpoint(CHECKPOINT)
    assert load_model(CHECKPOINT).type_names == ["Cu", "Au"]


def test_the_record_says_where_a_model_comes_from() -> None:
    package = reference_package(GOLDEN / "nequip_2025_lists_zbl_ema.ckpt")
    assert package.provenance["imported_from"] == "checkpoint"
    assert package.provenance["trained_with"]["nequip"] == "0.9.1"
    assert package.provenance["source"] == "nequip_2025_lists_zbl_ema.ckpt"
    assert package.training == {"module": "nequip.train.EMALightningModule", "epoch": 1, "global_step": 4}


def test_lists_of_scales_and_shifts_become_dictionaries_by_type() -> None:
    potential, _ = import_reference(GOLDEN / "nequip_2025_lists_zbl_ema.ckpt")
    assert potential.config["per_type_energy_shifts"] == {"Cu": -1.5, "Au": -2.5}
    assert potential.config["per_type_energy_scales"] == {"Cu": 0.5, "Au": 0.7}


def test_a_written_checkpoint_gives_the_model_back(tmp_path: Path) -> None:
    package = reference_package(ALLEGRO)
    write_as_checkpoint(package, tmp_path / "ours.ckpt")
    loaded = load_model(tmp_path / "ours.ckpt")
    assert loaded.config == package.model
    for name, tensor in package.weights.items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_averaged_weights_are_taken() -> None:
    potential, _ = import_reference(CHECKPOINT)
    state = contents()["state_dict"]
    assert torch.equal(potential.state_dict()[EMBEDDING], state["ema.ema_weight_0"])
    assert not torch.equal(potential.state_dict()[EMBEDDING], state[THEIR_EMBEDDING])


def test_averages_that_are_in_the_model_already_are_left_there(altered: Callable[..., Path]) -> None:
    """The reference exchanges trained and averaged weights for validation; its checkpoint says which are where."""

    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"]["ema._extra_state"]["is_holding_ema_weights"] = False

    potential, _ = import_reference(altered(change))
    assert torch.equal(potential.state_dict()[EMBEDDING], contents()["state_dict"][THEIR_EMBEDDING])


def test_averages_of_frequencies_scales_and_shifts_are_found_when_they_are_trained() -> None:
    path = GOLDEN / "nequip_all_trainable_ema.ckpt"
    state = contents(path)["state_dict"]
    averages = [value for key, value in state.items() if key.startswith("ema.ema_weight_")]
    potential, _ = import_reference(path)
    shifts = potential.state_dict()["scale_shift.shifts"].flatten()
    assert torch.equal(shifts, averages[-1].flatten())
    assert not torch.equal(shifts, state["model.sole_model.model.func.per_type_energy_scale_shift.shifts"].flatten())


@pytest.mark.parametrize("in_training", [True, False])
def test_the_average_of_a_schedule_free_optimizer_is_computed(altered: Callable[..., Path], in_training: bool) -> None:
    """X = y + (y - z) (1 - beta) / beta, from the weights y in the file and the optimizer's points z."""
    count = sum(key.startswith("ema.ema_weight_") for key in contents()["state_dict"])

    def change(checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        points = {i: {"z": torch.full_like(state[f"ema.ema_weight_{i}"], 0.5)} for i in range(count)}
        for key in [key for key in state if key.startswith("ema.")]:
            del state[key]
        group = {"params": list(range(count)), "betas": (0.9, 0.999), "train_mode": in_training}
        checkpoint["schedulefree_optimizer_state_dict"] = {"state": points, "param_groups": [group]}

    potential, _ = import_reference(altered(change))
    y = contents()["state_dict"][THEIR_EMBEDDING]
    expected = y + (y - 0.5) * (1 - 0.9) / 0.9 if in_training else y
    torch.testing.assert_close(potential.state_dict()[EMBEDDING], expected, rtol=1e-12, atol=1e-12)


def test_a_radial_network_of_a_version_s_default_size_is_measured() -> None:
    """The default was two layers of 64 until 0.16 and is one of 128 since."""
    config = {key: value for key, value in contents()["hyper_parameters"]["model"].items() if "radial_mlp" not in key}
    weights = {k.split("func.", 1)[1]: v for k, v in model_weights(contents()).items() if "func." in k}
    parameters = model_parameters(config, weights)
    assert (parameters["radial_mlp_depth"], parameters["radial_mlp_width"]) == ([1, 1], [8, 8])


def test_energies_alone_had_builders_of_their_own(altered: Callable[..., Path]) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"]["model"]["_target_"] = "nequip.model.NequIPGNNEnergyModel"
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key.replace(".func.", "."): value for key, value in state.items()}

    potential, _ = import_reference(altered(change))
    assert potential.do_derivatives is False


# --- models written with irreps ---------------------------------------------------------------------------------------

NEQUIP_IRREPS = [
    ("0e+1o", ["8x0e+4x1o", "8x0e"], {"l_max": 1, "parity": False, "num_features": [8, 4], "num_layers": 2}),
    (
        "0e + 1o + 2e",
        ["4x0e+4x0o+3x1e+3x1o+2x2e+2x2o"] * 2 + ["4x0e"],
        {"l_max": 2, "parity": True, "num_features": [4, 3, 2], "num_layers": 3},
    ),
    (2, ["5x0e"], {"l_max": 2, "parity": False, "num_features": [5, 5, 5], "num_layers": 1}),
]


@pytest.mark.parametrize("edges, hidden, expected", NEQUIP_IRREPS)
def test_nequip_irreps_become_l_max_parity_and_features(
    edges: Any, hidden: list[str], expected: dict[str, Any]
) -> None:
    config = {
        "_target_": "nequip.model.FullNequIPGNNModel",
        "type_names": ["Cu"],
        "r_max": 4.0,
        "irreps_edge_sh": edges,
        "feature_irreps_hidden": hidden,
        "radial_mlp_depth": [1] * len(hidden),
        "radial_mlp_width": [8] * len(hidden),
    }
    parameters = model_parameters(config, {})
    assert parameters["_target_"] == "nequip.model.NequIPGNNModel"
    assert {key: parameters[key] for key in expected} == expected


@pytest.mark.parametrize("allowed, parity", [("0e+1o+2e", False), ("0e+0o+1e+1o+2e+2o", True)])
def test_allegro_irreps_become_l_max_and_parity(allowed: str, parity: bool) -> None:
    config = {
        "_target_": "allegro.model.FullAllegroModel",
        "type_names": ["Cu"],
        "irreps_edge_sh": 2,
        "tensor_track_allowed_irreps": allowed,
    }
    parameters = model_parameters(config, {})
    assert (parameters["l_max"], parameters["parity"]) == (2, parity)


@pytest.mark.parametrize(
    "config",
    [
        {"irreps_edge_sh": "0e+1o", "feature_irreps_hidden": ["8x0e+4x1e", "8x0e"]},
        {"irreps_edge_sh": "0e+1o", "feature_irreps_hidden": ["8x0e+4x1o", "6x0e+4x1o", "8x0e"]},
        {"irreps_edge_sh": "0e+1o", "feature_irreps_hidden": ["8x0e+4x1o", "6x0e"]},
        {"irreps_edge_sh": "0e+1e", "feature_irreps_hidden": ["8x0e"]},
        {"irreps_edge_sh": "scalars", "feature_irreps_hidden": ["8x0e"]},
    ],
)
def test_other_irreps_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="irreps"):
        model_parameters({"_target_": "nequip.model.FullNequIPGNNModel", "type_names": ["Cu"], **config}, {})


# --- what is refused --------------------------------------------------------------------------------------------------


def unknown_module(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["state_dict"]
    state["model.sole_model.model.func.latent_charges.weight"] = state["ema.ema_weight_11"] = torch.ones(3)


def other_average(checkpoint: dict[str, Any]) -> None:
    del checkpoint["state_dict"]["ema.ema_weight_3"]


def diverged(checkpoint: dict[str, Any]) -> None:
    checkpoint["state_dict"]["ema.ema_weight_0"].fill_(float("nan"))


def modified(checkpoint: dict[str, Any]) -> None:
    inner = checkpoint["hyper_parameters"]["model"]
    checkpoint["hyper_parameters"]["model"] = {
        "_target_": "nequip.model.modify",
        "modifiers": [{"modifier": "enable_Charges"}],
        "model": inner,
    }


def trained_further(checkpoint: dict[str, Any]) -> None:
    model = {"_target_": "nequip.model.ModelFromPackage", "package_path": "/elsewhere/base.nequip.zip"}
    checkpoint["hyper_parameters"]["model"] = model


REFUSED: dict[str, tuple[Change, str]] = {
    "an extension's module": (unknown_module, "the modules latent_charges of an extension"),
    "averages of another model": (other_average, "averaged weights that do not fit .* nequip-package"),
    "diverged weights": (diverged, "not finite: its training diverged; use an earlier one"),
    "an unknown modifier": (modified, "enable_Charges, which has no counterpart"),
    "a lost base": (trained_further, "trained further from /elsewhere/base.nequip.zip.*--base FILE"),
    "another model": (set_model(_target_="mace.MACE"), "its model is mace.MACE; NequIP, Allegro and ZBL"),
    "an unknown parameter": (set_model(num_heads=3), "num_heads"),
    "another architecture": (set_model(num_features=8), "the config implies"),
    "another cutoff": (set_model(r_max=5.0), "cutoff radii are not those of its config"),
    "old Allegro": (
        set_model(_target_="allegro.model.AllegroModel", scalar_embed={}),
        "before nequip-allegro 0.5.*train it again",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_imported_gets_one_sentence(altered: Callable[..., Path], what: str) -> None:
    change, sentence = REFUSED[what]
    with pytest.raises(ReferenceImportError, match=sentence) as caught:
        import_reference(altered(change))
    assert "\n" not in str(caught.value)
    assert "altered.ckpt" in str(caught.value)


def test_another_of_several_models_must_exist() -> None:
    with pytest.raises(ReferenceImportError, match="has no model 'second'; it holds sole_model"):
        import_reference(CHECKPOINT, model="second")


def test_a_base_that_is_given_is_used(altered: Callable[..., Path]) -> None:
    path = altered(trained_further)
    potential, _ = import_reference(path, base=CHECKPOINT)
    expected, _ = import_reference(CHECKPOINT)
    assert potential.config == expected.config


@pytest.mark.parametrize("kept", [0.3, 0.97])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    content = CHECKPOINT.read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ReferenceImportError, match="cut off"):
        import_reference(path)


def test_a_damaged_number_is_refused(tmp_path: Path) -> None:
    content = bytearray(CHECKPOINT.read_bytes())
    weight = contents()["state_dict"]["ema.ema_weight_4"].numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(content)
    with pytest.raises(ReferenceImportError, match="checksum"):
        import_reference(path)


@pytest.mark.parametrize(
    "name, sentence",
    [("model.nequip.pt2", "compiled model"), ("model.pth", "neither a checkpoint"), ("missing.ckpt", "no such file")],
)
def test_other_files_are_named(tmp_path: Path, name: str, sentence: str) -> None:
    if "missing" not in name:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ReferenceImportError, match=sentence):
        import_reference(tmp_path / name)


# --- nothing is run ---------------------------------------------------------------------------------------------------


def test_an_object_in_a_checkpoint_is_not_built(altered: Callable[..., Path], tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["callbacks"] = {"theirs": RunsCode(witness)}

    path = altered(change)
    assert is_reference_checkpoint(path)
    potential, _ = import_reference(path)
    expected, _ = import_reference(CHECKPOINT)
    assert not witness.exists()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(potential.state_dict()[name], tensor)


def package(tmp_path: Path, **kwargs: Any) -> Path:
    path = tmp_path / "theirs.nequip.zip"
    write_reference_package(path, contents(), model_weights(contents()), tmp_path / "witness", **kwargs)
    return path


def test_the_code_in_a_package_is_not_run(tmp_path: Path) -> None:
    path = package(tmp_path)
    assert kind_of(path) is FileKind.REFERENCE_PACKAGE
    found = open_model(path)
    assert found.provenance["imported_from"] == "package"
    assert not (tmp_path / "witness").exists()


def test_that_code_would_have_run() -> None:
    """The stand-in does what a package does when torch loads it."""
    from tempfile import TemporaryDirectory

    from torch.package import PackageImporter

    with TemporaryDirectory() as folder:
        path = package(Path(folder))
        PackageImporter(str(path)).load_pickle("model", "eager_model.pkl")
        assert (Path(folder) / "witness").exists()


def test_a_constant_of_a_package_that_contradicts_its_config_is_refused(tmp_path: Path) -> None:
    name = "sole_model.model.func.layer0_convnet.conv.avg_num_neighbors_norm.norm_const"
    agreeing = package(tmp_path, constants={name: torch.full((1, 1), 20.0**-0.5)})
    import_reference(agreeing)
    other = tmp_path / "other"
    other.mkdir()
    contradicting = package(other, constants={name: torch.full((1, 1), 30.0**-0.5)})
    with pytest.raises(ReferenceImportError, match="number of neighbours is not that of its config"):
        import_reference(contradicting)
