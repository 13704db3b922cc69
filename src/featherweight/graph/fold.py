"""Two layers with nothing between them as one: the same function, computed exactly up to rounding.

    linear, linear      y = W2 (W1 x + b1) + b2        W = W2 W1             b = W2 b1 + b2
    conv, conv 1x1      the same at every position     W[o] = sum_m W2[o, m] W1[m]
    conv 1x1, conv      the same at every tap          W[:, c] = sum_m W2[:, m] W1[m, c]

A 1x1 convolution behind another may have a stride. In front of one it must not; and where that one puts zeros around
what it reads, the 1x1 must have no bias, since those zeros would be biases. Grouped convolutions merge where both have
the same groups.

Batch norms that were folded into the layer before them (techniques/architecture/blocks/fold_norms.py) are a step of the
log like any other, `Folding`; but where each of those layers got its bias with it, the names of the tensors tell as
much, so files leave that step out and `folding` finds it again.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featherweight.errors import UsageError
from featherweight.graph.described import describe
from featherweight.graph.ir import Graph, Node, Ref, leaves
from featherweight.graph.log import Log, Replacement

__all__ = ["Folding", "Pair", "folding", "merged", "pairs_of", "without_folding"]

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_LAYERS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OPS: Final = ("linear", *(f"conv{axes}d{kind}" for axes in (1, 2, 3) for kind in ("", ".padding")))


@dataclass(frozen=True, eq=False)
class Folding(Replacement):
    """Layers that get a bias, and norms that go: a replacement that a reader finds by the names of the tensors."""

    def __eq__(self, other: object) -> bool:
        return self.modules == other.modules if isinstance(other, Replacement) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(path for path, _ in self.modules))


def folding(model: nn.Module, names: Collection[str]) -> Log:
    """The step after which `model` may have the tensors of these names and no others; an empty log for none.

    Batch norms of which no tensor has a name become `nn.Identity`, layers without a bias whose bias has a name get one:
    as many layers as norms, of the same numbers of channels.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    channels: tuple[list[int], list[int]] = ([], [])  # of norms and of layers
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            own = {f"{path}.{name}": len(tensor) for name, tensor in module.state_dict().items() if tensor.dim()}
            if own and not any(name in names for name in own):
                found.append((path, {"kind": "Identity"}))
                channels[0].append(max(own.values()))
        elif type(module) in _LAYERS and module.bias is None and f"{path}.bias" in names:
            try:
                found.append((path, {key: value for key, value in describe(module).items() if key != "bias"}))
            except UsageError:  # hooks and the like, which no log tells
                return Log()
            channels[1].append(len(module.weight))
    return Log((Folding(tuple(found)),)) if found and sorted(channels[0]) == sorted(channels[1]) else Log()


def without_folding(log: Log) -> Log:
    """What a file has to say of a log: all but foldings at its end."""
    steps = log.steps
    while steps and isinstance(steps[-1], Folding):
        steps = steps[:-1]
    return Log(steps)


@dataclass(frozen=True)
class Pair:
    """The module paths of two layers, the second of which alone reads the first."""

    first: str
    second: str


def pairs_of(graph: Graph, model: nn.Module) -> tuple[Pair, ...]:
    """All neighbouring layers that `merged` can make one of, in the order in which they run; they may overlap.

    `graph` is that of `model` in evaluation mode: a dropout between two layers is no operator there.
    """
    readers = graph.users()
    ends = {ref.index for ref in leaves(graph.outputs)}
    once = {index for index, found in readers.items() if len(found) == 1} - ends
    modules = dict(model.named_modules())
    found = []
    for node in graph.nodes:
        before = node.args[0] if node.op in _OPS else None
        if not isinstance(before, Ref) or before.index not in once:
            continue
        producer = graph.node(before)
        if producer is None or producer.op not in _OPS:
            continue
        pair = Pair(_owner(graph, producer, once), _owner(graph, node, once))
        first, second = modules.get(pair.first), modules.get(pair.second)
        if first is not second and merged(first, second, sketch=True) is not None:
            found.append(pair)
    return tuple(found)


def merged(first: Any, second: Any, *, sketch: bool = False) -> Layer | None:
    """One layer that does what the two modules do one after the other; None where there is no such layer.

    It has the type of the weights, the device, the mode and the `requires_grad` of the first. With `sketch` it is made
    on the meta device, without values.
    """
    if type(first) is not type(second) or type(first) not in _LAYERS:
        return None
    if type(first) is nn.Linear:
        return _linear(first, second, sketch) if first.out_features == second.in_features else None
    return _convolution(first, second, sketch)


def _linear(one: nn.Linear, other: nn.Linear, sketch: bool) -> Layer:
    bias = _biased(one, other)
    made = nn.Linear(one.in_features, other.out_features, bias, device="meta")
    return made if sketch else _filled(made, one, _weights(one)[:, :, None], _weights(other)[:, :, None], other, 1)


def _convolution(one: Any, other: Any, sketch: bool) -> Layer | None:
    settings = _settings(one, other)
    if settings is None or one.out_channels != other.in_channels or one.groups != other.groups:
        return None
    bias = _biased(one, other)
    made: Layer = type(one)(
        one.in_channels, other.out_channels, groups=one.groups, bias=bias, device="meta", **settings
    )
    if sketch:
        return made
    return _filled(made, one, _weights(one).flatten(2), _weights(other).flatten(2), other, one.groups)


def _settings(one: Any, other: Any) -> dict[str, Any] | None:
    """Window, stride and padding of the one convolution; None where there is none."""
    if _is_pointwise(other):
        if isinstance(one.padding, str) and not _all(other.stride, 1):
            return None  # torch takes no padding by name with a stride
        stride = tuple(a * b for a, b in zip(one.stride, other.stride, strict=True))
        return _window(one) | {"stride": stride}
    if not _is_pointwise(one) or not _all(one.stride, 1):
        return None
    bare = other.padding == "valid" or (not isinstance(other.padding, str) and _all(other.padding, 0))
    if not bare and other.padding_mode == "zeros" and one.bias is not None:
        return None
    return _window(other) | {"stride": other.stride}


def _window(layer: Any) -> dict[str, Any]:
    names = ("kernel_size", "padding", "dilation", "padding_mode")
    return {name: getattr(layer, name) for name in names}


def _is_pointwise(layer: Any) -> bool:
    plain = layer.padding in ("same", "valid") if isinstance(layer.padding, str) else _all(layer.padding, 0)
    return _all(layer.kernel_size, 1) and plain


def _all(values: tuple[int, ...], value: int) -> bool:
    return all(item == value for item in values)


def _biased(*layers: Any) -> bool:
    return any(layer.bias is not None for layer in layers)


def _weights(layer: Layer) -> Tensor:
    return layer.weight.detach().double()


def _filled(made: Layer, one: Any, first: Tensor, second: Tensor, other: Any, groups: int) -> Layer:
    """`made` with the product of the weights; first (m, c, taps) and second (o, m / groups, taps), one tap in one."""
    left = _grouped(second, groups)  # (g, o, m, taps)
    right = _grouped(first, groups)  # (g, m, c, taps)
    product = torch.einsum("gomt,gmcs->gocts", left, right).flatten(3).flatten(0, 1)
    made = made.to_empty(device=one.weight.device).to(one.weight.dtype)
    with torch.no_grad():
        made.weight.copy_(product.reshape(made.weight.shape))
        if made.bias is not None:
            moved = product.new_zeros(len(product)) if other.bias is None else other.bias.detach().double()
            if one.bias is not None:
                shift = _grouped(one.bias.detach().double(), groups)
                moved = moved + torch.einsum("gomt,gm->go", left, shift).flatten()
            made.bias.copy_(moved)
    made.requires_grad_(one.weight.requires_grad)
    return made.train(one.training)


def _grouped(values: Tensor, groups: int) -> Tensor:
    return values.reshape(groups, -1, *values.shape[1:])


def _owner(graph: Graph, node: Node, once: set[int]) -> str:
    """The path of the module whose tensors a layer uses and nothing else does; "?" where there is none."""
    given = node.arguments()
    refs = list(_tensors(given))
    if not isinstance(given["weight"], Ref) or not all(ref.index in once for ref in refs):
        return "?"
    paths = {(graph.tensor_name(ref) or "?").rpartition(".")[0] for ref in refs}
    return paths.pop() if len(paths) == 1 else "?"


def _tensors(given: dict[str, Any]) -> Iterator[Ref]:
    for name in ("weight", "bias"):
        if isinstance(given.get(name), Ref):
            yield given[name]
