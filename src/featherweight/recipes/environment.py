"""What decides, beside the seed, whether two runs give the same bits."""

import hashlib
import platform

import numpy as np
import torch
from torch import Tensor, nn

from featherweight.core.version import VERSION


def environment() -> dict[str, str | int]:
    """Versions, thread count and kind of machine. Other values may sum floating-point numbers in another order."""
    return {
        "featherweight": VERSION,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers, in hex."""
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
