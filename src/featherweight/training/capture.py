"""What can be learned from data without changing a weight: batch-norm statistics."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featherweight.core.examples import Batch


def recalibrate(model: nn.Module, batches: Iterable[Batch]) -> int:
    """Replaces the running statistics of all batch norms by their plain mean over `batches`; gives how many there are.

    The rest of the model runs in evaluation mode (no dropout), and every module's mode is put back. The batches must
    lie on the model's device. Without batch norms nothing is run.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
    if not norms:
        return 0
    modes = {module: module.training for module in model.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative mean
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                model(*batch.inputs)
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    return len(norms)
