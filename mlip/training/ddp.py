"""Data-parallel training without a wrapper around the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lightning.pytorch.strategies import DDPStrategy

from mlip.training.ranks import average_gradients

if TYPE_CHECKING:
    from torch import Tensor


class SimpleDDPStrategy(DDPStrategy):
    """Each rank computes gradients of its own batch; their mean, taken once after the backward pass, is the step.

    Without torch's wrapper nothing has to be known about which weights a step uses, and compiled training steps work.
    Two ranks with batches of n frames of equal size take the same steps as one with batches of 2 n.

    Args:
        process_group_backend: ``nccl`` on GPUs and ``gloo`` on CPUs by default.
        **kwargs: of ``lightning.pytorch.strategies.DDPStrategy``.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is; ranks start from the weights of the first."""
        if self.model is not None:
            for tensor in self.model.state_dict().values():
                if isinstance(tensor, torch.Tensor):
                    torch.distributed.broadcast(tensor, src=0)

    def pre_backward(self, closure_loss: Tensor) -> None:
        """Nothing is to be prepared."""

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients, unless further batches are to be accumulated first or the module does it itself."""
        module = self.lightning_module
        if module is None or not module.automatic_optimization:
            return
        # ranks may differ in which weights their batch used; all average all of them
        parameters = [p for p in module.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        average_gradients([p.grad for p in parameters if p.grad is not None])
