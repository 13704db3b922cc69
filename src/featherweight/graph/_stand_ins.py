"""What stands in the places of modules that go, and whether a network runs with it as if a branch gave zeros."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph._block_calls import Calls, outputs_of, placed
from featherweight.graph._branches import Branch
from featherweight.graph.layers import PassOn, Zeros


@dataclass(frozen=True)
class StandIn:
    """What stands for one module: zeros of `shape` (as in `Zeros`), or without a shape what the module is given.

    `plain`: one argument, one tensor; otherwise `length` is that of the tuple it gives, None for a tensor.
    """

    shape: tuple[int, ...] | None = None
    length: int | None = None
    plain: bool = True
    filled: bool = False

    def module(self) -> nn.Module:
        """A new module of this kind."""
        if self.shape is not None:
            return Zeros(self.shape, self.length, filled=self.filled)
        return nn.Identity() if self.plain else PassOn(self.length)


StandIns: TypeAlias = Mapping[str, StandIn]
"""By path of the module."""


def choices(branch: Branch, calls: Mapping[str, Calls]) -> Iterator[StandIns]:
    """What can stand for a branch, the cheapest first.

    Zeros of one number, which the addition spreads; zeros of the right shape, for code that reads it; the same in
    memory of their own, for code that writes into them. Dead modules give zeros as well where code between them reads
    what they give, and pass on what they get where nothing but dead modules does.
    """
    modules = (branch.tail, *branch.dead)
    sizes = {path: calls[path].sizes() for path in modules}
    known = {path: found for path, found in sizes.items() if found is not None}
    if len(known) < len(modules):
        return
    lengths = {path: calls[path].length for path in modules}
    if not branch.works:
        small = {path: (1,) * len(known[path]) for path in modules}
        passed = set(branch.dead) - branch.read
        yield _stand_ins(small, lengths, passed)
    passed = {path for path in branch.dead if calls[path].fits}
    shaped = _stand_ins(known, lengths, passed)
    yield shaped
    yield {path: part if part.shape is None else replace(part, filled=True) for path, part in shaped.items()}


def _stand_ins(
    sizes: Mapping[str, tuple[int, ...]], lengths: Mapping[str, int | None], passed: set[str]
) -> dict[str, StandIn]:
    # a module that passes on takes any arguments: what reaches it may have changed
    return {
        path: StandIn(None if path in passed else shape, lengths[path], plain=False) for path, shape in sizes.items()
    }


class Trials:
    """Runs a network without branches beside the network whose branches were made zero by hand.

    In evaluation mode on the example and on one of another batch, values are compared; in training mode shapes.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._model, self._inputs = model, inputs

    def agree(self, tails: Iterable[str], modules: Mapping[str, nn.Module]) -> bool:
        """Whether the network with these modules computes what it would if the modules `tails` gave zeros."""
        expected, usual = self._zeroed(tails), self._trained
        try:
            with placed(self._model, modules):
                found = [self._run(inputs) for inputs in self._examples]
                trained = None if usual is None else self._shapes()
        except TraceError:
            return False
        return trained == usual and all(map(_agree, found, expected))

    @cached_property
    def _examples(self) -> list[tuple[Any, ...]]:
        other = _another_batch(self._inputs)
        if other is None:
            return [self._inputs]
        try:
            self._run(other)
        except TraceError:
            return [self._inputs]
        return [self._inputs, other]

    @cached_property
    def _trained(self) -> list[tuple[int, ...]] | None:
        """The shapes that the network gives in training mode; None where it does not run in it."""
        try:
            return self._shapes()
        except TraceError:
            return None

    def _zeroed(self, tails: Iterable[str]) -> list[list[Tensor]]:
        def zero(_: nn.Module, __: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return torch.zeros_like(output)
            return (torch.zeros_like(output[0]), *output[1:])

        examples = self._examples
        handles = [self._model.get_submodule(tail).register_forward_hook(zero) for tail in tails]
        try:
            return [self._run(inputs) for inputs in examples]
        finally:
            for handle in handles:
                handle.remove()

    def _run(self, inputs: tuple[Any, ...], *, training: bool = False) -> list[Tensor]:
        # torch's own fused attention reads weights of the modules around it, so it stays on where it is on
        with _mode(self._model, training), torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return [item.clone() for item in outputs_of(self._model, inputs)]

    def _shapes(self) -> list[tuple[int, ...]]:
        old = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        try:
            return [tuple(item.shape) for item in self._run(self._inputs, training=True)]
        finally:
            with torch.no_grad():
                for buffer, values in old:
                    buffer.copy_(values)


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _another_batch(inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The first example of several, or one example twice; None where inputs have no batch in common."""
    tensors = [item for item in torch.utils._pytree.tree_leaves(inputs) if isinstance(item, Tensor)]
    if not tensors or any(not item.dim() for item in tensors) or len({item.shape[0] for item in tensors}) > 1:
        return None

    def changed(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        return item[:1] if item.shape[0] > 1 else torch.cat([item, item])

    found: tuple[Any, ...] = torch.utils._pytree.tree_map(changed, inputs)
    return found


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return len(found) == len(expected) and all(map(_close, found, expected))


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not expected.is_floating_point() or not expected.numel():
        return torch.equal(found, expected)
    scale = max(float(expected.abs().max()), 1e-6)
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)
