"""How long one forward pass takes, on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from featherweight.errors import UsageError
from featherweight.profiling._tensors import batch_size
from featherweight.profiling.base import Measurement, Metric


@dataclass(frozen=True, kw_only=True)
class Latency(Metric):
    """Wall-clock time of a forward pass in evaluation mode: median and interquartile range.

    Warm-up passes come first and do not count. Thread count and batch size are stated: other numbers are other
    measurements.
    """

    unit: ClassVar[str] = "ms"
    runs: int = 30  # timed passes, >= 2
    warmups: int = 5  # passes before them, >= 0
    threads: int | None = None  # of torch; default: as set now

    def __post_init__(self) -> None:
        if self.runs < 2 or self.warmups < 0 or (self.threads is not None and self.threads < 1):
            raise UsageError("needs at least 2 runs, 0 warm-ups and 1 thread", where="latency", value=self)

    def measure(self, model: nn.Module, example: tuple[Any, ...]) -> Measurement:
        """`value` is the median; parts: latency_ms_median, latency_ms_iqr, latency_batch_size, latency_threads."""
        with _threads(self.threads), _evaluating(model), torch.inference_mode():
            for _ in range(self.warmups):
                model(*example)
            times = [_milliseconds(model, example) for _ in range(self.runs)]
            threads = torch.get_num_threads()
        low, median, high = quantiles(times, n=4, method="inclusive")
        size = batch_size(example)
        parts = {
            "latency_ms_median": median,
            "latency_ms_iqr": high - low,
            "latency_batch_size": size,
            "latency_threads": threads,
        }
        note = f"latency: median of {self.runs} passes after {self.warmups}, batch {size}, {threads} threads"
        return Measurement(value=median, unit=self.unit, parts=parts, notes=(note,))


def _milliseconds(model: nn.Module, example: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    result = model(*example)
    if isinstance(result, Tensor) and result.is_cuda:  # the call returns before a GPU is done
        torch.cuda.synchronize(result.device)
    return (time.perf_counter() - start) * 1000


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
