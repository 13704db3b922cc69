"""What decides, beside the seed, whether two runs give the same bits."""

import hashlib
import platform
from collections.abc import Iterable

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
    """SHA-256 over names, types, shapes and digests of all parameters and buffers, in hex."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return combined((name, tensor, digest_of(tensor)) for name, tensor in tensors)


def combined(tensors: Iterable[tuple[str, Tensor, str]]) -> str:
    """The fingerprint of a model from names, tensors (their values are not looked at) and the digests of these."""
    digest = hashlib.sha256()
    for name, tensor, inner in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {inner}\n".encode())
    return digest.hexdigest()


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of the values of a tensor as they lie in memory, row-major, in hex."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
