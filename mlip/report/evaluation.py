"""Predictions beside labels, summed up while they come: errors, a sample for figures, and the worst frames."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAMPLE = 6000  # pairs kept of each series for figures; more would only darken them
WORST = 10  # frames listed
_DIGITS = 8


@dataclass
class Series:
    """Pairs of label and prediction: exact errors of all of them, and an even sample of them.

    Attributes:
        count: pairs seen; those without a label (NaN) do not count.
        absolute: sum of absolute errors.
        squared: sum of squared errors.
        largest: largest absolute error.
        labels: of the sample.
        predictions: of the sample.
        stride: every how many-th pair is in the sample.
    """

    count: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    largest: float = 0.0
    labels: list[float] = field(default_factory=list)
    predictions: list[float] = field(default_factory=list)
    stride: int = 1

    def add(self, labels: Floats, predictions: Floats) -> None:
        """Take in pairs, of equal shapes."""
        known = ~np.isnan(labels)
        label, guess = labels[known], predictions[known]
        if not len(label):
            return
        errors = np.abs(guess - label)
        taken = slice(-self.count % self.stride, None, self.stride)
        self.labels.extend(label[taken].tolist())
        self.predictions.extend(guess[taken].tolist())
        self.count += len(label)
        self.absolute += float(errors.sum())
        self.squared += float((errors**2).sum())
        self.largest = float(max(self.largest, errors.max()))
        self._thin()

    def join(self, other: Series) -> None:
        """Take in what another has seen."""
        self.count += other.count
        self.absolute += other.absolute
        self.squared += other.squared
        self.largest = max(self.largest, other.largest)
        self.labels.extend(other.labels)
        self.predictions.extend(other.predictions)
        self.stride = max(self.stride, other.stride)
        self._thin()

    def _thin(self) -> None:
        while len(self.labels) > SAMPLE:
            self.labels, self.predictions = self.labels[::2], self.predictions[::2]
            self.stride *= 2

    @property
    def mae(self) -> float:
        """Mean absolute error; NaN without any pairs."""
        return self.absolute / self.count if self.count else math.nan

    @property
    def rmse(self) -> float:
        """Root of the mean of squared errors; NaN without any pairs."""
        return math.sqrt(self.squared / self.count) if self.count else math.nan

    def numbers(self) -> dict[str, float]:
        """The errors."""
        return {"count": self.count, "mae": self.mae, "rmse": self.rmse, "max": self.largest}


@dataclass(frozen=True)
class FrameErrors:
    """How far off one frame is.

    Attributes:
        data_set: name of its data set, such as ``test0``.
        index: its place in the data set's file, from 0.
        formula: Hill's.
        atoms: how many.
        energy: prediction minus label, eV/atom; None without a label.
        force_rmse: over all components, eV/Å; None without labels.
        force_max: the largest error of a component, eV/Å; None without labels.
    """

    data_set: str
    index: int
    formula: str
    atoms: int
    energy: float | None
    force_rmse: float | None
    force_max: float | None

    def severity(self, by: str) -> float:
        """The size of an error, ``energy`` or ``force_rmse``; an error that is no number is the worst."""
        value = getattr(self, by)
        if value is None:
            return -math.inf
        return math.inf if math.isnan(value) else abs(value)


@dataclass(frozen=True)
class FrameValues:
    """Labels or predictions of one frame; None for what it does not have.

    Attributes:
        energy: eV.
        forces: (N, 3), eV/Å.
        stress: (3, 3) or six components, eV/Å^3; the same in labels and predictions.
    """

    energy: float | None = None
    forces: Floats | None = None
    stress: Floats | None = None


@dataclass
class Evaluation:
    """What a model gets right and wrong on one data set.

    Attributes:
        name: of the data set, such as ``test0``.
        source: the file, in words.
        model: whose predictions, in words.
        frames: how many were seen.
        atoms: how many were seen.
        seconds: the time it took, with reading and batching; 0 if not measured.
        energy: per atom, eV.
        forces: element -> components, eV/Å.
        stress: components, eV/Å^3.
        worst: the worst frames by ``energy`` and by ``force_rmse``, worst first.
    """

    name: str
    source: str = ""
    model: str = ""
    frames: int = 0
    atoms: int = 0
    seconds: float = 0.0
    energy: Series = field(default_factory=Series)
    forces: dict[str, Series] = field(default_factory=dict)
    stress: Series = field(default_factory=Series)
    worst: dict[str, list[FrameErrors]] = field(default_factory=lambda: {"energy": [], "force_rmse": []})

    def add(self, index: int, symbols: Sequence[str], labels: FrameValues, predictions: FrameValues) -> None:
        """Take in a frame.

        Args:
            index: its place in the file.
            symbols: element, or type name, of each atom.
            labels: what it should be.
            predictions: what the model says.
        """
        count = len(symbols)
        self.frames += 1
        self.atoms += count
        energy = force_rmse = force_max = None
        if labels.energy is not None and predictions.energy is not None and not math.isnan(labels.energy):
            pair = np.array([labels.energy, predictions.energy]) / max(count, 1)
            self.energy.add(pair[:1], pair[1:])
            energy = float(pair[1] - pair[0])
        if labels.forces is not None and predictions.forces is not None:
            self._add_forces(np.asarray(symbols), labels.forces, predictions.forces)
            errors = np.abs(predictions.forces - labels.forces)[~np.isnan(labels.forces)]
            if len(errors):
                force_rmse, force_max = float(np.sqrt((errors**2).mean())), float(errors.max())
        if labels.stress is not None and predictions.stress is not None:
            self.stress.add(np.asarray(labels.stress).ravel(), np.asarray(predictions.stress).ravel())
        self._rank([FrameErrors(self.name, index, formula(symbols), count, energy, force_rmse, force_max)])

    def _add_forces(self, symbols: NDArray[np.str_], labels: Floats, predictions: Floats) -> None:
        for symbol in dict.fromkeys(symbols.tolist()):
            mine = symbols == symbol
            self.forces.setdefault(symbol, Series()).add(labels[mine].ravel(), predictions[mine].ravel())

    def _rank(self, frames: Sequence[FrameErrors]) -> None:
        for by, known in self.worst.items():
            candidates = {
                (frame.data_set, frame.index): frame for frame in [*known, *frames] if frame.severity(by) >= 0
            }
            self.worst[by] = heapq.nlargest(WORST, candidates.values(), key=lambda frame: frame.severity(by))

    def join(self, other: Evaluation) -> None:
        """Take in what another has seen: another process' part of the data set, or another data set."""
        self.frames += other.frames
        self.atoms += other.atoms
        self.seconds = max(self.seconds, other.seconds)
        self.energy.join(other.energy)
        self.stress.join(other.stress)
        for symbol, series in other.forces.items():
            self.forces.setdefault(symbol, Series()).join(series)
        self._rank([frame for frames in other.worst.values() for frame in frames])

    def all_forces(self) -> Series:
        """The forces of all elements."""
        whole = Series()
        for series in self.forces.values():
            whole.join(series)
        return whole

    def numbers(self) -> dict[str, Any]:
        """Everything but the samples, as plain values: eV/atom, eV/Å, eV/Å^3."""
        series = {"per_atom_energy": self.energy, "forces": self.all_forces(), "stress": self.stress}
        return {
            "name": self.name,
            "source": self.source,
            "model": self.model,
            "frames": self.frames,
            "atoms": self.atoms,
            "seconds": self.seconds,
            **{name: one.numbers() for name, one in series.items() if one.count},
            "forces_by_element": {symbol: one.numbers() for symbol, one in sorted(self.forces.items())},
            "worst": {by: [asdict(frame) for frame in frames] for by, frames in self.worst.items() if frames},
        }

    def to_plain(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return _rounded(asdict(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Evaluation:
        """From what :meth:`to_plain` gave.

        Raises:
            TypeError, KeyError: it is not that.
        """
        return cls(
            **{
                **plain,
                "energy": Series(**plain["energy"]),
                "stress": Series(**plain["stress"]),
                "forces": {symbol: Series(**series) for symbol, series in plain["forces"].items()},
                "worst": {by: [FrameErrors(**frame) for frame in frames] for by, frames in plain["worst"].items()},
            }
        )


def joined(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Several data sets as one."""
    whole = Evaluation(", ".join(evaluation.name for evaluation in evaluations))
    for evaluation in evaluations:
        whole.join(evaluation)
    whole.seconds = sum(evaluation.seconds for evaluation in evaluations)
    return whole


def formula(symbols: Sequence[str]) -> str:
    """Hill's formula."""
    from ase.formula import Formula

    return str(Formula.from_dict(Counter(symbols)).format("hill"))


def _rounded(value: Any) -> Any:
    """Numbers with as many digits as figures and tables need, so that the file stays small."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
