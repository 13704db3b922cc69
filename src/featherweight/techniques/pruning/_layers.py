"""The layers of a recorded network whose weights can be fitted to data, and what stands around them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.encodings.attach import encodings_of
from featherweight.graph.ir import Graph, Meta, Node, Ref
from featherweight.training.patches import Layer, gathered, patches

_CONVS: dict[str, Any] = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}
_FLAT = 1e-3  # of the largest scale of a batch norm: behind less than that nothing can be made up for


@dataclass(frozen=True)
class Norm:
    """The batch norm that alone reads a layer: state-dict names (None: it has none) and the epsilon."""

    mean: str
    variance: str
    weight: str | None
    shift: str | None
    epsilon: float


@dataclass(frozen=True)
class Fitted:
    """A convolution or linear layer that runs once and owns its weight.

    `node` is its number, `input` that of the value it reads. `bias` and `norm` can take an intercept. `shortcut` is the
    number of the value that is added to what the layer (and its norm) gives, where that is known before it runs.
    """

    node: int
    input: int
    weight: str
    bias: str | None
    norm: Norm | None
    shortcut: int | None
    groups: int
    geometry: Layer

    @property
    def linear(self) -> bool:
        """Whether it is a linear layer."""
        return isinstance(self.geometry, nn.Linear)

    def rows(self, value: Tensor, positions: Tensor) -> Tensor:
        """What a value of the layer's output space holds at positions (examples, k): (rows, channels)."""
        flat = value.reshape(len(value), -1, value.shape[-1]) if self.linear else value.flatten(2).mT
        return gathered(flat, positions).flatten(0, 1)

    def patches(self, value: Tensor, positions: Tensor) -> Tensor:
        """What the layer reads for these positions: (groups, rows, columns)."""
        found = patches(self.geometry, value, positions)
        return found.reshape(len(found), self.groups, -1).transpose(0, 1)


def fitted_layers(graph: Graph, model: nn.Module) -> list[Fitted]:
    """All of a network, in the order in which they run.

    Left out: what runs more than once, shares its weight, or keeps it in an encoding.
    """
    finder = _Finder(graph, model)
    found = (finder.layer(number, node) for number, node in enumerate(graph.nodes, graph.first_node))
    return [item for item in found if item is not None]


class _Finder:
    def __init__(self, graph: Graph, model: nn.Module) -> None:
        self.graph, self.users = graph, graph.users()
        self.reads = Counter(ref.index for node in graph.nodes for ref in node.refs())
        self.tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(
            model.named_buffers(remove_duplicate=False)
        )
        self.shares = Counter(id(item) for item in self.tensors.values())
        self.encoded = encodings_of(model)

    def layer(self, number: int, node: Node) -> Fitted | None:
        kind = node.op.removesuffix(".padding")
        if kind not in _CONVS and kind != "linear":
            return None
        given = node.arguments()
        source, weight = given["input"], self.own(given["weight"])
        meta = self.graph.meta(source) if isinstance(source, Ref) else None
        if weight is None or not isinstance(meta, Meta) or weight in self.encoded or len(meta.shape) < 2:
            return None
        if kind in _CONVS and len(meta.shape) != self.tensors[weight].dim():
            return None  # one example without a dimension for examples
        bias = self.own(given["bias"])
        if given["bias"] is not None and (bias is None or bias in self.encoded):
            return None
        geometry = _geometry(kind, self.tensors[weight], given)
        norm = self.norm(number)
        shortcut = self.shortcut(number, norm)
        return Fitted(number, source.index, weight, bias, norm, shortcut, given.get("groups", 1), geometry)

    def own(self, ref: object) -> str | None:
        """The name of a tensor of the model that only one node reads, once, and only one module has."""
        name = self.graph.tensor_name(ref) if isinstance(ref, Ref) else None
        if not isinstance(ref, Ref) or name not in self.tensors or self.reads[ref.index] != 1:
            return None
        return name if self.shares[id(self.tensors[name])] == 1 else None

    def follower(self, number: int) -> int | None:
        """The only node that reads a value."""
        users = self.users.get(number, [])
        if len(users) != 1 or self.reads[number] != 1:
            return None
        return users[0]

    def norm(self, number: int) -> Norm | None:
        follower = self.follower(number)
        node = None if follower is None else self.graph.nodes[follower - self.graph.first_node]
        if node is None or node.op != "batch_norm":
            return None
        given = node.arguments()
        mean, variance = self.own(given["running_mean"]), self.own(given["running_var"])
        weight = None if given["weight"] is None else self.own(given["weight"])
        shift = None if given["bias"] is None else self.own(given["bias"])
        known = (mean, variance, *(own for own, key in ((weight, "weight"), (shift, "bias")) if given[key] is not None))
        if mean is None or variance is None or None in known:
            return None
        return Norm(mean, variance, weight, shift, given["eps"])

    def shortcut(self, number: int, norm: Norm | None) -> int | None:
        """The other part of the sum that the layer ends in, if it is there before the layer runs."""
        follower = self.follower(number)
        if norm is not None and follower is not None:
            follower = self.follower(follower)
        node = None if follower is None else self.graph.nodes[follower - self.graph.first_node]
        if node is None or node.op != "add" or node.arguments().get("alpha", 1) != 1:
            return None
        parts = [item.index for item in node.args[:2] if isinstance(item, Ref)]
        others = [index for index in parts if index < number and self.graph.tensor_name(Ref(index)) is None]
        shapes = {meta.shape for index in parts if isinstance(meta := self.graph.meta(Ref(index)), Meta)}
        return others[0] if len(parts) == 2 and len(others) == 1 and len(shapes) == 1 else None


def _geometry(kind: str, weight: Tensor, given: dict[str, Any]) -> Layer:
    """A layer without weights that reads its input as the node does: padding in its code is a node of its own."""
    if kind == "linear":
        return nn.Linear(1, 1, device="meta")
    settings: dict[str, Any] = {name: given[name] for name in ("stride", "padding", "dilation")}
    rank = weight.dim() - 2
    wide = {
        name: item * rank if isinstance(item, tuple) and len(item) == 1 else item for name, item in settings.items()
    }
    made: Layer = _CONVS[kind](1, 1, tuple(weight.shape[2:]), device="meta", **wide)
    return made


def as_normed(
    norm: Norm, whole: dict[str, Tensor], cut: dict[str, Tensor], rows: Tensor | None, value: Tensor
) -> Tensor:
    """What must go into the norm of the smaller network so that it gives what that of the whole one gives for `value`.

    `value` (n, channels) float64; `rows` are the channels of the whole network's norm that are left (None: all). The
    two differ where statistics were changed, as by folding what a constant channel gave. Channels that a norm lets
    hardly through stay as they are.
    """
    channels = cut[norm.mean].shape[0]

    def own(tensors: dict[str, Tensor], name: str | None) -> Tensor:
        found = torch.zeros_like(cut[norm.mean]) if name is None else tensors[name].detach()
        return (found if tensors is cut or rows is None or name is None else found[rows]).double()

    old, _ = scale_behind(norm, whole, channels if rows is None else len(whole[norm.mean]))
    new, enough = scale_behind(norm, cut, channels)
    old = old if rows is None else old[rows]
    shift = own(whole, norm.shift) - own(cut, norm.shift)
    target = ((value - own(whole, norm.mean)) * old + shift) / torch.where(enough, new, 1.0) + own(cut, norm.mean)
    return torch.where(enough, target, value)


def scale_behind(norm: Norm | None, tensors: dict[str, Tensor], channels: int) -> tuple[Tensor, Tensor]:
    """What the norm multiplies each channel by, float64, and whether that is enough to be divided by."""
    if norm is None:
        return torch.ones(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.bool)
    weight = 1.0 if norm.weight is None else tensors[norm.weight].detach().double()
    scale = weight / (tensors[norm.variance].detach().double() + norm.epsilon).sqrt()
    return scale, scale.abs() > _FLAT * scale.abs().max()
