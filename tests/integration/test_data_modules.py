"""The published data sets, from small archives of the same layout on a server on this machine to batches."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlip.config.instantiate import instantiate
from mlip.data.datamodule import NequIPDataModule
from mlip.data.errors import DataError
from mlip.data.write_extxyz import extxyz_text
from tests.local_server import LocalServer, local_server
from tests.unit.data.some_frames import labelled

TRANSFORMS = [
    {
        "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
        "model_type_names": ["H", "C", "O", "Cu"],
    },
    {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 3.0},
]
KCAL = 0.0433641


def extxyz(count: int, make: Callable[[], Any], names: dict[str, str] | None = None) -> bytes:
    rng = np.random.default_rng(count)
    texts = []
    for _ in range(count):
        atoms = make()
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        text = extxyz_text(labelled(atoms))
        for ours, theirs in (names or {}).items():
            text = text.replace(ours, theirs)
        texts.append(text)
    return "".join(texts).encode()


def npz(count: int, names: tuple[str, str, str, str] = ("R", "z", "E", "F")) -> bytes:
    rng = np.random.default_rng(count)
    water = molecule("H2O")
    arrays = {
        names[0]: water.positions + rng.normal(0, 0.05, (count, 3, 3)),
        names[1]: water.numbers.astype(np.uint8),
        names[2]: rng.normal(-50.0, 1.0, count),
        names[3]: rng.normal(0.0, 1.0, (count, 3, 3)),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], compression: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def water() -> Any:
    return molecule("H2O")


def copper() -> Any:
    return bulk("Cu", cubic=True)


BPA = ("train_300K", "train_mixedT", *(f"test_{t}" for t in ("300K", "600K", "1200K")))
BPA += tuple(f"test_dih_beta{angle}" for angle in (120, 150, 180))
RMD17_KEYS = ("coords", "nuclear_charges", "energies", "forces")

# name, the class's own address -> path on the server, what is served there, parameters, frames of each part
CASES: list[tuple[str, dict[str, bytes], dict[str, Any], dict[str, list[int]]]] = [
    (
        "sGDML_CCSD_DataModule",
        {
            "/ethanol_ccsd_t.zip": zipped(
                {"ethanol_ccsd_t-train.npz": npz(10), "ethanol_ccsd_t-test.npz": npz(6)},
            )
        },
        {"dataset": "ethanol", "train_val_split": [7, 2], "trainval_test_subset": [9, 4]},
        {"train": [7], "val": [2], "test": [4]},
    ),
    (
        "rMD17DataModule",
        {"": zipped({"rmd17.tar.bz2": tarred({"rmd17/npz_data/rmd17_uracil.npz": npz(12, RMD17_KEYS)}, "bz2")})},
        {"dataset": "uracil", "train_val_test_split": [5, 2, 3], "subset_len": 10},
        {"train": [5], "val": [2], "test": [3]},
    ),
    (
        "MD22DataModule",
        {"/md22_tiny.npz": npz(12)},
        {"dataset": "DHA", "train_val_split": [0.75, 0.25]},
        {"train": [6], "val": [2], "test": [4]},
    ),
    (
        "NequIP3BPADataModule",
        {"": tarred({f"dataset_3BPA/{name}.xyz": extxyz(3, water) for name in BPA}, "gz")},
        {"train_val_split": [2, 1], "train_set": "mixedT", "test_sets": ["300K", "dih_beta120"]},
        {"train": [2], "val": [1], "test": [3, 3]},
    ),
    (
        "COLLDataModule",
        {f"/{number}": extxyz(count, water) for number, count in ((25605734, 4), (25605737, 2), (25605740, 3))},
        {},
        {"train": [4], "val": [2], "test": [3]},
    ),
    (
        "TM23DataModule",
        {
            "": zipped(
                {
                    "benchmarking_master_collection/Cu_2700cwm_train.xyz": extxyz(5, copper),
                    "benchmarking_master_collection/Cu_2700cwm_test.xyz": extxyz(2, copper),
                }
            )
        },
        {"element": "Cu", "train_val_split": [4, 1]},
        {"train": [4], "val": [1], "test": [2]},
    ),
    (
        "SAMD23DataModule",
        {
            "": tarred(
                {f"SiN/{name}.xyz": extxyz(2, copper) for name in ("Trainset", "Validset", "Testset", "OOD")},
                "",
            )
        },
        {"system": "SiN"},
        {"train": [2], "val": [2], "test": [2, 2]},
    ),
    (
        "WaterDataModule",
        {"": extxyz(6, water, {"energy=": "TotEnergy=", "forces:": "force:"})},
        {"train_val_test_split": [3, 2, 1]},
        {"train": [3], "val": [2], "test": [1]},
    ),
]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        yield running


def serve(server: LocalServer, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    """Put files on the server and let the class look for them there."""
    from mlip.data import material_datamodules, molecule_datamodules

    owner = getattr(molecule_datamodules, name, None) or getattr(material_datamodules, name)
    single = "" in files
    server.files = {f"/{name}{path}": content for path, content in files.items()}
    if hasattr(owner, "URLS"):
        monkeypatch.setattr(owner, "URLS", dict.fromkeys(owner.URLS, f"{server.url}/{name}"))
    else:
        monkeypatch.setattr(owner, "URL", f"{server.url}/{name}")
    if name == "MD22DataModule":
        monkeypatch.setattr(owner, "FILES", {"dha": ("md22_tiny.npz", 8, 12)})
    assert single or len(files) >= 1


def made(name: str, folder: Path, parameters: dict[str, Any]) -> NequIPDataModule:
    config = {
        "_target_": f"nequip.data.datamodule.{name}",
        "data_source_dir": str(folder),
        "transforms": TRANSFORMS,
        "seed": 3,
        "train_dataloader": {"batch_size": 2, "shuffle": True},
        **parameters,
    }
    module = instantiate(config, recursive=False)
    assert isinstance(module, NequIPDataModule)
    return module


@pytest.mark.parametrize("name, files, parameters, counts", CASES, ids=[case[0] for case in CASES])
def test_from_the_archive_to_batches(
    server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    files: dict[str, bytes],
    parameters: dict[str, Any],
    counts: dict[str, list[int]],
) -> None:
    serve(server, monkeypatch, name, files)
    data = made(name, tmp_path / "data", parameters)
    assert not server.requests, "nothing is downloaded before it is needed"
    data.setup("fit")
    assert {part: [len(s) for s in sets] for part, sets in data.datasets.items() if sets} == counts
    for batch in [*data.train_dataloader(), *(b for loader in data.test_dataloader() for b in loader)]:
        assert {"total_energy", "forces"} <= set(batch.labels)
        assert batch.graph.edge_index.shape[1] > 0
    requests = len(server.requests)
    made(name, tmp_path / "data", parameters).setup("fit")
    assert len(server.requests) == requests, "what is there is not downloaded again"


def test_units_are_converted(server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, files, parameters, _ = CASES[2]
    serve(server, monkeypatch, name, files)
    data = made(name, tmp_path, parameters)
    with np.load(io.BytesIO(files["/md22_tiny.npz"])) as arrays:
        in_ev = sorted((arrays["E"] * KCAL).tolist())
    found = [frame.labels["total_energy"].item() for part in data.datasets.values() for s in part for frame in s]
    assert sorted(found) == pytest.approx(in_ev, rel=1e-12)


@pytest.mark.parametrize(
    "name, parameters, message",
    [
        (
            "rMD17DataModule",
            {"dataset": "water", "train_val_test_split": [1, 1, 1]},
            "dataset is 'water'; choose one of",
        ),
        ("rMD17DataModule", {"dataset": "uracil", "train_val_test_split": [1, 1]}, "takes 3 numbers of frames"),
        ("TM23DataModule", {"element": "Al", "train_val_split": [1, 1]}, "element is 'Al'"),
        ("NequIP3BPADataModule", {"train_set": "600K", "train_val_split": [1, 1]}, "train_set is '600K'"),
        ("SAMD23DataModule", {"system": "GaN"}, "system is 'GaN'"),
    ],
)
def test_parameters_that_cannot_be(tmp_path: Path, name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(name, tmp_path, parameters)


def test_an_archive_without_the_files_is_named(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(server, monkeypatch, "TM23DataModule", {"": zipped({"other.txt": b""})})
    data = made("TM23DataModule", tmp_path, CASES[5][2])
    with pytest.raises(DataError, match=r"Cu_2700cwm_train.xyz is not in what was downloaded"):
        data.setup("fit")


def test_offline_says_where_to_put_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mlip.data.material_datamodules import WaterDataModule

    monkeypatch.setattr(WaterDataModule, "URL", "http://127.0.0.1:9/water.xyz")
    with pytest.raises(
        DataError, match=r"without a network, download it elsewhere and put it at .*dataset_1593_eVAng.xyz"
    ):
        made("WaterDataModule", tmp_path, CASES[7][2]).setup("fit")
