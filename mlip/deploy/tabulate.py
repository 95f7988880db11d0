"""The two-body part of a model as tables while it is compiled: see nn/two_body_table.py.

What a model computes of the length and the types of an edge alone is most of NequIP's arithmetic (its radial networks)
and a third of Allegro's. Files hold it as tables, made in float64 with as many intervals as the wanted accuracy takes.
Training keeps the networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlip.models import Potential, build_model
from mlip.models.allegro import Allegro
from mlip.models.nequip import Interaction, NequIP
from mlip.nn.kernels.table import polynomials
from mlip.nn.tiles import EdgeTiles
from mlip.nn.two_body_table import (
    NUM_COEFFICIENTS,
    RadialFunctions,
    TwoBodyTable,
    quintic_coefficients,
    with_derivatives,
)

# Largest error of values and of slopes, each relative to its largest magnitude; float32 arithmetic itself loses 1e-7.
DEFAULT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 0.0}
_INTERVALS = (32, 64, 128, 256, 512, 1024, 2048)
# Of tables that hold a network's wide last layer, too: beyond a processor's second cache the product is cheaper.
_MOST_BYTES_WIDE = 3 << 20
# Larger tables leave every cache and cost more than the networks that they stand for.
_MOST_BYTES = 64 << 20
_POINTS_PER_INTERVAL = 3


@dataclass(frozen=True)
class TableRecord:
    """What is known of the tables of a file.

    Attributes:
        intervals: of each function, between u = 0 and the cutoff.
        value_error, slope_error: the largest found, relative to the largest value and slope of the same function.
        tolerance: what these were asked to be below.
        size: bytes of all tables.
    """

    intervals: int
    value_error: float
    slope_error: float
    tolerance: float
    size: int


@dataclass(frozen=True)
class _Part:
    """A piece of a model that can become a table.

    Attributes:
        holder: the module that looks it up.
        functions: what it computes, in float64, for each pair of types (centre, neighbour), or once for all.
        most_bytes: of a table worth having.
    """

    holder: Allegro | Interaction
    functions: list[RadialFunctions]
    most_bytes: int = _MOST_BYTES


@contextmanager
def tabulated(potential: Potential, tolerance: float | None = None) -> Iterator[TableRecord | None]:
    """Within it the potential looks up its two-body part in tables.

    Args:
        potential: in evaluation mode.
        tolerance: largest error of values and slopes, relative; zero for no tables. None for 1e-6 in float32 models and
            none in float64 ones, whose numbers should be those of the network to the last digits.

    Yields:
        What the tables are like; None where there are none: none are wanted, the model has no such part, or tables of
        that accuracy would be too large.
    """
    tolerance = DEFAULT_TOLERANCE[potential.model_dtype] if tolerance is None else tolerance
    choices = _choices(potential) if tolerance > 0.0 else []
    for parts in choices:
        made = _tables(parts, tolerance, potential)
        if made is not None:
            break
    else:
        yield None
        return
    tables, record = made
    try:
        for part, table in zip(parts, tables, strict=True):
            part.holder.two_body_table = table
        yield record
    finally:
        for part in parts:
            part.holder.two_body_table = None


def _choices(potential: Potential) -> list[list[_Part]]:
    """What could become tables, the best choice first."""
    architecture, num_types = potential.architecture, len(potential.type_names)
    if not isinstance(architecture, (Allegro, NequIP)):
        return []
    exact = build_model(potential.config | {"model_dtype": "float64", "compile_mode": "eager"})
    exact.load_state_dict(potential.state_dict())
    network = exact.eval().requires_grad_(requires_grad=False).architecture
    if isinstance(architecture, Allegro) and isinstance(network, Allegro):
        pairs = list(itertools.product(range(num_types), repeat=2))
        wide = [_pair_functions(partial(_whole_two_body, network), *pair) for pair in pairs]
        narrow = [_pair_functions(network.two_body_hidden, *pair) for pair in pairs]
        return [[_Part(architecture, wide, _MOST_BYTES_WIDE)], [_Part(architecture, narrow)]]
    if isinstance(architecture, NequIP) and isinstance(network, NequIP):
        layers = zip(architecture.interactions, network.interactions, strict=True)
        return [[_Part(layer, [partial(_radial_weights, network, source)]) for layer, source in layers]]
    return []


def _whole_two_body(network: Allegro, u: Tensor, atom_types: Tensor, tiles: EdgeTiles) -> Tensor:
    return torch.cat(network.two_body(u, atom_types, tiles), dim=-1)


def _pair_functions(two_body: Callable[..., Tensor], centre: int, neighbour: int) -> RadialFunctions:
    def functions(u: Tensor) -> Tensor:
        whole = torch.ones(1, len(u), dtype=torch.int64)
        tiles = EdgeTiles(torch.zeros(1, dtype=torch.int64), whole, whole, whole.bool(), num_atoms=2)
        return two_body(u.unsqueeze(0), torch.tensor([centre, neighbour]), tiles).squeeze(0)

    return functions


def _radial_weights(network: NequIP, layer: Interaction, u: Tensor) -> Tensor:
    weights: Tensor = layer.radial_mlp(network.radial(u))
    return weights


def _tables(
    parts: list[_Part], tolerance: float, potential: Potential
) -> tuple[list[TwoBodyTable], TableRecord] | None:
    """The coarsest tables of that accuracy, in the model's dtype on its device."""
    device = potential.cutoff_reciprocal.device
    width = sum(len(part.functions) * part.functions[0](torch.ones(1, dtype=torch.float64)).shape[1] for part in parts)
    for intervals in _INTERVALS:
        size = width * (intervals + 1) * NUM_COEFFICIENTS * potential.model_dtype.itemsize
        if size > min(part.most_bytes for part in parts):
            return None
        found = [[_table(functions, intervals) for functions in part.functions] for part in parts]
        values, slopes = (max(errors) for errors in zip(*(e for part in found for _, e in part), strict=True))
        if max(values, slopes) <= tolerance:
            stacked = [torch.stack([table for table, _ in part]).to(device, potential.model_dtype) for part in found]
            tables = [TwoBodyTable(coefficients, len(potential.type_names)) for coefficients in stacked]
            return tables, TableRecord(intervals, values, slopes, tolerance, size)
    return None


def _table(functions: RadialFunctions, intervals: int) -> tuple[Tensor, tuple[float, float]]:
    """Coefficients, and the largest errors of values and slopes between the knots."""
    coefficients = quintic_coefficients(functions, intervals)
    fractions = (torch.arange(_POINTS_PER_INTERVAL, dtype=torch.float64) + 0.5) / _POINTS_PER_INTERVAL
    row = torch.arange(intervals).repeat_interleave(_POINTS_PER_INTERVAL)
    x = fractions.repeat(intervals)
    u = (row + 1.0 - x) / intervals
    expected = with_derivatives(functions, u)[:2]
    powers = torch.arange(1, NUM_COEFFICIENTS, dtype=torch.float64).view(1, -1, 1)
    of_slopes = coefficients[:, 1:] * powers * -intervals
    found = (polynomials(coefficients, row, x), polynomials(of_slopes, row, x))
    value, slope = (_largest_error(*pair) for pair in zip(found, expected, strict=True))
    return coefficients, (value, slope)


def _largest_error(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest magnitude of each function; functions that are next to nothing count by the others'."""
    scale = expected.abs().amax(0)
    scale = scale.clamp(min=1e-3 * float(scale.max()))
    return float(((found - expected).abs() / scale).max()) if float(scale.max()) else 0.0
