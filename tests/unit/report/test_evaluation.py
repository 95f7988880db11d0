"""Errors of predictions, summed up frame by frame."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mlip.report.evaluation import SAMPLE, WORST, Evaluation, FrameValues, Series, joined

RANDOM = np.random.default_rng(0)


def frame(error: float, atoms: int = 4) -> tuple[list[str], FrameValues, FrameValues]:
    """Symbols, labels and predictions that are off by ``error`` everywhere."""
    forces = RANDOM.normal(size=(atoms, 3))
    symbols = ["O", *["H"] * (atoms - 1)]
    return symbols, FrameValues(-1.0, forces), FrameValues(-1.0 + error * atoms, forces + error)


def test_errors_are_exact_while_the_sample_stays_small() -> None:
    labels = RANDOM.normal(size=5 * SAMPLE)
    predictions = labels + RANDOM.normal(size=len(labels))
    series = Series()
    for part in range(0, len(labels), 777):
        series.add(labels[part : part + 777], predictions[part : part + 777])
    errors = np.abs(predictions - labels)
    assert series.count == len(labels)
    assert series.mae == pytest.approx(errors.mean())
    assert series.rmse == pytest.approx(math.sqrt((errors**2).mean()))
    assert series.largest == errors.max()
    assert SAMPLE / 2 < len(series.labels) <= SAMPLE
    assert series.labels == labels[:: series.stride].tolist(), "the sample is even"


def test_missing_labels_do_not_count() -> None:
    series = Series()
    series.add(np.array([1.0, math.nan, 3.0]), np.array([1.5, 7.0, 3.0]))
    assert (series.count, series.largest) == (2, 0.5)


def test_energies_are_per_atom_and_forces_by_element() -> None:
    evaluation = Evaluation("test0")
    symbols, labels, predictions = frame(0.1)
    evaluation.add(0, symbols, labels, predictions)
    assert evaluation.energy.rmse == pytest.approx(0.1)
    assert {symbol: series.count for symbol, series in evaluation.forces.items()} == {"O": 3, "H": 9}
    assert evaluation.all_forces().mae == pytest.approx(0.1)
    assert "stress" not in evaluation.numbers()


def test_the_worst_frames_come_first_with_their_index() -> None:
    evaluation = Evaluation("test0")
    errors = RANDOM.permutation(3 * WORST) / 100
    for index, error in enumerate(errors):
        evaluation.add(index, *frame(float(error)))
    worst = evaluation.worst["force_rmse"]
    assert [frame.index for frame in worst] == np.argsort(-errors)[:WORST].tolist()
    assert worst[0].formula == "H3O"
    assert worst[0].force_rmse == pytest.approx(errors.max())


def test_a_prediction_that_is_no_number_is_the_worst() -> None:
    evaluation = Evaluation("test0")
    evaluation.add(0, *frame(5.0))
    evaluation.add(1, *frame(math.nan))
    assert evaluation.worst["energy"][0].index == 1
    assert evaluation.worst["force_rmse"][0].index == 1


def test_parts_joined_are_the_whole() -> None:
    whole, parts = Evaluation("test0"), [Evaluation("test0"), Evaluation("test0")]
    for index in range(20):
        one = frame(index / 100)
        whole.add(index, *one)
        parts[index % 2].add(index, *one)
    parts[0].join(Evaluation.from_plain(json.loads(json.dumps(parts[1].to_plain()))))
    found, expected = parts[0].numbers(), whole.numbers()
    assert found["forces"] == pytest.approx(expected["forces"])
    assert [f["index"] for f in found["worst"]["energy"]] == [f["index"] for f in expected["worst"]["energy"]]


def test_data_sets_joined_keep_their_frames_apart() -> None:
    one, other = Evaluation("test0", seconds=1.0), Evaluation("test1", seconds=2.0)
    one.add(0, *frame(0.1))
    other.add(0, *frame(0.2))
    both = joined([one, other])
    assert (both.name, both.frames, both.seconds) == ("test0, test1", 2, 3.0)
    assert [frame.data_set for frame in both.worst["energy"]] == ["test1", "test0"]
