"""What data modules of published data sets share: files that are downloaded unless they are there, and their units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlip.data.download import Source, download, unpack
from mlip.data.errors import DataError
from mlip.data.frame import Frame

KCAL_PER_MOL = 0.0433641  # eV, with the digits the NequIP framework uses


class KcalPerMolToEV:
    """Energies and forces from kcal/mol and kcal/(mol Å) to eV and eV/Å."""

    def __call__(self, frame: Frame) -> Frame:
        """The frame in eV and Å."""
        present = [name for name in ("total_energy", "forces") if name in frame.labels]
        return replace(frame, labels={**frame.labels, **{name: frame.labels[name] * KCAL_PER_MOL for name in present}})


class Downloaded:
    """The part all share: files that are wanted, and where they come from."""

    data_source_dir: str
    wanted: Sequence[Path]

    def sources(self) -> Sequence[Source]:
        """What to download."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Download and unpack what is not there yet.

        Raises:
            DataError: offline, or the archive does not hold the files.
        """
        missing = [path for path in self.wanted if not path.is_file()]
        if not missing:
            return
        folder = Path(self.data_source_dir)
        for source in self.sources():
            path = download(source, folder)
            if path not in self.wanted:
                self.unpack(path, folder)
        if still := [path for path in missing if not path.is_file()]:
            raise DataError(f"{still[0]} is not in what was downloaded; put it there by hand")

    def unpack(self, archive: Path, folder: Path) -> None:
        """Unpack a downloaded archive."""
        unpack(archive, folder)


def choose(what: str, name: str, known: Sequence[str]) -> str:
    """The name, if it is known.

    Raises:
        DataError: it is not; lists those that are.
    """
    if name not in known:
        raise DataError(f"{what} is {name!r}; choose one of {', '.join(known)}")
    return name


def parts_of(option: str, values: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    """Part -> number of frames or fraction.

    Raises:
        DataError: too few or too many numbers.
    """
    if len(values) != len(names):
        raise DataError(
            f"{option} takes {len(names)} numbers of frames or fractions ({', '.join(names)}), not {values}"
        )
    return dict(zip(names, values, strict=True))


def random_slice(dataset: Mapping[str, Any], start: int, length: int, seed: int) -> dict[str, Any]:
    """The config of a random slice of a data set."""
    return {
        "_target_": "mlip.data.splits.SubsetByRandomSlice",
        "dataset": dataset,
        "start": start,
        "length": length,
        "seed": seed,
    }


def npz_config(path: Path, transforms: Sequence[Any], key_mapping: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The config of an NPZ data set."""
    config = {"_target_": "mlip.data.datasets.NPZDataset", "file_path": str(path), "transforms": list(transforms)}
    return config if key_mapping is None else {**config, "key_mapping": dict(key_mapping)}


def npz_config_in_kcal(path: Path, transforms: Sequence[Any], key_mapping: Mapping[str, str] | None = None) -> Any:
    """The same for files in kcal/mol."""
    conversion = {"_target_": "mlip.data.published.KcalPerMolToEV"}
    return npz_config(path, [*transforms, conversion], key_mapping)
