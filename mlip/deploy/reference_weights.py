"""Weights of the reference implementation (nequip 0.19, nequip-allegro 0.8) in our module tree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mlip.models.allegro import Allegro, CentreProduct
from mlip.models.nequip import Interaction, NequIP
from mlip.models.potential import Potential
from mlip.nn.equivariant import EquivariantLinear, SelfConnection
from mlip.nn.gate import Gate
from mlip.nn.mlp import ScalarMLP
from mlip.nn.radial_chemical import TwoBodyBesselEmbedding, TwoBodySplineEmbedding

# the first of these in a key marks where module names begin; before it stand wrappers of the training framework
_ROOTS = (
    "edge_norm|type_embed|bessel_encode|layer\\d+_convnet|per_atom_energy_readout|radial_chemical_embed|"
    "scalar_embed_mlp|tensor_embed|allegro|edge_readout|per_type_energy_scale_shift|pair_potential"
)
_KEY = re.compile(rf"^(?:.*?\.)?func\.((?:{_ROOTS})\..+)$")


def load_reference_state_dict(potential: Potential, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the reference's weights into a potential built from the same config.

    The normalisation by the number of neighbours is no weight there either: it must be in the config.

    Args:
        potential: changed in place.
        state_dict: tensors under the reference's names, with any prefix of its wrappers.

    Raises:
        ValueError: a weight is missing or has another shape than the config implies.
    """
    weights = {match[1]: tensor for key, tensor in state_dict.items() if (match := _KEY.match(key))}
    architecture = potential.architecture
    with torch.no_grad():
        if isinstance(architecture, NequIP):
            _load_nequip(architecture, weights)
        elif isinstance(architecture, Allegro):
            _load_allegro(architecture, weights)
        if potential.scale_shift is not None:
            for name in ("scales", "shifts"):
                target = getattr(potential.scale_shift, name)
                if target.numel():
                    stored = _get(weights, f"per_type_energy_scale_shift.{name}")
                    target.copy_(stored.reshape(-1, 1).expand_as(target))  # one number for all types is stored as one
        if potential.pair_potential is not None:
            for name, parameter in potential.pair_potential.named_parameters():
                source = f"pair_potential.{name}"
                _copy(parameter, weights, source, shape=parameter.shape)


def _load_nequip(model: NequIP, weights: Mapping[str, Tensor]) -> None:
    _copy(model.type_embedding.weight, weights, "type_embed.embed_module.weight")
    for field, embedding in model.category_embeddings.items():
        source = f"type_embed.categorical_graph_field_embed_modules.{field}.weight"
        _copy(embedding.get_parameter("weight"), weights, source)
    _copy(model.basis.frequencies, weights, "bessel_encode.bessel_weights", shape=model.basis.frequencies.shape)
    for index, layer in enumerate(model.layers):
        if not isinstance(layer, Interaction):
            raise TypeError(type(layer))
        prefix = f"layer{index}_convnet.conv."
        joined = _joined_scalars(model, index)
        _split(layer.linear_in, weights, prefix + "linear_1.weight", joined)
        _mlp(layer.radial_mlp, weights, prefix + "edge_mlp")
        if joined:
            _columns_of_joined_scalars(layer, joined)
        _split(layer.linear_out, weights, prefix + "linear_2.weight")
        if layer.self_connection is not None:
            _split(layer.self_connection, weights, prefix + "sc.weight")
    _mlp(model.readout, weights, "per_atom_energy_readout.mlp_module")


def _joined_scalars(model: NequIP, index: int) -> list[int]:
    """Channels of the blocks of scalars that layer ``index`` gets, if the reference has several where we have one.

    With ``convnet_nonlinearity_scalars: {o: abs}`` odd scalars turn even. The reference keeps them beside those that
    were even before, as a block with weights of its own.
    """
    before = model.layers[index - 1].nonlinearity if index else None
    if not isinstance(before, Gate) or len(before.channels_out) == len(before.scalars) + len(before.gated):
        return []
    return list(before.scalars.values())


def _join_scalars(flat: Tensor, sizes: Sequence[int]) -> Tensor:
    """Weights of the first linear map of a layer, one matrix for each pair of blocks, as of one block."""
    blocks = iter(flat.split([a * b for a in sizes for b in sizes] + [flat.numel() - sum(sizes) ** 2]))
    rows = [torch.cat([next(blocks).view(a, b) for b in sizes], dim=1) for a in sizes]
    return torch.cat([torch.cat(rows).flatten(), next(blocks)])


def _columns_of_joined_scalars(layer: Interaction, sizes: list[int]) -> None:
    """Radial weights lie (block, path, channel) in the reference and (path, channel) here, over all blocks."""
    weight, paths = layer.radial_mlp.weights[-1], len(layer.tables[0].paths)
    part = weight[:, : paths * sum(sizes)]
    blocks = part.clone().split([paths * size for size in sizes], dim=1)
    part.copy_(torch.cat([block.unflatten(1, (paths, -1)) for block in blocks], dim=2).flatten(1))


def _load_allegro(model: Allegro, weights: Mapping[str, Tensor]) -> None:
    embed, prefix = model.radial_chemical_embed, "radial_chemical_embed."
    if isinstance(embed, TwoBodyBesselEmbedding):
        frequencies = embed.basis.frequencies
        _copy(frequencies, weights, prefix + "bessel_encode.bessel_weights", shape=frequencies.shape)
        _copy(embed.centre_embedding.weight, weights, prefix + "type_embed.center_embed.weight")
        _copy(embed.neighbour_embedding.weight, weights, prefix + "type_embed.neighbor_embed.weight")
        _mlp(embed.mix, weights, prefix + "type_embed.basis_linear")
    elif isinstance(embed, TwoBodySplineEmbedding):
        _copy(embed.coefficients, weights, prefix + "spline.class_embed.weight", shape=embed.coefficients.shape)
    _mlp(model.scalar_embed, weights, "scalar_embed_mlp.mlp_module")
    _mlp(model.tensor_embed, weights, "tensor_embed.env_embed_linear")
    _mlp(model.first_projection, weights, "allegro.first_layer_env_embed_projection")
    for index, (product, latent) in enumerate(zip(model.products, model.latents, strict=True)):
        if not isinstance(product, CentreProduct) or not isinstance(latent, ScalarMLP):
            raise TypeError(type(product))
        _mlp(latent, weights, f"allegro.latents.{index}")
        source = f"allegro.tps.{index}.weights"
        paths, channels = product.weights.shape
        product.weights.copy_(_get(weights, source).reshape(channels, paths).T)
        _columns_by_order(latent.weights[-1], model.channels, model.weights_per_channel, first=model.num_scalars)
    _columns_by_order(model.tensor_embed.weights[-1], model.channels, model.l_max + 1, first=0)
    projection = model.first_projection.weights[-1]
    _columns_by_order(projection, model.channels, model.weights_per_channel, first=model.num_scalars)
    _mlp(model.readout, weights, "edge_readout.mlp_module")


def _columns_by_order(weight: Tensor, channels: int, orders: int, first: int) -> None:
    """Environment weights lie (channel, order) in the reference and (order, channel) here."""
    block = weight[:, first:]
    if block.shape[1]:
        shaped = block.clone().view(-1, channels, orders)
        block.copy_(shaped.transpose(1, 2).flatten(1))


def _get(weights: Mapping[str, Tensor], source: str) -> Tensor:
    if source not in weights:
        raise ValueError(f"the reference weights lack {source!r}: the config describes another architecture")
    return weights[source]


def _copy(target: Tensor, weights: Mapping[str, Tensor], source: str, shape: torch.Size | None = None) -> None:
    if target.numel() == 0:
        return
    tensor = _get(weights, source)
    if tensor.numel() != target.numel() or (shape is None and tensor.shape != target.shape):
        raise ValueError(f"{source!r} has shape {tuple(tensor.shape)}, the config implies {tuple(target.shape)}")
    target.copy_(tensor.reshape(target.shape))


def _mlp(mlp: ScalarMLP, weights: Mapping[str, Tensor], prefix: str) -> None:
    pattern = re.compile(rf"^{re.escape(prefix)}\.mlp\.(?:(\d+)\.weight|weights\.(\d+))$")
    found = sorted((int(match[1] or match[2]), key) for key in weights if (match := pattern.match(key)))
    if len(found) != len(mlp.weights):
        raise ValueError(f"{prefix!r} has {len(found)} layers of weights, the config implies {len(mlp.weights)}")
    for weight, (_, key) in zip(mlp.weights, found, strict=True):
        _copy(weight, weights, key)


def _split(
    module: EquivariantLinear | SelfConnection, weights: Mapping[str, Tensor], source: str, joined: Sequence[int] = ()
) -> None:
    """One flat vector there, a matrix per irrep here, in the order of the incoming irreps; see _joined_scalars."""
    flat = _get(weights, source)
    sizes = [weight.numel() for weight in module.weights.values()]
    if sum(sizes) != flat.numel():
        raise ValueError(f"{source!r} has {flat.numel()} numbers, the config implies {sum(sizes)}")
    if joined:
        flat = _join_scalars(flat, joined)
    for weight, part in zip(module.weights.values(), flat.split(sizes), strict=True):
        weight.copy_(part.view_as(weight))
