"""From the public parameters of a model to a potential."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from mlip.cutoffs import PerEdgeTypeCutoff, cutoff_matrix
from mlip.models.allegro import Allegro
from mlip.models.irreps_config import BY_IRREPS
from mlip.models.nequip import Category, NequIP
from mlip.models.pair_potentials import ZBL, LennardJones, SimpleLennardJones
from mlip.models.parameters import check_parameters
from mlip.models.potential import Potential
from mlip.nn.radial_chemical import TwoBodyBesselEmbedding, TwoBodySplineEmbedding
from mlip.nn.scale_shift import PerType, PerTypeScaleShift

DTYPES = {"float32": torch.float32, "float64": torch.float64}
COMPILE_MODES = ("eager", "compile")

PAIR_POTENTIALS: dict[str, type[nn.Module]] = {
    "ZBL": ZBL,
    "LennardJones": LennardJones,
    "SimpleLennardJones": SimpleLennardJones,
}
PRESETS: dict[str, dict[str, Any]] = {
    "S": {"num_layers": 2, "l_max": 1, "num_features": [128, 64]},
    "M": {"num_layers": 4, "l_max": 2, "num_features": [128, 64, 32]},
    "L": {"num_layers": 6, "l_max": 3, "num_features": [128, 64, 32, 32]},
    "XL": {"num_layers": 6, "l_max": 4, "num_features": [320, 96, 64, 32, 32]},
}


def build_allegro(
    *,
    type_names: Sequence[str],
    r_max: float,
    l_max: int,
    radial_chemical_embed: Mapping[str, Any],
    seed: int = 0,
    model_dtype: str = "float32",
    compile_mode: str = "eager",
    parity: bool = True,
    radial_chemical_embed_dim: int | None = None,
    per_edge_type_cutoff: PerEdgeTypeCutoff | None = None,
    scalar_embed_mlp_hidden_layers_depth: int = 1,
    scalar_embed_mlp_hidden_layers_width: int = 64,
    scalar_embed_mlp_nonlinearity: str | None = "silu",
    num_layers: int = 2,
    num_scalar_features: int = 64,
    num_tensor_features: int = 16,
    allegro_mlp_hidden_layers_depth: int = 1,
    allegro_mlp_hidden_layers_width: int = 64,
    allegro_mlp_nonlinearity: str | None = "silu",
    tp_path_channel_coupling: bool = True,
    readout_mlp_hidden_layers_depth: int = 1,
    readout_mlp_hidden_layers_width: int = 32,
    readout_mlp_nonlinearity: str | None = "silu",
    avg_num_neighbors: float | Mapping[str, float] | None = None,
    weight_individual_irreps: bool = True,
    per_type_energy_scales: PerType = None,
    per_type_energy_shifts: PerType = None,
    per_type_energy_scales_trainable: bool = False,
    per_type_energy_shifts_trainable: bool = False,
    pair_potential: Mapping[str, Any] | None = None,
    do_derivatives: bool = True,
    forward_normalize: bool = True,
) -> Potential:
    """An Allegro potential; parameters as ``allegro.model.AllegroModel`` has them, see models/allegro.py.

    Raises:
        ValueError: a parameter is missing, unknown or out of range; the message names it.
    """
    config = _config("allegro.model.AllegroModel", locals())
    with _fresh_weights(seed, model_dtype, compile_mode):
        dim = num_scalar_features if radial_chemical_embed_dim is None else radial_chemical_embed_dim
        architecture = Allegro(
            type_names,
            _radial_chemical_embedding(radial_chemical_embed, len(type_names), dim, forward_normalize),
            dim,
            l_max=l_max,
            parity=parity,
            num_layers=num_layers,
            num_scalar_features=num_scalar_features,
            num_tensor_features=num_tensor_features,
            avg_num_neighbors=avg_num_neighbors,
            scalar_embed_mlp=(
                scalar_embed_mlp_hidden_layers_depth,
                scalar_embed_mlp_hidden_layers_width,
                scalar_embed_mlp_nonlinearity,
            ),
            allegro_mlp=(
                allegro_mlp_hidden_layers_depth,
                allegro_mlp_hidden_layers_width,
                allegro_mlp_nonlinearity,
            ),
            readout_mlp=(
                readout_mlp_hidden_layers_depth,
                readout_mlp_hidden_layers_width,
                readout_mlp_nonlinearity,
            ),
            tp_path_channel_coupling=tp_path_channel_coupling,
            weight_individual_irreps=weight_individual_irreps,
            forward_normalize=forward_normalize,
        )
        return _potential(config, architecture)


def build_nequip(
    *,
    type_names: Sequence[str],
    r_max: float,
    seed: int = 0,
    model_dtype: str = "float32",
    compile_mode: str = "eager",
    num_layers: int = 4,
    l_max: int = 1,
    parity: bool = True,
    num_features: int | Sequence[int] = 32,
    type_embed_num_features: int | None = None,
    categorical_graph_field_embed: Sequence[Mapping[str, Any]] | None = None,
    radial_mlp_depth: int | Sequence[int] = 1,
    radial_mlp_width: int | Sequence[int] = 128,
    readout_mlp_hidden_layers_depth: int = 0,
    readout_mlp_hidden_layers_width: int | None = None,
    readout_mlp_nonlinearity: str | None = "silu",
    per_edge_type_cutoff: PerEdgeTypeCutoff | None = None,
    num_bessels: int = 8,
    bessel_trainable: bool = False,
    polynomial_cutoff_p: float = 6.0,
    avg_num_neighbors: float | Mapping[str, float] | None = None,
    per_type_energy_scales: PerType = None,
    per_type_energy_shifts: PerType = None,
    per_type_energy_scales_trainable: bool = False,
    per_type_energy_shifts_trainable: bool = False,
    pair_potential: Mapping[str, Any] | None = None,
    do_derivatives: bool = True,
    convnet_sc: bool = True,
    learnable_shift: bool = False,
    convnet_resnet: bool = False,
    convnet_nonlinearity_type: str = "gate",
    convnet_nonlinearity_scalars: Mapping[str, str] | None = None,
    convnet_nonlinearity_gates: Mapping[str, str] | None = None,
) -> Potential:
    """A NequIP potential; parameters as ``nequip.model.NequIPGNNModel`` has them, see models/nequip.py.

    Raises:
        ValueError: a parameter is missing, unknown or out of range; the message names it.
    """
    config = _config("nequip.model.NequIPGNNModel", locals())
    if convnet_nonlinearity_type not in ("gate", "norm"):
        raise ValueError(f"convnet_nonlinearity_type must be gate or norm, got {convnet_nonlinearity_type!r}")
    if learnable_shift and not (convnet_sc or convnet_resnet):
        raise ValueError("learnable_shift needs convnet_sc or convnet_resnet")
    features = _per_item("num_features", num_features, l_max + 1)
    depths = _per_item("radial_mlp_depth", radial_mlp_depth, num_layers)
    widths = _per_item("radial_mlp_width", radial_mlp_width, num_layers)
    categories = [
        Category(c["field"], c["num_features"], c["min"], c["max"], c.get("init"))
        for c in categorical_graph_field_embed or ()
    ]
    with _fresh_weights(seed, model_dtype, compile_mode):
        architecture = NequIP(
            type_names,
            r_max,
            l_max=l_max,
            parity=parity,
            num_features=features,
            type_embed_num_features=type_embed_num_features or features[0],
            categories=categories,
            num_bessels=num_bessels,
            bessel_trainable=bessel_trainable,
            polynomial_cutoff_p=polynomial_cutoff_p,
            radial_hidden=[[width] * depth for depth, width in zip(depths, widths, strict=True)],
            readout_mlp=(
                readout_mlp_hidden_layers_depth,
                readout_mlp_hidden_layers_width,
                readout_mlp_nonlinearity,
            ),
            avg_num_neighbors=avg_num_neighbors,
            convnet_sc=convnet_sc,
            convnet_resnet=convnet_resnet,
            learnable_shift=learnable_shift,
            nonlinearity=convnet_nonlinearity_type,
            scalar_activations=_by_parity(convnet_nonlinearity_scalars),
            gate_activations=_by_parity(convnet_nonlinearity_gates),
        )
        return _potential(config, architecture)


def build_nequip_preset(*, preset: str, **parameters: Any) -> Potential:
    """A NequIP potential of preset size S, M, L or XL; further parameters replace those of the preset.

    Raises:
        ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    shared = {"parity": False, "type_embed_num_features": 32, "radial_mlp_depth": 1, "radial_mlp_width": 128}
    return build_nequip(**(shared | PRESETS[preset] | parameters))


def build_zbl(
    *,
    type_names: Sequence[str],
    r_max: float,
    chemical_species: Sequence[str],
    units: str,
    seed: int = 0,
    model_dtype: str = "float64",
    compile_mode: str = "eager",
    polynomial_cutoff_p: float = 6.0,
    per_edge_type_cutoff: PerEdgeTypeCutoff | None = None,
) -> Potential:
    """A potential of the ZBL term alone."""
    config = _config("nequip.model.ZBLPairPotential", locals())
    with _fresh_weights(seed, model_dtype, compile_mode):
        pair = {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "chemical_species": chemical_species,
            "units": units,
            "polynomial_cutoff_p": polynomial_cutoff_p,
        }
        return _potential(config | {"pair_potential": pair}, None, stored_config=config)


BUILDERS: dict[str, Callable[..., Potential]] = {
    "AllegroModel": build_allegro,
    "NequIPGNNModel": build_nequip,
    "PresetNequIPGNNModel": build_nequip_preset,
    "ZBLPairPotential": build_zbl,
}


def build_model(config: Mapping[str, Any]) -> Potential:
    """A potential from a config with ``_target_``, whose last part names the model.

    Raises:
        ValueError: unknown model or parameter; the message gives the nearest valid name.
    """
    parameters = {key: value for key, value in config.items() if key != "_target_"}
    name = str(config.get("_target_", "")).rpartition(".")[2]
    if name in BY_IRREPS:
        name, translate = BY_IRREPS[name]
        parameters = translate(parameters)
    if name not in BUILDERS:
        raise ValueError(f"model._target_: unknown model {config.get('_target_')!r}; known are {', '.join(BUILDERS)}")
    builder = BUILDERS[name]
    known = set(inspect.signature(builder).parameters)
    if name == "PresetNequIPGNNModel":
        known |= set(inspect.signature(build_nequip).parameters)
    _refuse_unknown(f"model ({name})", parameters, known)
    try:
        return builder(**parameters)
    except TypeError as error:
        raise ValueError(f"model ({name}): {error}") from error


def _config(target: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    config = {"_target_": target} | {key: _primitive(value) for key, value in parameters.items()}
    check_parameters(config)
    return config


def _primitive(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _primitive(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_primitive(item) for item in value]
    return value


@contextlib.contextmanager
def _fresh_weights(seed: int, model_dtype: str, compile_mode: str) -> Iterator[None]:
    """Weights in the model's dtype that depend on the seed alone and leave the caller's random state as it was."""
    if model_dtype not in DTYPES:
        raise ValueError(f"model_dtype must be float32 or float64, got {model_dtype!r}")
    if compile_mode not in COMPILE_MODES:
        raise ValueError(f"compile_mode must be one of {', '.join(COMPILE_MODES)}, got {compile_mode!r}")
    previous = torch.get_default_dtype()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_default_dtype(DTYPES[model_dtype])
        try:
            yield
        finally:
            torch.set_default_dtype(previous)


def _potential(
    config: dict[str, Any], architecture: nn.Module | None, stored_config: dict[str, Any] | None = None
) -> Potential:
    type_names, r_max = config["type_names"], float(config["r_max"])
    scale_shift = None
    if architecture is not None:
        scale_shift = PerTypeScaleShift(
            type_names,
            config["per_type_energy_scales"],
            config["per_type_energy_shifts"],
            scales_trainable=config["per_type_energy_scales_trainable"],
            shifts_trainable=config["per_type_energy_shifts_trainable"],
        )
    pair, cutoffs = config.get("pair_potential"), config["per_edge_type_cutoff"]
    return Potential(
        type_names,
        r_max,
        None if cutoffs is None else cutoff_matrix(cutoffs, type_names, r_max),
        architecture,
        scale_shift,
        None if pair is None else _pair_potential(pair, type_names),
        DTYPES[config["model_dtype"]],
        config if stored_config is None else stored_config,
        do_derivatives=config.get("do_derivatives", True),
    )


def _radial_chemical_embedding(
    config: Mapping[str, Any], num_types: int, dim: int, forward_weight_init: bool
) -> nn.Module:
    name = str(config.get("_target_", "")).rpartition(".")[2]
    parameters = {key: value for key, value in config.items() if key != "_target_"}
    if name == "TwoBodyBesselScalarEmbed":
        _refuse_unknown(name, parameters, {"num_bessels", "bessel_trainable", "polynomial_cutoff_p"})
        return TwoBodyBesselEmbedding(num_types, dim, forward_weight_init=forward_weight_init, **parameters)
    if name == "TwoBodySplineScalarEmbed":
        _refuse_unknown(name, parameters, {"num_splines", "spline_span"})
        dtype = torch.get_default_dtype()
        return TwoBodySplineEmbedding(num_types, dim, dtype, forward_weight_init=forward_weight_init, **parameters)
    raise ValueError(
        f"radial_chemical_embed._target_: unknown embedding {config.get('_target_')!r}; "
        "known are allegro.nn.TwoBodyBesselScalarEmbed and allegro.nn.TwoBodySplineScalarEmbed"
    )


def _pair_potential(config: Mapping[str, Any], type_names: Sequence[str]) -> nn.Module:
    name = str(config.get("_target_", "")).rpartition(".")[2]
    parameters = {key: value for key, value in config.items() if key not in ("_target_", "type_names")}
    if name not in PAIR_POTENTIALS:
        known = ", ".join(PAIR_POTENTIALS)
        raise ValueError(f"pair_potential._target_: unknown {config.get('_target_')!r}; known are {known}")
    potential = PAIR_POTENTIALS[name]
    _refuse_unknown(f"pair_potential ({name})", parameters, set(inspect.signature(potential).parameters))
    return potential(type_names, **parameters)


def _refuse_unknown(where: str, parameters: Mapping[str, Any], known: set[str]) -> None:
    for key in parameters:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
            raise ValueError(f"{where}: unknown parameter {key!r}{hint}")


def _per_item(name: str, value: int | Sequence[int], count: int) -> list[int]:
    values = [value] * count if isinstance(value, int) else list(value)
    if len(values) != count:
        raise ValueError(f"{name} must be one number or {count} of them, got {values}")
    return values


def _by_parity(names: Mapping[str, str] | None) -> dict[int, str]:
    names = {"e": "silu", "o": "tanh"} if names is None else names
    return {1: names["e"], -1: names["o"]}
