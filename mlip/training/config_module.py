"""Conflict-free updates: no step that lowers one part of the loss raises another.

ConFIG: Q. Liu, M. Chu, N. Thuerey, ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks,
ICLR 2025, arXiv:2408.11104.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlip.config.errors import ConfigError
from mlip.training.ema_module import AveragedWeights
from mlip.training.module import NequIPLightningModule
from mlip.training.ranks import average_gradients

if TYPE_CHECKING:
    from mlip.data.frame import Batch


def conflict_free_gradient(
    gradients: Tensor, weights: Tensor, *, least_squares: bool = True, eps: float = 1e-8
) -> Tensor:
    """The update direction of ConFIG.

    With unit gradients u_i = g_i / |g_i| as the rows of U, the direction is d = U^+ b / |U^+ b|, so that each u_i has
    a projection on it in proportion to its weight b_i, and its length is the sum of the projections g_i . d
    (arXiv:2408.11104, equations 2 and 3, where all weights are one).

    Args:
        gradients: (M, P), one row for each part of the loss.
        weights: (M,), positive.
        least_squares: solve U x = b for the shortest x; otherwise by the pseudo-inverse, the same number on devices
            without such a solver.
        eps: lengths below it count as this.

    Returns:
        (P,).
    """
    units = gradients / gradients.norm(dim=1, keepdim=True).clamp_min(eps)
    # singular matrices (parallel gradients) need a driver by singular values; on the CPU gelsd is one
    driver = "gelsd" if gradients.device.type == "cpu" else None
    if least_squares and driver is not None:
        solution = torch.linalg.lstsq(units, weights.unsqueeze(1), driver=driver).solution.squeeze(1)
    else:
        solution = torch.linalg.pinv(units) @ weights
    direction = solution / solution.norm().clamp_min(eps)
    return (gradients @ direction).sum() * direction


class ConFIGLightningModule(NequIPLightningModule):
    """As :class:`NequIPLightningModule`, with steps that lower all parts of the loss (arXiv:2408.11104).

    The coefficients of the loss are the relative projections of the step on the parts' unit gradients. The trainer's
    own gradient clipping does not apply; set it here.

    Args:
        gradient_clip_val: clips the step; None for not at all.
        gradient_clip_algorithm: ``norm`` (default) or ``value``.
        lsqr: solve for the direction by least squares, otherwise by the pseudo-inverse.
        norm_eps: lengths below it count as this.
        **kwargs: of :class:`NequIPLightningModule`.
    """

    def __init__(
        self,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        lsqr: bool = True,
        norm_eps: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        if gradient_clip_algorithm not in {None, "norm", "value"}:
            raise ConfigError(
                f"training_module.gradient_clip_algorithm is {gradient_clip_algorithm!r}; it must be norm or value"
            )
        super().__init__(**kwargs)
        self.save_hyperparameters("gradient_clip_val", "gradient_clip_algorithm", "lsqr", "norm_eps")
        self.automatic_optimization = False
        self._clip = (gradient_clip_val, gradient_clip_algorithm or "norm")
        self._solver = (bool(lsqr), float(norm_eps))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; the loss of the batch."""
        parts, total = self.losses(batch)
        weights = self.loss.coefficients if self.loss is not None else {}
        active = [name for name in weights if name in parts and weights[name] > 0]
        if not active:
            raise ConfigError("training_module.loss: no entry has a coeff, so there is nothing to minimise")
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        rows = torch.stack([self._gradient(parts[name], parameters) for name in active])
        average_gradients([rows])
        coefficients = torch.tensor([weights[name] for name in active], dtype=rows.dtype, device=rows.device)
        least_squares, eps = self._solver
        step = conflict_free_gradient(rows, coefficients, least_squares=least_squares, eps=eps)
        start = 0
        for parameter in parameters:
            parameter.grad = step[start : start + parameter.numel()].view_as(parameter).to(parameter.dtype).clone()
            start += parameter.numel()
        self._clip_gradients(parameters)
        self.optimizers().step()  # type: ignore[union-attr]
        self.after_optimizer_step()
        self.step_schedulers("step")
        return total.detach()

    def _gradient(self, loss: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        given = zip(found, parameters, strict=True)
        flat = [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in given]
        return torch.cat([part.to(torch.float64) for part in flat])

    def _clip_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        limit, algorithm = self._clip
        if limit is None:
            return
        if algorithm == "norm":
            torch.nn.utils.clip_grad_norm_(parameters, limit)
        else:
            torch.nn.utils.clip_grad_value_(parameters, limit)

    def on_train_epoch_end(self) -> None:
        """Log the errors of the epoch, and step schedulers that go by epochs."""
        super().on_train_epoch_end()
        self.step_schedulers("epoch")

    def step_schedulers(self, interval: str) -> None:
        """Step the scheduler where Lightning, which leaves that to modules with steps of their own, does not."""
        scheduler = self._schedule.get("scheduler")
        if scheduler is None or isinstance(scheduler, ReduceLROnPlateau) or interval != self.schedule_interval:
            return
        done = self.trainer.global_step if interval == "step" else self.trainer.current_epoch + 1
        if done % self.schedule_frequency == 0:
            scheduler.step()


class EMAConFIGLightningModule(AveragedWeights, ConFIGLightningModule):
    """:class:`ConFIGLightningModule` with an exponential moving average of weights for validation, test and inference.

    Args:
        ema_decay: of the average, in [0, 1).
        **kwargs: of :class:`ConFIGLightningModule`.
    """
