"""``nequip-package``, and packages wherever a model can be given: compiled, prepared for LAMMPS, trained further."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from mlip.cli import compile as compile_command
from mlip.cli import package as package_command
from mlip.cli import prepare_lmp_mliap
from mlip.config.errors import ConfigError
from mlip.config.load import resolved
from mlip.config.resolvers import register_resolvers
from mlip.data.emt import write_emt_dataset
from mlip.deploy.checkpoint import load_checkpoint
from mlip.deploy.load import load_compiled
from mlip.deploy.model_source import load_model
from mlip.deploy.package import read_package
from mlip.training.finetuning import build_trainable_model
from tests import golden_model_files as golden
from tests.evaluation import eager, from_file
from tests.integration.test_training_run import CONFIG, in_process
from tests.physics import assert_same, crystal

CHECKPOINT = str(golden.FOLDER / "checkpoint-2.ckpt")
PACKAGE = str(golden.FOLDER / "package-1.nequip.zip")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    """Exit status and the sentence of a call of ``nequip-package`` that is refused."""
    with pytest.raises(SystemExit) as end:
        package_command.main(words)
    code = end.value.code
    sentence = code if isinstance(code, str) else capsys.readouterr().err.strip()
    assert sentence.startswith(f"nequip-package {words[0]}: ")
    assert "\n" not in sentence
    return (1 if isinstance(code, str) else code), sentence


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [CHECKPOINT, str(golden.FOLDER / "checkpoint-1.ckpt"), PACKAGE])
def test_build(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    package_command.main(["build", source, "cu.nequip.zip", "--mode", "nequip"])
    assert capsys.readouterr().out.startswith(
        "cu.nequip.zip: AllegroModel, float64, types Cu Au, r_max 3.2 Å, 212 weights, "
    )
    assert golden.deviation(load_model("cu.nequip.zip")) < 1e-12
    assert read_package("cu.nequip.zip").provenance["trained_with"]["mlip"] == "0.1.0"


def test_modes_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    package_command.main(["modes"])
    assert capsys.readouterr().out.startswith("nequip: ")
    package_command.main(["list", PACKAGE])
    listed = dict(reversed(line.split()) for line in capsys.readouterr().out.splitlines())
    assert list(listed) == ["model.json", "weights.safetensors"]
    assert int(listed["weights.safetensors"]) > 212 * 8


def test_info_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    package_command.main(["info", PACKAGE])
    text = capsys.readouterr().out
    assert "AllegroModel, float64, types Cu Au, r_max 3.2 Å" in text
    assert "forces_rmse" in text
    package_command.main(["info", PACKAGE, "--yaml"])
    described = yaml.safe_load(capsys.readouterr().out)
    assert described["model"]["_target_"] == "allegro.model.AllegroModel"
    assert described["type_names"] == ["Cu", "Au"]
    assert described["units"]["energy"] == "eV"
    package_command.main(["info", CHECKPOINT, "--get-modifiers"])
    assert "modify_PerTypeScaleShift: scales=" in capsys.readouterr().out
    package_command.main(["info", PACKAGE, "--get-modifiers", "--yaml"])
    assert "disable_ForceStressOutput" in yaml.safe_load(capsys.readouterr().out)["available"]


def test_modify_writes_the_change_into_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    shift = ["--modifier", "modify_PerTypeScaleShift", "shifts={Au: -5.0}"]
    package_command.main(["modify", PACKAGE, "new.nequip.zip", *shift, "--modifier", "disable_ForceStressOutput"])
    before, after = load_model(PACKAGE), load_model("new.nequip.zip")
    moved = after(golden.example(), derivatives=True).atomic_energy - before(golden.example()).atomic_energy
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.0, -3.0, -3.0], dtype=torch.float64))
    assert not after.do_derivatives
    package = read_package("new.nequip.zip")
    assert [modifier["modifier"] for modifier in package.modifiers] == [
        "modify_PerTypeScaleShift",
        "disable_ForceStressOutput",
    ]
    assert package.training == read_package(PACKAGE).training
    package_command.main(["modify", PACKAGE, "fast.nequip.zip", "--modifier", "enable_CuEquivariance"])
    assert "enable_CuEquivariance is not stored" in capsys.readouterr().err
    assert read_package("fast.nequip.zip").modifiers == []


def test_update_changes_the_record_and_no_prediction(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package_command.main(["update", PACKAGE, "same.nequip.zip"])
    with zipfile.ZipFile(PACKAGE) as archive:
        document = json.loads(archive.read("model.json"))
    document["data"]["files"] = ["published.xyz"]
    (here / "model.json").write_text(json.dumps(document))
    package_command.main(["update", PACKAGE, "new.nequip.zip", "--replace", "model.json", "model.json"])
    assert read_package("new.nequip.zip").data["files"] == ["published.xyz"]
    assert golden.deviation(load_model("new.nequip.zip")) < 1e-12
    document["model"]["per_type_energy_shifts"] = None
    document["model"]["avg_num_neighbors"] = 20.0
    (here / "model.json").write_text(json.dumps(document))
    words = ("update", PACKAGE, "other.nequip.zip", "--replace", "model.json", "model.json")
    status, sentence = refused(capsys, *words)
    assert status == 1
    assert "does not fit" in sentence or "gives other energies or forces" in sentence
    assert not (here / "other.nequip.zip").exists()


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    package_command.main(["modify", PACKAGE, "new.nequip.zip", "--modifier", "modify_PerTypeScaleShift", "shifts=-3.0"])
    capsys.readouterr()
    package_command.main(["diff", PACKAGE, "weights.safetensors", "new.nequip.zip"])
    assert capsys.readouterr().out == "!scale_shift.shifts: differs by up to 2\n"
    package_command.main(["diff", PACKAGE, "model.json", "new.nequip.zip"])
    lines = capsys.readouterr().out.splitlines()
    assert '+  "per_type_energy_shifts": -3.0,' in lines
    package_command.main(["diff", PACKAGE, "model.json", PACKAGE])
    assert not capsys.readouterr().out
    package_command.main(["diff", PACKAGE, "nequip/nn/mlp.py"])
    assert "holds no code" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, status, message",
    [
        (("build", "no.ckpt", "a.nequip.zip"), 1, "no such checkpoint: no.ckpt"),
        (("build", CHECKPOINT, "a.zip"), 1, "must end with .nequip.zip: a.zip"),
        (("build", CHECKPOINT, "a.nequip.zip", "--mode", "fast"), 2, "there is no mode 'fast'; there is nequip"),
        (("build", CHECKPOINT, "a.nequip.zip", "--model", "two"), 1, "holds one model, sole_model; there is no 'two'"),
        (("build", PACKAGE, PACKAGE), 1, "is the package it is made from"),
        (("modify", PACKAGE, PACKAGE, "--modifier", "enable_ForceStressOutput"), 1, "is the package it is made from"),
        (("modify", PACKAGE, "a.nequip.zip", "--modifier", "enable_Forces"), 1, "unknown modifier 'enable_Forces'"),
        (
            ("modify", PACKAGE, "a.nequip.zip", "--modifier", "modify_PerTypeScaleShift", "shift=1"),
            1,
            "modify_PerTypeScaleShift has no 'shift'; it takes scales, shifts",
        ),
        (
            ("modify", PACKAGE, "a.nequip.zip", "--modifier", "modify_PerTypeScaleShift", "shifts={Cx: 1}"),
            1,
            "shifts name ['Cx'], the model's types are ['Cu', 'Au']",
        ),
        (("update", PACKAGE, "a.nequip.zip", "--replace", "nequip/nn/mlp.py"), 2, "holds no code, so there is no nequ"),
        (("update", PACKAGE, "a.nequip.zip", "--replace", "model.json"), 2, "write --replace model.json LOCAL"),
        (("update", CHECKPOINT, "a.nequip.zip"), 1, "is not a package of mlip but a checkpoint"),
        (("diff", PACKAGE, "mlp.py", PACKAGE), 1, "lacks mlp.py, it holds model.json, weights.safetensors"),
        (("list", "no.nequip.zip"), 1, "no such package: no.nequip.zip"),
        (("info", "no.nequip.zip"), 1, "no such package: no.nequip.zip"),
    ],
    ids=lambda value: " ".join(Path(word).name for word in value) if isinstance(value, tuple) else "",
)
def test_mistakes_end_with_one_sentence_and_no_file(
    words: tuple[str, ...], status: int, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, sentence = refused(capsys, *words)
    assert found == status
    assert message in sentence
    assert not list(here.iterdir())


def test_the_guide_describes_every_field_and_command() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "model-files.md").read_text()
    with zipfile.ZipFile(PACKAGE) as archive:
        assert all(f"`{key}`" in guide for key in json.loads(archive.read("model.json")))
    commands = ("build", "modes", "list", "diff", "update", "modify", "info")
    assert all(f"| `{command}" in guide for command in commands)


def test_help_needs_no_torch() -> None:
    code = "import sys; from mlip.cli.package import parser; parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Everywhere else ----------------------------------------------------------------------------------------------------


def test_a_package_compiles_like_its_checkpoint() -> None:
    usual = ["--mode", "torchscript", "--device", "cpu", "--target", "pair_allegro"]
    compile_command.main([PACKAGE, "cu.nequip.pth", *usual, "--modifiers", "enable_TritonContracter"])
    expected = eager(load_checkpoint(CHECKPOINT).requires_grad_(requires_grad=False))(crystal())
    assert_same(from_file("cu.nequip.pth")(crystal()), expected, 1e-10)
    assert load_compiled("cu.nequip.pth").metadata.provenance["source"] == Path(PACKAGE).name


def test_a_package_is_prepared_for_ml_iap(capsys: pytest.CaptureFixture[str]) -> None:
    prepare_lmp_mliap.main([PACKAGE, "cu.nequip.lmp.pt", "--no-compile"])
    assert "pair_style mliap unified cu.nequip.lmp.pt 0" in capsys.readouterr().out


@pytest.mark.parametrize("main", [compile_command.main, prepare_lmp_mliap.main])
def test_commands_refuse_a_package_that_is_none(main: object, here: Path) -> None:
    (here / "a.nequip.zip").write_text("none")
    end = {
        compile_command.main: ["a.nequip.pth", "--mode", "torchscript", "--device", "cpu", "--target", "ase"],
        prepare_lmp_mliap.main: ["a.nequip.lmp.pt"],
    }[main]
    with pytest.raises(SystemExit, match=r"a.nequip.zip is not a package"):
        main(["a.nequip.zip", *end])


@pytest.mark.parametrize(
    "section",
    [
        {"_target_": "nequip.model.ModelFromPackage", "package_path": PACKAGE},
        {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": CHECKPOINT},
    ],
)
def test_training_starts_from_trained_weights(section: dict[str, str]) -> None:
    potential = build_trainable_model({**section, "compile_mode": "compile"})
    assert potential.config["compile_mode"] == "compile"
    assert golden.deviation(potential.eval()) < 1e-12


def test_configs_can_ask_a_package_for_its_types_and_cutoff() -> None:
    register_resolvers()
    text = f"a: ${{type_names_from_package:{PACKAGE}}}\nb: ${{cutoff_radius_from_package:{PACKAGE}}}\n"
    text += f"c: ${{cutoff_radius_from_package:{PACKAGE},sole_model}}\n"
    assert resolved(OmegaConf.create(text)) == {"a": ["Cu", "Au"], "b": 3.2, "c": 3.2}
    with pytest.raises(ConfigError, match=r"type_names_from_package:no.nequip.zip}: no such package: no.nequip.zip"):
        resolved(OmegaConf.create("a: ${type_names_from_package:no.nequip.zip}"))


def test_a_run_that_starts_from_a_package(here: Path) -> None:
    write_emt_dataset(here / "data", num_train=2, num_val=2, num_test=1, seed=1)
    config = OmegaConf.create(CONFIG.replace("data_dir: ???", "data_dir: data"))
    config.type_names = f"${{type_names_from_package:{PACKAGE}}}"
    config.training_module.model = {
        "_target_": "nequip.model.modify",
        "modifiers": [{"modifier": "modify_PerTypeScaleShift", "shifts": {"Cu": -4.0}}],
        "model": {"_target_": "nequip.model.ModelFromPackage", "package_path": PACKAGE},
    }
    config.run = ["train"]
    config.trainer.max_epochs = 1
    OmegaConf.save(config, here / "config.yaml")
    output = in_process(here, "tuned")
    package_command.main(["build", str(output / "last.ckpt"), "tuned.nequip.zip"])
    package = read_package("tuned.nequip.zip")
    assert package.model["_target_"] == "allegro.model.AllegroModel"
    assert package.model["per_type_energy_shifts"] == {"Cu": -4.0, "Au": -2.0}
    assert package.data["frames"] == {"train": [2], "val": [2], "test": [1, 2]}
    assert package.data["statistics"]["num_neighbors_mean"] > 1
