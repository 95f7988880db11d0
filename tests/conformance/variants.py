"""The model variants whose numbers are held against the reference implementation.

Plain data without imports beyond the standard library: the environment of the reference reads this file too.
A variant is a model config in the public schema, without ``seed`` and ``model_dtype``.
"""

from __future__ import annotations

from typing import Any

R_MAX = 4.0  # Å
TYPE_NAMES = ["H", "C", "O"]
SHIFTS = {"H": 3.45, "C": 5.67, "O": -7.89}  # eV
SCALES = {"H": 0.9, "C": 1.3, "O": 1.7}  # eV
NEIGHBORS_PER_TYPE = {"H": 17.0, "C": 21.5, "O": 25.0}
ASYMMETRIC_CUTOFFS = {"H": 2.0, "C": {"H": 4.0, "C": 3.5, "O": 3.7}, "O": 3.9}  # Å
CHARGE_FIELD = {"field": "charge", "num_features": 3, "min": -1, "max": 2}

ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPE_NAMES}
SYMMETRIC_SIGMA = [[0.9, 1.0, 1.1], [1.0, 1.2, 1.3], [1.1, 1.3, 1.4]]  # Å


def lennard_jones(style: str, **kwargs: Any) -> dict[str, Any]:
    """A Lennard-Jones term of one of the reference's three styles."""
    return {
        "_target_": "nequip.nn.pair_potential.LennardJones",
        "lj_style": style,
        "lj_sigma": SYMMETRIC_SIGMA,
        "lj_epsilon": 0.02,
        **kwargs,
    }


def nequip(**kwargs: Any) -> dict[str, Any]:
    """A small NequIP config; the keyword arguments replace or add."""
    base = {
        "_target_": "nequip.model.NequIPGNNModel",
        "r_max": R_MAX,
        "type_names": TYPE_NAMES,
        "l_max": 1,
        "parity": True,
        "num_layers": 2,
        "num_features": 4,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 8,
        "avg_num_neighbors": 20.0,
        "per_type_energy_shifts": SHIFTS,
        "per_type_energy_scales": SCALES,
    }
    return base | kwargs


BESSEL = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8}
SPLINE = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 8, "spline_span": 6}


def allegro(**kwargs: Any) -> dict[str, Any]:
    """A small Allegro config; the keyword arguments replace or add."""
    base = {
        "_target_": "allegro.model.AllegroModel",
        "r_max": R_MAX,
        "type_names": TYPE_NAMES,
        "l_max": 2,
        "parity": True,
        "radial_chemical_embed": BESSEL,
        "scalar_embed_mlp_hidden_layers_depth": 1,
        "scalar_embed_mlp_hidden_layers_width": 12,
        "num_layers": 2,
        "num_scalar_features": 8,
        "num_tensor_features": 4,
        "allegro_mlp_hidden_layers_depth": 1,
        "allegro_mlp_hidden_layers_width": 16,
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 10,
        "avg_num_neighbors": 20.0,
        "per_type_energy_shifts": SHIFTS,
        "per_type_energy_scales": SCALES,
    }
    return base | kwargs


ALLEGRO_SHAPES: dict[str, dict[str, Any]] = {
    "l2_parity_2layers": {},
    "l1_1layer_zbl": {"l_max": 1, "num_layers": 1, "pair_potential": ZBL},
    "l3_noparity_3layers_uncoupled": {
        "l_max": 3,
        "parity": False,
        "num_layers": 3,
        "tp_path_channel_coupling": False,
    },
    "l2_parity_3layers": {"num_layers": 3},
}

VARIANTS: dict[str, dict[str, Any]] = {
    # The fourteen variants of the specification.
    "nequip_l2_noparity_3layers": nequip(
        l_max=2,
        parity=False,
        num_layers=3,
        num_features=[8, 4, 2],
        type_embed_num_features=6,
        radial_mlp_depth=2,
        radial_mlp_width=16,
    ),
    "nequip_l1_parity_2layers": nequip(),
    "nequip_l2_parity_4layers": nequip(l_max=2, num_layers=4, num_features=[4, 3, 2]),
    "nequip_l3_parity_3layers": nequip(l_max=3, num_layers=3, num_features=[4, 3, 2, 2]),
    "nequip_l3_noparity_readout_mlp": nequip(
        l_max=3,
        parity=False,
        num_layers=3,
        num_features=[5, 4, 3, 2],
        readout_mlp_hidden_layers_depth=2,
        readout_mlp_hidden_layers_width=6,
    ),
    "nequip_zbl_edge_cutoffs_type_neighbors": nequip(
        l_max=2,
        num_features=[6, 4, 3],
        pair_potential=ZBL,
        per_edge_type_cutoff=ASYMMETRIC_CUTOFFS,
        avg_num_neighbors=NEIGHBORS_PER_TYPE,
    ),
    **{
        f"allegro_{shape}_{name}": allegro(radial_chemical_embed=embed, **kwargs)
        for shape, kwargs in ALLEGRO_SHAPES.items()
        for name, embed in (("bessel", BESSEL), ("spline", SPLINE))
    },
    # Parameters that the fourteen leave at their defaults.
    "nequip_norm_nonlinearity": nequip(l_max=2, num_layers=3, convnet_nonlinearity_type="norm"),
    "nequip_resnet": nequip(num_layers=3, convnet_resnet=True),
    "nequip_resnet_no_self_connection": nequip(num_layers=3, convnet_resnet=True, convnet_sc=False),
    "nequip_learnable_shift": nequip(learnable_shift=True),
    "nequip_learnable_shift_resnet": nequip(learnable_shift=True, convnet_resnet=True, parity=False),
    "nequip_1layer": nequip(num_layers=1, l_max=2, parity=False),
    "nequip_l0": nequip(l_max=0, num_layers=3),
    "nequip_trainable_bessels_scale_shift": nequip(
        num_bessels=5,
        bessel_trainable=True,
        polynomial_cutoff_p=5,
        per_type_energy_scales=1.5,
        per_type_energy_shifts=0.25,
        per_type_energy_scales_trainable=True,
        per_type_energy_shifts_trainable=True,
    ),
    "nequip_no_scale_shift_radial_linear": nequip(
        radial_mlp_depth=0,
        per_type_energy_scales=None,
        per_type_energy_shifts=None,
        readout_mlp_hidden_layers_depth=1,
        readout_mlp_nonlinearity="gelu",
    ),
    "nequip_other_nonlinearities": nequip(
        num_layers=3,
        convnet_nonlinearity_scalars={"e": "ssp", "o": "tanh"},
        convnet_nonlinearity_gates={"e": "ssp", "o": "tanh"},
        readout_mlp_hidden_layers_depth=1,
        readout_mlp_nonlinearity="mish",
    ),
    "nequip_categorical_charge": nequip(categorical_graph_field_embed=[CHARGE_FIELD]),
    "nequip_lj": nequip(pair_potential=lennard_jones("lj", lj_delta=0.1)),
    "nequip_lj_repulsive_only": nequip(pair_potential=lennard_jones("lj_repulsive_only")),
    "nequip_lj_repulsive": nequip(pair_potential=lennard_jones("repulsive", lj_exponent=4.0)),
    "allegro_l3_parity_2layers": allegro(l_max=3),
    "allegro_l0": allegro(l_max=0),
    "allegro_edge_cutoffs_type_neighbors": allegro(
        per_edge_type_cutoff=ASYMMETRIC_CUTOFFS,
        avg_num_neighbors=NEIGHBORS_PER_TYPE,
        parity=False,
        pair_potential=ZBL,
    ),
    "allegro_spline_edge_cutoffs_zbl": allegro(
        radial_chemical_embed=SPLINE,
        radial_chemical_embed_dim=6,
        per_edge_type_cutoff=ASYMMETRIC_CUTOFFS,
        pair_potential=ZBL | {"units": "real"},
    ),
    "allegro_linear_mlps": allegro(
        scalar_embed_mlp_hidden_layers_depth=0,
        allegro_mlp_hidden_layers_depth=2,
        allegro_mlp_nonlinearity=None,
        readout_mlp_hidden_layers_depth=1,
        readout_mlp_nonlinearity="None",
    ),
    "allegro_backward_normalize_trainable": allegro(
        radial_chemical_embed=BESSEL | {"bessel_trainable": True, "polynomial_cutoff_p": 8, "num_bessels": 6},
        forward_normalize=False,
        per_type_energy_scales=1.25,
        per_type_energy_scales_trainable=True,
    ),
    "allegro_shared_irrep_weights_tanh": allegro(
        weight_individual_irreps=False,
        scalar_embed_mlp_nonlinearity="mish",
        allegro_mlp_nonlinearity="tanh",
        readout_mlp_nonlinearity="ssp",
    ),
    # the last one: seeds go by the place in this table
    "nequip_absolute_odd_scalars": nequip(
        num_layers=4, convnet_resnet=True, convnet_nonlinearity_scalars={"e": "silu", "o": "abs"}
    ),
}
