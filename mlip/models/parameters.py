"""Ranges of model parameters, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# smallest value; None is allowed where it is a parameter's default
_WHOLE_NUMBERS = {
    "l_max": 0,
    "num_layers": 1,
    "num_features": 1,
    "num_scalar_features": 1,
    "num_tensor_features": 1,
    "type_embed_num_features": 1,
    "radial_chemical_embed_dim": 1,
    "num_bessels": 1,
    "radial_mlp_depth": 0,
    "radial_mlp_width": 1,
    "scalar_embed_mlp_hidden_layers_depth": 0,
    "scalar_embed_mlp_hidden_layers_width": 1,
    "allegro_mlp_hidden_layers_depth": 0,
    "allegro_mlp_hidden_layers_width": 1,
    "readout_mlp_hidden_layers_depth": 0,
    "readout_mlp_hidden_layers_width": 1,
}
_LISTS_ALLOWED = ("num_features", "radial_mlp_depth", "radial_mlp_width")
_NONE_ALLOWED = ("type_embed_num_features", "radial_chemical_embed_dim", "readout_mlp_hidden_layers_width")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the values of a model's parameters.

    Raises:
        ValueError: a value is of the wrong kind or out of range; the message names it.
    """
    for name, minimum in _WHOLE_NUMBERS.items():
        if name not in parameters or (parameters[name] is None and name in _NONE_ALLOWED):
            continue
        value = parameters[name]
        values = value if name in _LISTS_ALLOWED and isinstance(value, Sequence) else [value]
        if not all(isinstance(v, int) and not isinstance(v, bool) and v >= minimum for v in values):
            raise ValueError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    names = parameters["type_names"]
    if isinstance(names, str) or not names or not all(isinstance(name, str) and name.isalnum() for name in names):
        raise ValueError(f"type_names must be a list of names made of letters and digits, got {names!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"type_names must differ from each other, got {names}")
    r_max = parameters["r_max"]
    if isinstance(r_max, bool) or not isinstance(r_max, (int, float)) or not r_max > 0:
        raise ValueError(f"r_max must be a positive number (Å), got {r_max!r}")
