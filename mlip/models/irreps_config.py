"""Models that are written with irreps, in terms of ``l_max``, ``parity`` and numbers of features.

``nequip.model.FullNequIPGNNModel`` and ``allegro.model.allegro_models.FullAllegroModel`` take irreps where the ordinary
builders take those. Only regular ones, which the ordinary builders make, are models here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlip.models.potential import Potential

_TERM = re.compile(r"(?:(\d+)x)?(\d+)([eo])")


def parse_irreps(name: str, text: Any) -> list[tuple[int, int, str]]:
    """``"8x0e+4x1o"`` -> [(8, 0, "e"), (4, 1, "o")]; a whole number is the l_max of spherical harmonics.

    Args:
        name: of the parameter, for the message.
        text: the irreps.

    Raises:
        ValueError: no irreps.
    """
    if isinstance(text, int) or (isinstance(text, str) and text.isdigit()):
        return [(1, order, "eo"[order % 2]) for order in range(int(text) + 1)]
    terms = []
    for part in str(text).replace(" ", "").split("+"):
        match = _TERM.fullmatch(part)
        if match is None:
            raise ValueError(f"{name} has irreps that cannot be read: {text!r} (write 8x0e+4x1o, for example)")
        terms.append((int(match[1] or 1), int(match[2]), match[3]))
    return terms


def nequip_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of ``FullNequIPGNNModel`` as those of ``NequIPGNNModel``.

    Args:
        config: with ``feature_irreps_hidden``, the features after each layer, and ``irreps_edge_sh``.

    Raises:
        ValueError: irreps that l_max, parity and one number of features per l do not describe.
    """
    rest = _without_what_irreps_say(config, ("feature_irreps_hidden", "irreps_edge_sh"))
    *hidden, last = (parse_irreps("feature_irreps_hidden", layer) for layer in rest.pop("feature_irreps_hidden"))
    l_max = _spherical_l_max(rest.pop("irreps_edge_sh"))
    features = _by_order(hidden[0] if hidden else [(last[0][0], order, "eo"[order % 2]) for order in range(l_max + 1)])
    parity = bool(hidden) and any(letter != "eo"[order % 2] for _, order, letter in hidden[0])
    expected = [
        (count, order, letter)
        for order, count in enumerate(features)
        for letter in ("eo" if parity else "eo"[order % 2])
    ]
    regular = len(features) == l_max + 1 and len(last) == 1 and last[0][:2] == (features[0], 0) and last[0][2] == "e"
    if not regular or any(layer != expected for layer in hidden):
        raise ValueError(
            "feature_irreps_hidden has irreps that l_max, parity and one number of features per l cannot describe, and "
            "such models are not built here"
        )
    return rest | {"num_layers": len(hidden) + 1, "l_max": l_max, "parity": parity, "num_features": features}


def allegro_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of ``FullAllegroModel`` as those of ``AllegroModel``.

    Args:
        config: with ``irreps_edge_sh`` and ``tensor_track_allowed_irreps``.

    Raises:
        ValueError: irreps that l_max and parity do not describe.
    """
    name = "tensor_track_allowed_irreps"
    rest = _without_what_irreps_say(config, ("irreps_edge_sh", name))
    l_max = _spherical_l_max(rest.pop("irreps_edge_sh"))
    allowed = {(order, letter) for _, order, letter in parse_irreps(name, rest.pop(name))}
    every = {(order, letter) for order in range(l_max + 1) for letter in "eo"}
    spherical = {(order, "eo"[order % 2]) for order in range(l_max + 1)}
    if allowed not in (every, spherical):
        raise ValueError(f"{name} has irreps that l_max and parity cannot describe, and such models are not built here")
    return rest | {"l_max": l_max, "parity": allowed == every}


def _without_what_irreps_say(config: Mapping[str, Any], needed: tuple[str, ...]) -> dict[str, Any]:
    for key in needed:
        if config.get(key) is None:
            raise ValueError(f"{key} is missing")
    for key in ("l_max", "parity", "num_features"):
        if key in config:
            raise ValueError(f"{key} is said by {' and '.join(needed)} already; remove it")
    return dict(config)


def _spherical_l_max(text: Any) -> int:
    terms = parse_irreps("irreps_edge_sh", text)
    if terms != parse_irreps("irreps_edge_sh", len(terms) - 1):
        raise ValueError(f"irreps_edge_sh is {text}; only irreps of spherical harmonics up to some l can be used")
    return len(terms) - 1


def _by_order(terms: Sequence[tuple[int, int, str]]) -> list[int]:
    counts: dict[int, int] = {}
    for count, order, _ in terms:
        counts.setdefault(order, count)
    return [counts[order] for order in sorted(counts)]


# name of a model -> name of the ordinary one, and how its parameters become that one's
BY_IRREPS: dict[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "FullNequIPGNNModel": ("NequIPGNNModel", nequip_parameters),
    "FullAllegroModel": ("AllegroModel", allegro_parameters),
}


def build_full_nequip(
    *, feature_irreps_hidden: Sequence[str], irreps_edge_sh: int | str, **parameters: Any
) -> Potential:
    """A NequIP potential whose features are written as irreps; l_max, parity and num_features must be able to say them.

    Raises:
        ValueError: they are not.
    """
    irreps = {"feature_irreps_hidden": feature_irreps_hidden, "irreps_edge_sh": irreps_edge_sh}
    return _built("FullNequIPGNNModel", parameters | irreps)


def build_full_allegro(*, irreps_edge_sh: int | str, tensor_track_allowed_irreps: str, **parameters: Any) -> Potential:
    """An Allegro potential whose features are written as irreps; l_max and parity must be able to say them.

    Raises:
        ValueError: they are not.
    """
    irreps = {"irreps_edge_sh": irreps_edge_sh, "tensor_track_allowed_irreps": tensor_track_allowed_irreps}
    return _built("FullAllegroModel", parameters | irreps)


def _built(name: str, parameters: dict[str, Any]) -> Potential:
    from mlip.models.build import build_model

    return build_model({"_target_": name, **parameters})
