"""Every mistake of a config in one go, each with the line it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip.cli import train
from mlip.config.sources import positions, source_of, with_overrides

CONFIG = """\
# a comment
run: [train]
cutoff: 4.0
size: 0
data:
  _target_: nequip.data.datamodule.ASEDataModule
  seed: 1
  train_file_path: train.xyz
  val_file_path: val.xyz
  transforms:
    - _target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper
      model_type_names: [H]
    - {_target_: nequip.data.transforms.NeighborListTransform, r_max: "${cutoff}"}
  train_dataloader: {batch_size: "${size}"}
trainer:
  _target_: lightning.Trainer
  max_epoch: 3
training_module:
  _target_: nequip.train.EMALightningModule
  ema_decay: 1.5
  loss: {_target_: nequip.train.EnergyForceLoss, coeffs: {force: 1.0}}
  val_metrics: {_target_: nequip.train.EnergyForceMetrics}
  optimizer: {_target_: torch.optim.Adam, lr: -1.0}
  model:
    _target_: allegro.model.AllegroModel
    type_names: [H]
    r_max: ${cutoff}
    l_max: two
    num_layers: 0
    avg_num_neighbors: 5.0
    radial_chemical_embed: {_target_: allegro.nn.TwoBodyBesselScalarEmb}
"""

# what stands in one line each, in this order
EXPECTED = [
    "{}:14:22: data.train_dataloader.batch_size is 0; it must be at least 1 (from size, {}:4:1)",
    "{}:17:3: trainer.max_epoch: lightning.Trainer has no such parameter (did you mean max_epochs?)",
    "{}:20:3: training_module.ema_decay is 1.5; it must be in [0, 1)",
    "{}:28:5: training_module.model.l_max is 'two'; it must be a whole number",
    (
        "{}:31:29: training_module.model.radial_chemical_embed._target_: unknown _target_ "
        "allegro.nn.TwoBodyBesselScalarEmb (did you mean allegro.nn.TwoBodyBesselScalarEmbed?)"
    ),
    "{}:21:3: training_module.loss: loss: unknown name 'force' (did you mean forces?); known are total_energy, forces",
    "{}:23:3: training_module.optimizer: cannot make torch.optim.Adam: ValueError: Invalid learning rate: -1.0",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the config, where the user works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "water.yaml").write_text(CONFIG)
    return tmp_path


def check(*arguments: str) -> int:
    """The exit status of ``nequip-train --check``."""
    try:
        train.main([*arguments, "--check"])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.mark.usefixtures("folder")
def test_all_mistakes_are_listed_with_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("water.yaml") == 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines == [line.replace("{}", "water.yaml") for line in EXPECTED]
    assert last == "nequip-train: 7 problems found"


def test_a_check_leaves_nothing_behind(folder: Path) -> None:
    check("-cn", "water")
    assert [path.name for path in folder.iterdir()] == ["water.yaml"]


@pytest.mark.usefixtures("folder")
def test_what_the_command_line_sets_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    check("-cn", "water", "size=2", "trainer.max_epoch=4", "++trainer.devices=[a]", "training_module.ema_decay=many")
    found = capsys.readouterr().err
    assert "override trainer.max_epoch=4: trainer.max_epoch: lightning.Trainer has no such parameter" in found
    assert "override training_module.ema_decay=many: training_module.ema_decay is 'many'; it must be a number" in found
    assert "batch_size" not in found


@pytest.mark.usefixtures("folder")
def test_overrides_of_nothing_get_the_nearest_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("water.yaml", "training_module.optimizr.lr=1") == 1
    expected = (
        "nequip-train: override training_module.optimizr.lr=1: the config has no training_module.optimizr "
        "(did you mean training_module.optimizer?); +training_module.optimizr.lr=1 adds it"
    )
    assert capsys.readouterr().err.strip() == expected


def test_lines_are_kept_through_composition(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "trainer").mkdir()
    (folder / "trainer/short.yaml").write_text("# few epochs\n_target_: lightning.Trainer\nmax_epchs: 3\n")
    main = CONFIG.replace("trainer:\n  _target_: lightning.Trainer\n  max_epoch: 3\n", "")
    (folder / "composed.yaml").write_text(f"defaults:\n  - trainer: short\n  - _self_\n{main}")
    assert check("-cp", ".", "-cn", "composed") == 1
    found = capsys.readouterr().err
    assert "trainer/short.yaml:3:1: trainer.max_epchs: lightning.Trainer has no such parameter" in found
    assert "composed.yaml:20:3: training_module.ema_decay is 1.5" in found


def test_a_training_starts_with_the_same_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["water.yaml", f"hydra.run.dir={folder}/run"])
    found = capsys.readouterr().err
    for line in EXPECTED:
        assert line.replace("{}", "water.yaml") in found


def test_places_without_a_line_of_their_own_get_the_nearest_above(folder: Path) -> None:
    sources = positions(folder / "water.yaml")
    assert source_of(sources, ("data", "transforms", 0, "nothing")).endswith("water.yaml:11:7")
    assert source_of(sources, ("elsewhere",)) == ""
    changed = with_overrides(sources, ["+data.transforms.0.x=1", "~trainer"])
    assert source_of(changed, ("data", "transforms", 0, "x")) == "override +data.transforms.0.x=1"
    assert source_of(changed, ("trainer", "max_epoch")) == "override ~trainer"
