"""The public names of per-atom, per-edge and per-frame quantities, as configs and files speak them.

This is the only place where these names are listed. A name that is not listed may still travel with a frame when the
user asks for it (``include_keys``); then whether it is per atom or per frame follows from where it was read, or from
what ``register_fields`` was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

TOTAL_ENERGY = "total_energy"
ATOMIC_ENERGY = "atomic_energy"
FORCES = "forces"
STRESS = "stress"
VIRIAL = "virial"


class Kind(Enum):
    """What one row of a field belongs to."""

    NODE = "node"
    EDGE = "edge"
    GRAPH = "graph"


@dataclass(frozen=True)
class Field:
    """A public field.

    Attributes:
        kind: what one row belongs to.
        shape: the shape of one row.
        unit: in ASE's units.
        is_label: True when it is a target a model can be compared with, False for inputs.
    """

    kind: Kind
    shape: tuple[int, ...]
    unit: str = ""
    is_label: bool = True


FIELDS: dict[str, Field] = {
    "pos": Field(Kind.NODE, (3,), "Å", is_label=False),
    "atomic_numbers": Field(Kind.NODE, (), is_label=False),
    "atom_types": Field(Kind.NODE, (), is_label=False),
    "batch": Field(Kind.NODE, (), is_label=False),
    "num_atoms": Field(Kind.GRAPH, (), is_label=False),
    "cell": Field(Kind.GRAPH, (3, 3), "Å", is_label=False),
    "pbc": Field(Kind.GRAPH, (3,), is_label=False),
    "edge_index": Field(Kind.EDGE, (2,), is_label=False),
    "edge_cell_shift": Field(Kind.EDGE, (3,), is_label=False),
    TOTAL_ENERGY: Field(Kind.GRAPH, (1,), "eV"),
    ATOMIC_ENERGY: Field(Kind.NODE, (1,), "eV"),
    FORCES: Field(Kind.NODE, (3,), "eV/Å"),
    STRESS: Field(Kind.GRAPH, (3, 3), "eV/Å^3"),
    VIRIAL: Field(Kind.GRAPH, (3, 3), "eV"),
    "free_energy": Field(Kind.GRAPH, (1,), "eV"),
    "charge": Field(Kind.GRAPH, (1,), "e"),
    "spin": Field(Kind.GRAPH, (1,)),
    "dipole": Field(Kind.GRAPH, (3,), "e·Å"),
    "polarization": Field(Kind.GRAPH, (3,), "e·Å"),
    "polarizability": Field(Kind.GRAPH, (3, 3), "e·Å^2/V"),
    "born_charge": Field(Kind.NODE, (3, 3), "e"),
    "dataset": Field(Kind.GRAPH, (1,)),
    # read when a config asks for them: codes write them beside labels, often for some frames only
    "stresses": Field(Kind.NODE, (3, 3), "eV/Å^3", is_label=False),
    "charges": Field(Kind.NODE, (1,), "e", is_label=False),
    "magmom": Field(Kind.GRAPH, (1,), "μB", is_label=False),
    "magmoms": Field(Kind.NODE, (1,), "μB", is_label=False),
    "dielectric_tensor": Field(Kind.GRAPH, (3, 3), is_label=False),
    "born_effective_charges": Field(Kind.NODE, (3, 3), "e", is_label=False),
}

# What a frame is made of beside its labels.
STRUCTURE = (
    "pos",
    "atomic_numbers",
    "cell",
    "pbc",
    "atom_types",
    "edge_index",
    "edge_cell_shift",
    "num_atoms",
    "batch",
)

# Kinds of further fields, see register_fields.
REGISTERED: dict[str, Kind] = {}

# What a model predicts; anything else can be carried and written, not trained on.
PREDICTED_FIELDS = (TOTAL_ENERGY, ATOMIC_ENERGY, FORCES, STRESS, VIRIAL)

# ASE's names of calculator results and extxyz columns -> public names.
ASE_KEYS: dict[str, str] = {
    "energy": TOTAL_ENERGY,
    "energies": ATOMIC_ENERGY,
    "forces": FORCES,
    "stress": STRESS,
    "virial": VIRIAL,
}


def register_fields(
    graph_fields: Sequence[str] = (), node_fields: Sequence[str] = (), edge_fields: Sequence[str] = ()
) -> None:
    """Say what one row of further fields belongs to, for data whose shapes leave it open (frames of one atom).

    Args:
        graph_fields: names of per-frame fields.
        node_fields: names of per-atom fields.
        edge_fields: names of per-edge fields.

    Raises:
        TypeError: a single string instead of a list.
        ValueError: a name that stands for something else already.
    """
    for kind, names in ((Kind.GRAPH, graph_fields), (Kind.NODE, node_fields), (Kind.EDGE, edge_fields)):
        if isinstance(names, str):
            raise TypeError(f"register_fields takes lists of names, not the single name {names!r}")
        for name in names:
            known = FIELDS[name].kind if name in FIELDS else REGISTERED.get(name, kind)
            if known is not kind:
                raise ValueError(f"the field {name!r} is per {known.value} already; it cannot be per {kind.value} too")
            if name not in FIELDS:
                REGISTERED[name] = kind


def deregister_fields(*names: str) -> None:
    """Forget fields that ``register_fields`` was told about; others are left alone."""
    for name in names:
        REGISTERED.pop(name, None)


def is_label(name: str) -> bool:
    """Whether ``name`` is a known label."""
    return name in FIELDS and FIELDS[name].is_label
