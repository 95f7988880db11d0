"""The public data sets: one class per kind of file, and generated ones for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlip.data.ase_file import ase_frames
from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.frame_dataset import CACHE_MIB, FrameDataset, plain_indices
from mlip.data.frame_dict import frame_from_dict
from mlip.data.hdf5_file import HDF5Frames
from mlip.data.lmdb_file import LMDBFrames, write_lmdb
from mlip.data.npz_file import NPZFrames
from mlip.data.read_ase import from_ase
from mlip.data.transforms import Transform


class ASEDataset(FrameDataset):
    """The frames of a file ASE reads (extxyz, traj, vasprun.xml, ...).

    Extxyz files and trajectories are read frame by frame; others are read at once, because ASE reads them so.

    Args:
        file_path: the file.
        transforms: applied to each frame, in order.
        ase_args: passed to ``ase.io.read``.
        include_keys: further keys to carry along; ``"*"`` for all that hold numbers.
        exclude_keys: keys to leave out.
        key_mapping: key in the file -> public field name.
        cache_mib: memory for transformed frames, MiB.
    """

    def __init__(
        self,
        file_path: str | Path,
        transforms: Sequence[Transform] = (),
        ase_args: Mapping[str, Any] | None = None,
        include_keys: Sequence[str] = (),
        exclude_keys: Sequence[str] = (),
        key_mapping: Mapping[str, str] | None = None,
        cache_mib: float = CACHE_MIB,
    ) -> None:
        frames = ase_frames(file_path, ase_args, key_mapping, include_keys, exclude_keys)
        super().__init__(frames, transforms, str(file_path), cache_mib)


class NPZDataset(FrameDataset):
    """The frames of an NPZ file: one molecule in many conformations.

    Args:
        file_path: the file.
        transforms: applied to each frame, in order.
        key_mapping: array in the file -> public field name; sGDML's names by default.
        cache_mib: memory for transformed frames, MiB.
    """

    def __init__(
        self,
        file_path: str | Path,
        transforms: Sequence[Transform] = (),
        key_mapping: Mapping[str, str] | None = None,
        cache_mib: float = CACHE_MIB,
    ) -> None:
        super().__init__(NPZFrames(file_path, key_mapping), transforms, str(file_path), cache_mib, prepare=False)


class HDF5Dataset(FrameDataset):
    """The frames of HDF5 files: groups of frames with equal numbers of atoms.

    Args:
        file_name: the file, or several separated by semicolons.
        transforms: applied to each frame, in order.
        key_mapping: array in a group -> public field name.
        cache_mib: memory for transformed frames, MiB; none by default, since this format is for large data sets.
    """

    def __init__(
        self,
        file_name: str | Path,
        transforms: Sequence[Transform] = (),
        key_mapping: Mapping[str, str] | None = None,
        cache_mib: float = 0.0,
    ) -> None:
        super().__init__(HDF5Frames(file_name, key_mapping), transforms, str(file_name), cache_mib, prepare=False)


class NequIPLMDBDataset(FrameDataset):
    """The frames of an LMDB file, ours or the NequIP framework's.

    Args:
        file_path: the file.
        transforms: applied to each frame, in order.
        exclude_keys: fields to leave out.
        cache_mib: memory for transformed frames, MiB; none by default, since this format is for large data sets.
    """

    def __init__(
        self,
        file_path: str | Path,
        transforms: Sequence[Transform] = (),
        exclude_keys: Sequence[str] = (),
        cache_mib: float = 0.0,
    ) -> None:
        self._file = LMDBFrames(file_path, exclude_keys)
        super().__init__(self._file, transforms, str(file_path), cache_mib, prepare=False)

    @classmethod
    def save_from_iterator(
        cls,
        file_path: str | Path,
        iterator: Iterable[Frame | Mapping[str, Any]],
        map_size: int | None = None,  # noqa: ARG003 - as the docstring says
        write_frequency: int | None = None,  # noqa: ARG003 - the same
        extra_metadata: Sequence[Any] = (),
    ) -> None:
        """Write frames, or dictionaries of arrays by public field name, in our format.

        Args:
            file_path: where to; it appears whole or not at all.
            iterator: the frames.
            map_size: accepted for compatibility; the file grows as needed.
            write_frequency: accepted for compatibility.
            extra_metadata: objects with ``name``, ``extractor`` (of each item), ``reducer`` and ``initial``, whose
                results ``get_metadata`` gives; anything JSON can hold.
        """
        found = {spec.name: spec.initial for spec in extra_metadata}

        def frames() -> Iterable[Frame]:
            for item in iterator:
                for spec in extra_metadata:
                    found[spec.name] = spec.reducer(found[spec.name], spec.extractor(item))
                yield item if isinstance(item, Frame) else frame_from_dict(item)

        write_lmdb(file_path, frames(), found)

    def get_metadata(self, attr: str, idx: int | Sequence[int] | None = None) -> Any:
        """An entry of the file's description, or its values for some frames; None when there is none of that name.

        Args:
            attr: ``num_frames``, ``num_atoms_per_entry``, or what was written with ``extra_metadata``.
            idx: a frame, or several.
        """
        if attr == "num_atoms_per_entry":
            values: Any = self.num_atoms(slice(None))
        else:
            values = self._file.metadata.get(attr)
        if values is None or idx is None:
            return values
        plain = plain_indices(idx, len(self))
        return [values[i] for i in plain] if isinstance(plain, list) else values[plain]


class EMTTestDataset(FrameDataset):
    """Rattled fcc supercells of one element with ASE's EMT energies, forces and stress; for tests.

    Args:
        transforms: applied to each frame, in order.
        supercell: repetitions of the orthorhombic unit cell of two atoms.
        sigma: standard deviation of the displacements, Å.
        element: an element EMT knows (Al, Cu, Ag, Au, Ni, Pd, Pt).
        num_frames: how many.
        seed: of the displacements.
    """

    def __init__(
        self,
        transforms: Sequence[Transform] = (),
        supercell: Sequence[int] = (4, 4, 4),
        sigma: float = 0.1,
        element: str = "Cu",
        num_frames: int = 10,
        seed: int = 123456,
    ) -> None:
        super().__init__(_emt_frames(supercell, sigma, element, num_frames, seed), transforms, f"EMT {element}")


class LMDBTestDataset(NequIPLMDBDataset):
    """The frames of :class:`EMTTestDataset`, written to an LMDB file and read from it; for tests.

    Args:
        file_path: where to write.
        transforms: applied to each frame, in order.
        supercell: as in :class:`EMTTestDataset`, like what follows.
        sigma: standard deviation of the displacements, Å.
        element: an element EMT knows.
        num_frames: how many.
        seed: of the displacements.
    """

    def __init__(
        self,
        file_path: str | Path,
        transforms: Sequence[Transform] = (),
        supercell: Sequence[int] = (4, 4, 4),
        sigma: float = 0.1,
        element: str = "Cu",
        num_frames: int = 10,
        seed: int = 123456,
    ) -> None:
        write_lmdb(file_path, _emt_frames(supercell, sigma, element, num_frames, seed))
        super().__init__(file_path, transforms)


def _emt_frames(supercell: Sequence[int], sigma: float, element: str, num_frames: int, seed: int) -> list[Frame]:
    from mlip.data.emt import rattled_crystals

    if element not in ("Cu", "Pd", "Au", "Pt", "Al", "Ni", "Ag"):
        raise DataError(f"EMT has no parameters for {element!r}: choose Cu, Pd, Au, Pt, Al, Ni or Ag")
    return [from_ase(atoms) for atoms in rattled_crystals(element, tuple(supercell), sigma, num_frames, seed)]
