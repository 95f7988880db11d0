"""Public names, resolvers and the checks of a config."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.config.load import check_config, resolved
from mlip.config.resolvers import big_dataset_stats, register_resolvers, register_training_data_stats
from mlip.config.signatures import parameters_of
from mlip.config.targets import TARGETS, resolve_target
from mlip.config.validate import stages
from mlip.models import build_model


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_public_name_leads_to_something(name: str) -> None:
    module_name, _, attribute = resolve_target(name).rpartition(".")
    assert hasattr(__import__(module_name, fromlist=[attribute]), attribute)


def test_other_packages_and_our_own_names_pass() -> None:
    for name in (
        "torch.optim.Adam",
        "lightning.Trainer",
        "mlip.data.datasets.ASEDataset",
        "allegro.nn.TwoBodyBesselScalarEmbed",
    ):
        assert resolve_target(name) == name


@pytest.mark.parametrize(
    "name, near",
    [
        ("nequip.train.EnergyForcesLoss", "nequip.train.EnergyForceLoss"),
        ("nequip.data.dataset.ASEDatset", "nequip.data.dataset.ASEDataset"),
        ("allegro.models.AllegroModel", "allegro.model.AllegroModel"),
        ("nequip.data.NeighborListTransform", "nequip.data.transforms.NeighborListTransform"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"here: unknown _target_ {name} .did you mean {near}"):
        resolve_target(name, "here")


@pytest.mark.parametrize(
    "expression, value",
    [
        ("${int_mul:3,4}", 12),
        ("${int_div:12,4}", 3),
        ("${concat_lists:[1,2],[3]}", [1, 2, 3]),
        ("${list_to_identity_dict:[A,B]}", {"A": "A", "B": "B"}),
        ("${list_to_constant_dict:[A,B],5.0}", {"A": 5.0, "B": 5.0}),
    ],
)
def test_resolvers(expression: str, value: Any) -> None:
    register_resolvers()
    assert OmegaConf.to_container(OmegaConf.create({"x": expression}), resolve=True)["x"] == value


@pytest.mark.parametrize("expression", ["${int_div:5,2}", "${int_div:5,0}", "${int_mul:-1,2}", "${int_mul:a,2}"])
def test_resolvers_refuse(expression: str) -> None:
    register_resolvers()
    with pytest.raises(Exception, match="int_"):
        OmegaConf.to_container(OmegaConf.create({"x": expression}), resolve=True)


def test_statistics_resolve_to_numbers_and_dictionaries() -> None:
    register_training_data_stats({"a": 1.5, "b": {"H": 2.0}})
    config = OmegaConf.create({"x": "${training_data_stats:a}", "y": "${training_data_stats:b}"})
    assert OmegaConf.to_container(config, resolve=True) == {"x": 1.5, "y": {"H": 2.0}}
    with pytest.raises(Exception, match="no such statistic"):
        OmegaConf.to_container(OmegaConf.create({"x": "${training_data_stats:c}"}), resolve=True)


def test_instantiate_nested_and_with_objects_as_they_are() -> None:
    marker = object()
    made = instantiate(
        {"_target_": "builtins.dict", "inner": {"_target_": "nequip.data.PerAtomModifier", "field": "stress"}}, x=marker
    )
    assert made["x"] is marker
    assert type(made["inner"]).__name__ == "PerAtomModifier"
    kept = instantiate({"_target_": "builtins.dict", "inner": {"_target_": "nequip.x"}}, recursive=False)
    assert kept["inner"] == {"_target_": "nequip.x"}
    assert instantiate(None) is None
    assert instantiate([1]) == [1]


@pytest.mark.parametrize(
    "run, message",
    [
        ([], "at least one"),
        (["trian"], "'trian' is not one of .*did you mean train"),
        (["train", "train"], "once"),
        ([{"function": 1}], "not one of"),
    ],
)
def test_runs_that_cannot_be(run: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stages(run)


def test_a_single_stage_is_a_list_of_one() -> None:
    assert stages("train") == ["train"]


def test_keyword_arguments_passed_on_count_as_known() -> None:
    names = {parameter.name for parameter in parameters_of("nequip.data.datamodule.ASEDataModule") or []}
    assert {"train_file_path", "train_dataloader", "stats_manager"} <= names


MAPPER = {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": ["Cu"]}
VALID = {
    "run": ["train", "test"],
    "data": {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": 1,
        "train_file_path": "nowhere.xyz",
        "transforms": [MAPPER, {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.0}],
        "stats_manager": {"_target_": "nequip.data.CommonDataStatisticsManager"},
    },
    "trainer": {"_target_": "lightning.Trainer", "max_epochs": 1},
    "training_module": {
        "_target_": "nequip.train.EMALightningModule",
        "ema_decay": 0.9,
        "loss": {"_target_": "nequip.train.EnergyForceLoss"},
        "val_metrics": {"_target_": "nequip.train.EnergyForceMetrics"},
        "test_metrics": "${training_module.val_metrics}",
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "model": {
            "_target_": "allegro.model.AllegroModel",
            "type_names": ["Cu"],
            "r_max": 4.0,
            "l_max": 1,
            "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
            "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
        },
    },
}

# place, value ("-" removes) -> what the one sentence says
MISTAKES = [
    ("run", "-", "the config has no `run`"),
    ("training_module", "-", "the config has no `training_module`"),
    ("run", ["trainn"], "did you mean train"),
    (
        "data._target_",
        "nequip.data.datamodule.ASEDataModul",
        r"data._target_: unknown _target_ .*did you mean nequip.data.datamodule.ASEDataModule",
    ),
    ("data._target_", "-", "data: needs a `_target_`"),
    ("data.train_file", "x", r"data.train_file: .* has no such parameter .did you mean train_file_path"),
    ("data.transforms.1.rmax", 4.0, r"data.transforms\[1\].rmax: .* has no such parameter .did you mean r_max"),
    ("data.transforms.1.r_max", 3.0, r"data.transforms\[1\].r_max is 3.0 Å, less than the model's"),
    (
        "data.transforms.0.model_type_names",
        ["Au"],
        r"data.transforms\[0\]: the data's types \['Au'\] are not the model's",
    ),
    ("data.stats_manager", "-", "training_data_stats:num_neighbors_mean.*`data.stats_manager` is not set"),
    ("trainer.max_epoch", 3, "trainer.max_epoch: lightning.Trainer has no such parameter .did you mean max_epochs"),
    ("trainer.inference_mode", True, "trainer.inference_mode cannot be set"),
    ("trainer._target_", "lightning.Trainr", "trainer._target_: cannot import lightning.Trainr"),
    ("training_module.ema_deca", 0.9, "training_module.ema_deca: .*did you mean ema_decay"),
    ("training_module.loss", "-", "training_module.loss is missing, and `run` has train"),
    ("training_module.test_metrics", "-", "training_module.test_metrics is missing, and `run` has test"),
    ("training_module.loss.coeff", {}, "training_module.loss.coeff: .*did you mean coeffs"),
    (
        "training_module.optimizer.learning_rate",
        0.1,
        "training_module.optimizer.learning_rate: torch.optim.Adam has no such parameter",
    ),
    ("training_module.model", "-", "training_module.model: needs a `_target_`"),
    ("training_module.model.lmax", 2, "training_module.model.lmax: .*did you mean l_max"),
    (
        "training_module.model.radial_chemical_embed._target_",
        "allegro.nn.TwoBodyBesselScalarEmbd",
        "did you mean allegro.nn.TwoBodyBesselScalarEmbed",
    ),
    ("training_module.model.r_max", "${nowhere}", "training_module.model.r_max: Interpolation key 'nowhere' not found"),
    ("training_module.model.r_max", "???", "training_module.model.r_max"),
]


def changed(place: str, value: Any) -> DictConfig:
    config = copy.deepcopy(VALID)
    *path, last = place.split(".")
    node = config
    for key in path:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if value == "-":
        del node[last]
    else:
        node[last] = value
    return OmegaConf.create(config)


def test_a_valid_config_says_which_statistics_it_needs() -> None:
    assert check_config(OmegaConf.create(VALID)) == ["num_neighbors_mean"]


@pytest.mark.parametrize("place, value, message", MISTAKES)
def test_each_mistake_has_its_sentence(place: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(changed(place, value))


class TestStatisticsOfPublishedDataSets:
    CONFIG = """
cutoff: 6.0
stats: ${big_dataset_stats:NAME,${cutoff}}
names: ${stats.model_type_names}
neighbours: ${stats.num_neighbors_mean}
of_copper: ${stats.per_type_num_neighbors_mean.Cu}
energies: ${stats.isolated_atom_energies}
"""

    def resolved(self, name: str, **changes: Any) -> dict[str, Any]:
        register_resolvers()
        config = OmegaConf.merge(OmegaConf.create(self.CONFIG.replace("NAME", name)), changes)
        return dict(resolved(config))  # type: ignore[arg-type]

    def test_they_are_numbers_by_type(self) -> None:
        found = self.resolved("MPTrj")
        assert (found["neighbours"], found["of_copper"]) == (62.0121, 59.1786)
        assert len(found["names"]) == 89
        assert list(found["energies"]) == found["names"]

    def test_neighbours_grow_with_the_cutoff(self) -> None:
        for name in ("MPTrj", "MatPES", "OMat"):
            assert big_dataset_stats(name, 4.5).num_neighbors_mean < big_dataset_stats(name, 8.0).num_neighbors_mean

    @pytest.mark.parametrize(
        "name, cutoff, sentence",
        [
            ("MPtrj", 6.0, r"there are MPTrj, MatPES, OMat \(did you mean MPTrj\?\)"),
            ("OMat", 6.2, r"known for 4\.5, 5\.0, .*, 8\.0 Å; write the numbers, or take \$\{training_data_stats"),
            ("OMat", "wide", r"\$\{big_dataset_stats:OMat,wide\}: the numbers of neighbours are known for"),
        ],
    )
    def test_others_are_one_sentence(self, name: str, cutoff: Any, sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            self.resolved(name, cutoff=cutoff)


FULL = {
    "nequip.model.FullNequIPGNNModel": (
        {"irreps_edge_sh": "0e+1o", "feature_irreps_hidden": ["4x0e+2x1o", "4x0e"]},
        {"_target_": "nequip.model.NequIPGNNModel", "l_max": 1, "parity": False, "num_features": [4, 2]},
    ),
    "allegro.model.FullAllegroModel": (
        {
            "irreps_edge_sh": 1,
            "tensor_track_allowed_irreps": "0e+1o",
            "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
        },
        {"_target_": "allegro.model.AllegroModel", "l_max": 1, "parity": False},
    ),
}


@pytest.mark.parametrize("name", FULL)
def test_models_written_with_irreps_are_the_ordinary_ones(name: str) -> None:
    given, expected = FULL[name]
    common = {"_target_": name, "type_names": ["Cu"], "r_max": 3.0, "avg_num_neighbors": 9.0}
    config = build_model({**common, **given}).config
    assert {key: config[key] for key in expected} == expected
    with pytest.raises(ValueError, match=r"l_max is said by .*irreps_edge_sh"):
        build_model({**common, **given, "l_max": 1})
    assert not {"l_max", "parity"} & {parameter.name for parameter in parameters_of(name) or []}
