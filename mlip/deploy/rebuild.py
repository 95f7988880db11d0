"""A potential from its config and its weights, with one sentence where they do not fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from mlip.models import Potential


class RebuildError(ValueError):
    """Config and weights make no potential; the message says why."""


def rebuild(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Potential:
    """A potential on the CPU, in evaluation mode.

    Args:
        config: of :func:`mlip.models.build_model`.
        weights: under the names of the potential's ``state_dict``.

    Raises:
        RebuildError: an unknown key of the config, or weights that are missing, left over, of another shape or not
            finite.
    """
    from mlip.models import build_model

    try:
        potential = build_model(dict(config))
    except (KeyError, TypeError, ValueError) as error:
        raise RebuildError(f"the model in it cannot be rebuilt: {error}") from error
    expected = potential.state_dict()
    missing, surplus = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing:
        raise RebuildError(f"weights are missing in it: {_listed(missing)}")
    if surplus:
        raise RebuildError(f"it has weights that its model config has no use for: {_listed(surplus)}")
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise RebuildError(
                f"the weights {name} in it have the shape {tuple(weights[name].shape)}, its model config implies "
                f"{tuple(tensor.shape)}"
            )
    diverged = {name for name, tensor in weights.items() if not bool(tensor.isfinite().all())}
    if diverged:
        raise RebuildError(f"it has weights that are not finite: {_listed(diverged)}; its training diverged")
    potential.load_state_dict(dict(weights))
    return potential.eval()


def _listed(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
