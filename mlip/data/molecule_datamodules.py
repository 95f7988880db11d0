"""Published data sets of molecules that configs may name.

Each class downloads its files into ``data_source_dir`` unless they are there. None of the publishers gives checksums;
see :class:`mlip.data.download.Source` for what is done about that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mlip.data.datamodule import ASEDataModule, NequIPDataModule
from mlip.data.download import Source, unpack
from mlip.data.errors import DataError
from mlip.data.published import Downloaded, choose, npz_config, npz_config_in_kcal, parts_of, random_slice


class sGDML_CCSD_DataModule(Downloaded, NequIPDataModule):  # noqa: N801 - the public name
    """Molecules at CCSD or CCSD(T), http://www.sgdml.org, with the published training and test sets.

    Args:
        dataset: aspirin, benzene, malonaldehyde, toluene or ethanol.
        data_source_dir: folder of the files.
        transforms: applied to every frame, in order.
        seed: of split and order.
        train_val_split: frames or fractions of the published training set.
        trainval_test_subset: use only as many frames of the training and of the test set.
        **kwargs: of :class:`NequIPDataModule`.
    """

    NAMES: ClassVar = {
        "aspirin": "aspirin_ccsd",
        "benzene": "benzene_ccsd_t",
        "malonaldehyde": "malonaldehyde_ccsd_t",
        "toluene": "toluene_ccsd_t",
        "ethanol": "ethanol_ccsd_t",
    }
    URL = "http://www.quantum-machine.org/gdml/data/npz"

    def __init__(
        self,
        dataset: str,
        data_source_dir: str,
        transforms: Sequence[Any],
        seed: int,
        train_val_split: Sequence[float],
        trainval_test_subset: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        self._name = self.NAMES[choose("dataset", dataset, list(self.NAMES))]
        self.data_source_dir = data_source_dir
        self.wanted = [Path(data_source_dir) / f"{self._name}-{part}.npz" for part in ("train", "test")]
        train, test = (npz_config(path, transforms) for path in self.wanted)
        if trainval_test_subset is not None:
            sizes = parts_of("trainval_test_subset", trainval_test_subset, ("training and validation", "test"))
            train, test = (random_slice(d, 0, int(n), seed) for d, n in zip((train, test), sizes.values(), strict=True))
        split = {"dataset": train, **parts_of("train_val_split", train_val_split, ("train", "val"))}
        super().__init__(seed, test_dataset=[test], split_dataset=[split], **kwargs)

    def sources(self) -> Sequence[Source]:
        """The archive of the molecule."""
        return [Source(f"{self.URL}/{self._name}.zip", f"{self._name}.zip")]


class rMD17DataModule(Downloaded, NequIPDataModule):  # noqa: N801 - the public name
    """Revised MD17: ten small molecules at PBE, 100,000 frames each, converted from kcal/mol to eV.

    Args:
        dataset: the molecule.
        data_source_dir: folder of the files.
        transforms: applied to every frame, in order.
        seed: of split and order.
        train_val_test_split: frames or fractions.
        subset_len: use only as many frames, a random choice.
        **kwargs: of :class:`NequIPDataModule`.
    """

    NAMES = (
        "aspirin",
        "azobenzene",
        "benzene",
        "ethanol",
        "malonaldehyde",
        "naphthalene",
        "paracetamol",
        "salicylic",
        "toluene",
        "uracil",
    )
    URL = "https://figshare.com/ndownloader/articles/12672038/versions/3"
    KEY_MAPPING: ClassVar = {
        "coords": "pos",
        "nuclear_charges": "atomic_numbers",
        "energies": "total_energy",
        "forces": "forces",
    }

    def __init__(
        self,
        dataset: str,
        data_source_dir: str,
        transforms: Sequence[Any],
        seed: int,
        train_val_test_split: Sequence[float],
        subset_len: int | None = None,
        **kwargs: Any,
    ) -> None:
        name = choose("dataset", dataset, self.NAMES)
        self.data_source_dir = data_source_dir
        self.wanted = [Path(data_source_dir) / "rmd17" / "npz_data" / f"rmd17_{name}.npz"]
        whole: dict[str, Any] = npz_config_in_kcal(self.wanted[0], transforms, self.KEY_MAPPING)
        if subset_len is not None:
            whole = random_slice(whole, 0, subset_len, seed)
        parts = parts_of("train_val_test_split", train_val_test_split, ("train", "val", "test"))
        super().__init__(seed, split_dataset=[{"dataset": whole, **parts}], **kwargs)

    def sources(self) -> Sequence[Source]:
        """The archive with all molecules."""
        return [Source(self.URL, "rmd17_figshare_12672038_v3.zip")]

    def unpack(self, archive: Path, folder: Path) -> None:
        """The archive holds a tar file, which holds the molecules."""
        unpack(archive, folder, "rmd17.tar.bz2")
        inner = folder / "rmd17.tar.bz2"
        if not inner.is_file():
            raise DataError(f"{archive} holds no rmd17.tar.bz2; remove it to download it again")
        unpack(inner, folder)


class MD22DataModule(Downloaded, NequIPDataModule):
    """MD22: large molecules at PBE+MBD, converted from kcal/mol to eV, with the paper's numbers of training frames.

    Args:
        dataset: tetrapeptide, dha, stachyose, dna_atat, dna_atat_cgcg, buckyball_catcher or double_walled_nanotube.
        data_source_dir: folder of the files.
        transforms: applied to every frame, in order.
        seed: of split and order.
        train_val_split: frames or fractions of the paper's number of training frames; the others are the test set.
        **kwargs: of :class:`NequIPDataModule`.
    """

    # name -> file, frames for training and validation, frames in all
    FILES: ClassVar = {
        "tetrapeptide": ("md22_Ac-Ala3-NHMe.npz", 6000, 85109),
        "dha": ("md22_DHA.npz", 8000, 69753),
        "stachyose": ("md22_stachyose.npz", 8000, 27272),
        "dna_atat": ("md22_AT-AT.npz", 3000, 20001),
        "dna_atat_cgcg": ("md22_AT-AT-CG-CG.npz", 2000, 10153),
        "buckyball_catcher": ("md22_buckyball-catcher.npz", 600, 6102),
        "double_walled_nanotube": ("md22_double-walled_nanotube.npz", 800, 5032),
    }
    OTHER_NAMES: ClassVar = {"DHA": "dha", "AT_AT": "dna_atat", "AT_AT_CG_CG": "dna_atat_cgcg"}
    URL = "http://www.quantum-machine.org/gdml/repo/datasets"

    def __init__(
        self,
        dataset: str,
        data_source_dir: str,
        transforms: Sequence[Any],
        seed: int,
        train_val_split: Sequence[float],
        **kwargs: Any,
    ) -> None:
        name = choose("dataset", self.OTHER_NAMES.get(dataset, dataset), list(self.FILES))
        self._file, num_train, num_frames = self.FILES[name]
        self.data_source_dir = data_source_dir
        self.wanted = [Path(data_source_dir) / self._file]
        whole = npz_config_in_kcal(self.wanted[0], transforms)
        parts = parts_of("train_val_split", train_val_split, ("train", "val"))
        split = {"dataset": random_slice(whole, 0, num_train, seed), **parts}
        test = random_slice(whole, num_train, num_frames - num_train, seed)
        super().__init__(seed, split_dataset=[split], test_dataset=[test], **kwargs)

    def sources(self) -> Sequence[Source]:
        """The file of the molecule."""
        return [Source(f"{self.URL}/{self._file}", self._file)]


class NequIP3BPADataModule(Downloaded, ASEDataModule):
    """3BPA: a flexible drug-like molecule at three temperatures and along dihedral scans.

    Args:
        seed: of split and order.
        transforms: applied to every frame, in order.
        train_val_split: frames or fractions of the training set.
        data_source_dir: folder in which ``dataset_3BPA`` is.
        train_set: 300K or mixedT.
        test_sets: any of 300K, 600K, 1200K, dih_beta120, dih_beta150 and dih_beta180; all by default.
        **kwargs: of :class:`ASEDataModule`.
    """

    TEST_SETS = ("300K", "600K", "1200K", "dih_beta120", "dih_beta150", "dih_beta180")
    URL = "https://github.com/davkovacs/BOTNet-datasets/raw/refs/heads/main/dataset_3BPA.tar.gz"

    def __init__(
        self,
        seed: int,
        transforms: Sequence[Any],
        train_val_split: Sequence[float],
        data_source_dir: str,
        train_set: str = "300K",
        test_sets: Sequence[str] = TEST_SETS,
        **kwargs: Any,
    ) -> None:
        folder = Path(data_source_dir) / "dataset_3BPA"
        train = folder / f"train_{choose('train_set', train_set, ('300K', 'mixedT'))}.xyz"
        tests = [folder / f"test_{choose('test_sets', name, self.TEST_SETS)}.xyz" for name in test_sets]
        self.data_source_dir = data_source_dir
        self.wanted = [train, *tests]
        split = {"file_path": str(train), **parts_of("train_val_split", train_val_split, ("train", "val"))}
        paths = [str(path) for path in tests]
        super().__init__(seed, split_dataset=[split], test_file_path=paths, transforms=transforms, **kwargs)

    def sources(self) -> Sequence[Source]:
        """The archive."""
        return [Source(self.URL, "dataset_3BPA.tar.gz")]


class COLLDataModule(Downloaded, ASEDataModule):
    """COLL: collisions of small molecules of H, C and O, with the published sets.

    Args:
        seed: of the order.
        transforms: applied to every frame, in order.
        data_source_dir: folder of the files.
        **kwargs: of :class:`ASEDataModule`.
    """

    FILES: ClassVar = {"train": 25605734, "val": 25605737, "test": 25605740}
    URL = "https://figshare.com/ndownloader/files"

    def __init__(self, seed: int, transforms: Sequence[Any], data_source_dir: str, **kwargs: Any) -> None:
        self.data_source_dir = data_source_dir
        paths = {part: Path(data_source_dir) / f"coll_v1.2_AE_{part}.xyz" for part in self.FILES}
        self.wanted = list(paths.values())
        kwargs.update({f"{part}_file_path": str(path) for part, path in paths.items()})
        super().__init__(seed, transforms=transforms, **kwargs)

    def sources(self) -> Sequence[Source]:
        """The three files."""
        return [Source(f"{self.URL}/{number}", f"coll_v1.2_AE_{part}.xyz") for part, number in self.FILES.items()]
