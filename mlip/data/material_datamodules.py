"""Published data sets of materials that configs may name.

Each class downloads its files into ``data_source_dir`` unless they are there. None of the publishers gives checksums;
see :class:`mlip.data.download.Source` for what is done about that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mlip.data.datamodule import ASEDataModule
from mlip.data.download import Source
from mlip.data.published import Downloaded, choose, parts_of


class TM23DataModule(Downloaded, ASEDataModule):
    """TM23: 27 transition metals, frames of cold, warm and molten cells together.

    Args:
        seed: of split and order.
        data_source_dir: folder in which ``benchmarking_master_collection`` is.
        element: the metal.
        transforms: applied to every frame, in order.
        train_val_split: frames or fractions of the published training set.
        **kwargs: of :class:`ASEDataModule`.
    """

    # fmt: off
    ELEMENTS = (
        "Ag", "Au", "Cd", "Co", "Cr", "Cu", "Fe", "Hf", "Hg", "Ir", "Mn", "Mo", "Nb", "Ni", "Os", "Pd", "Pt", "Re",
        "Rh", "Ru", "Ta", "Tc", "Ti", "V", "W", "Zn", "Zr",
    )
    # fmt: on
    FOLDER = "benchmarking_master_collection"
    URL = (
        "https://archive.materialscloud.org/records/tcrks-ymp88/files/"
        "benchmarking_master_collection-20240316T202423Z-001.zip?download=1"
    )

    def __init__(
        self,
        seed: int,
        data_source_dir: str,
        element: str,
        transforms: Sequence[Any],
        train_val_split: Sequence[float],
        **kwargs: Any,
    ) -> None:
        name = choose("element", element, self.ELEMENTS)
        folder = Path(data_source_dir) / self.FOLDER
        train, test = (folder / f"{name}_2700cwm_{part}.xyz" for part in ("train", "test"))
        self.data_source_dir = data_source_dir
        self.wanted = [train, test]
        split = {"file_path": str(train), **parts_of("train_val_split", train_val_split, ("train", "val"))}
        settings = {"ase_args": {"format": "extxyz"}, **kwargs}
        super().__init__(seed, split_dataset=[split], test_file_path=[str(test)], transforms=transforms, **settings)

    def sources(self) -> Sequence[Source]:
        """The archive with all metals."""
        return [Source(self.URL, f"{self.FOLDER}.zip")]


class SAMD23DataModule(Downloaded, ASEDataModule):
    """SAMD23: amorphous and crystalline HfO and SiN for semiconductors, with the published sets.

    Args:
        seed: of the order.
        transforms: applied to every frame, in order.
        data_source_dir: folder in which ``HfO`` or ``SiN`` is.
        system: HfO or SiN.
        include_ood: also test on the frames unlike those in training, as a second test set.
        **kwargs: of :class:`ASEDataModule`.
    """

    URLS: ClassVar = {
        "HfO": "https://drive.usercontent.google.com/download?id=1-DVMGyXjvNYaBtaAkWu8uQVgvz8pEgMZ&export=download&confirm=t",
        "SiN": "https://drive.usercontent.google.com/download?id=1l9nsie40Bpm8CNW4sx94yAuvmMkUfM3b&export=download&confirm=t",
    }

    def __init__(
        self,
        seed: int,
        transforms: Sequence[Any],
        data_source_dir: str,
        system: str = "HfO",
        include_ood: bool = True,
        **kwargs: Any,
    ) -> None:
        self._system = choose("system", system.strip(), list(self.URLS))
        folder = Path(data_source_dir) / self._system
        train, val, test, unlike = (folder / f"{part}.xyz" for part in ("Trainset", "Validset", "Testset", "OOD"))
        self.data_source_dir = data_source_dir
        tests = [test, unlike] if include_ood else [test]
        self.wanted = [train, val, *tests]
        super().__init__(
            seed,
            train_file_path=str(train),
            val_file_path=str(val),
            test_file_path=[str(path) for path in tests],
            transforms=transforms,
            **kwargs,
        )

    def sources(self) -> Sequence[Source]:
        """The archive of the system."""
        return [Source(self.URLS[self._system], f"{self._system}.tar")]


class WaterDataModule(Downloaded, ASEDataModule):
    """Liquid water and ice at revPBE0-D3, 1593 frames (Cheng et al., PNAS 2019).

    Args:
        seed: of split and order.
        transforms: applied to every frame, in order.
        data_source_dir: folder of the file.
        train_val_test_split: frames or fractions.
        **kwargs: of :class:`ASEDataModule`.
    """

    FILE = "dataset_1593_eVAng.xyz"
    URL = (
        "https://github.com/BingqingCheng/Mapping-the-space-of-materials-and-molecules/raw/refs/heads/master/mlp-water/"
        "dataset_1593_eVAng.xyz"
    )

    def __init__(
        self,
        seed: int,
        transforms: Sequence[Any],
        data_source_dir: str,
        train_val_test_split: Sequence[float],
        **kwargs: Any,
    ) -> None:
        path = Path(data_source_dir) / self.FILE
        self.data_source_dir = data_source_dir
        self.wanted = [path]
        parts = parts_of("train_val_test_split", train_val_test_split, ("train", "val", "test"))
        mapping = {"TotEnergy": "total_energy", "force": "forces"}
        settings = {"key_mapping": mapping, **kwargs}
        super().__init__(seed, split_dataset=[{"file_path": str(path), **parts}], transforms=transforms, **settings)

    def sources(self) -> Sequence[Source]:
        """The file."""
        return [Source(self.URL, self.FILE)]
