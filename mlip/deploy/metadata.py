"""The strings stored beside a compiled model: what its callers must know, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import torch

import mlip
from mlip.deploy.acceleration import imports_of
from mlip.deploy.targets import TARGETS, Target
from mlip.models import Potential

MEMORY_KEY = "mlip_memory"
TABLES_KEY = "mlip_two_body_tables"


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a compiled model.

    Attributes:
        type_names: names of the atom types, in the order of ``atom_types``.
        r_max: cutoff radius, Å.
        model_dtype: "float32" or "float64".
        inputs, outputs: field names in order.
        device: device type it was compiled for, "cpu" or "cuda".
        per_edge_type_cutoff: (T, T) row-major, Å; empty for r_max everywhere.
        allow_tf32: whether matrix products may use TF32.
        threads: threads per process the code was compiled for; 0 if it follows the process.
        target: name of the target.
        num_layers: layers of message passing, 1 for a strictly local model; 0 if unknown.
        layer_widths: numbers per atom that pass from one layer to the next.
        ghost_types: whether ``atom_types`` may mark atoms of other processes, see Target.
        stages: whether the file also holds the model in pieces, see stages.py.
        libraries: modules of other packages whose kernels the code calls, to be imported before it is loaded.
        memory: bytes per atom and per edge that an evaluation takes on the GPU; empty if not measured.
        two_body_tables: intervals, errors and size of the tables of its two-body part, see tabulate.py; empty if none.
        provenance: versions, date and source.
    """

    type_names: list[str]
    r_max: float
    model_dtype: str
    inputs: list[str]
    outputs: list[str]
    device: str
    per_edge_type_cutoff: list[float] = field(default_factory=list)
    allow_tf32: bool = False
    threads: int = 0
    target: str = ""
    num_layers: int = 0
    layer_widths: list[int] = field(default_factory=list)
    ghost_types: bool = False
    stages: bool = False
    libraries: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    two_body_tables: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        potential: Potential,
        target: Target,
        device: str,
        *,
        allow_tf32: bool,
        threads: int,
        source: str,
        stages: bool = False,
        two_body_tables: Mapping[str, Any] = MappingProxyType({}),
    ) -> ModelMetadata:
        """Metadata of a potential that is about to be compiled."""
        cutoffs = potential.per_edge_type_cutoff
        return cls(
            type_names=potential.type_names,
            r_max=potential.r_max,
            model_dtype=str(potential.model_dtype).removeprefix("torch."),
            inputs=list(target.inputs),
            outputs=list(target.outputs),
            device=torch.device(device).type,
            per_edge_type_cutoff=[] if cutoffs is None else cutoffs.flatten().tolist(),
            allow_tf32=allow_tf32,
            threads=threads,
            target=target.name,
            num_layers=potential.num_layers,
            layer_widths=potential.layer_widths,
            ghost_types=target.ghost_types,
            stages=stages,
            two_body_tables=dict(two_body_tables),
            libraries=imports_of(potential, device),
            provenance={
                "mlip": mlip.__version__,
                "torch": str(torch.__version__),
                "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "source": source,
                "model": potential.config,
            },
        )

    def to_strings(self) -> dict[str, str]:
        """As stored, in the keys that the reference's programs read and a few of our own."""
        strings = {
            "r_max": repr(self.r_max),
            "type_names": " ".join(self.type_names),
            "num_types": str(len(self.type_names)),
            "model_dtype": self.model_dtype,
            "allow_tf32": str(int(self.allow_tf32)),
            "nequip_aoti_inputs": " ".join(self.inputs),
            "nequip_aoti_outputs": " ".join(self.outputs),
            "AOTI_DEVICE_KEY": self.device,
            "mlip_target": self.target,
            "mlip_provenance": json.dumps(self.provenance),
        }
        optional = {
            "num_threads": str(self.threads) if self.threads else "",
            "per_edge_type_cutoff": " ".join(repr(cutoff) for cutoff in self.per_edge_type_cutoff),
            "mlip_num_layers": str(self.num_layers) if self.num_layers else "",
            "mlip_layer_widths": " ".join(str(width) for width in self.layer_widths),
            "mlip_ghost_types": "1" if self.ghost_types else "",
            "mlip_stages": "1" if self.stages else "",
            "mlip_libraries": " ".join(self.libraries),
            MEMORY_KEY: " ".join(repr(size) for size in self.memory),
            TABLES_KEY: json.dumps(self.two_body_tables) if self.two_body_tables else "",
        }
        return strings | {key: value for key, value in optional.items() if value}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str]) -> ModelMetadata:
        """From what a file holds; files of the reference lack our own keys, old ones also the fields.

        Raises:
            KeyError: a key without which the model cannot be called is missing.
        """
        return cls(
            type_names=strings["type_names"].split(),
            r_max=float(strings["r_max"]),
            model_dtype=strings.get("model_dtype", "float32"),
            inputs=strings.get("nequip_aoti_inputs", "").split() or list(TARGETS["ase"].inputs),
            outputs=strings.get("nequip_aoti_outputs", "").split() or list(TARGETS["ase"].outputs),
            device=strings.get("AOTI_DEVICE_KEY", ""),
            per_edge_type_cutoff=[float(cutoff) for cutoff in strings.get("per_edge_type_cutoff", "").split()],
            allow_tf32=strings.get("allow_tf32", "0") == "1",
            threads=int(strings.get("num_threads", "0")),
            target=strings.get("mlip_target", ""),
            num_layers=int(strings.get("mlip_num_layers", "0")),
            layer_widths=[int(width) for width in strings.get("mlip_layer_widths", "").split()],
            ghost_types=strings.get("mlip_ghost_types", "0") == "1",
            stages=strings.get("mlip_stages", "0") == "1",
            libraries=strings.get("mlip_libraries", "").split(),
            memory=[float(size) for size in strings.get(MEMORY_KEY, "").split()],
            two_body_tables=json.loads(strings.get(TABLES_KEY, "{}")),
            provenance=json.loads(strings.get("mlip_provenance", "{}")),
        )
