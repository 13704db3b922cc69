"""What scores of channels are made of: the weights that make a channel, and how the loss feels its gate.

A gate multiplies everything that a channel is made of: the output of the batch norm behind a layer, or of the layer
where no batch norm follows directly. Its gradient needs no gate in the network: at gate 1 it is the sum of gradient
times value over the norm's scale and shift, or over the row of weights and the bias (the output is linear in them), and
equals the sum of dL/dz z over all places of the channel's map z. A ReLU behind it changes nothing: where it cuts, dL/dz
is 0. Source: Molchanov et al. 2019 (CVPR, "Importance estimation for neural network pruning"), section 3.

Channels that several layers make, as in a residual stream, have one gate in several places.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from featherweight.core.context import Context
from featherweight.core.examples import Batch
from featherweight.errors import TechniqueError
from featherweight.graph.ir import Node, Ref, leaves
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._structured import total
from featherweight.training.evaluate import evaluating

Index: TypeAlias = tuple[str, int]
"""A dimension of a tensor of the state dict."""


@dataclass(frozen=True)
class Gate:
    """One place where channels are made: the dimensions of tensors whose values, times gradients, add up to its own."""

    weight: str  # the layer's
    parts: frozenset[Index]
    scale: str | None = None  # of the batch norm that follows, if one does


def gates(known: Anatomy) -> tuple[Gate, ...]:
    """All places of the network where channels are made, in its order."""
    graph = known.structure.flow.graph
    users = graph.users()
    found: dict[frozenset[Index], Gate] = {}
    for number, node in enumerate(graph.nodes, graph.first_node):
        made = _made(known, node)
        if made is None:
            continue
        readers = [graph.nodes[user - graph.first_node] for user in users.get(number, [])]
        norms = [norm for norm in (_norm(known, reader, number) for reader in readers) if norm is not None]
        if norms and len(norms) == len(readers):
            parts = frozenset().union(*(part for _, part in norms))
            gate = Gate(made.weight, parts, norms[0][0])
        else:
            gate = made
        found.setdefault(gate.parts, gate)
    return tuple(found.values())


def _made(known: Anatomy, node: Node) -> Gate | None:
    """The gate of a layer: rows of weights, and biases."""
    flow = known.structure.flow
    names = [name for name in map(flow.graph.tensor_name, leaves(node.args)) if name is not None]
    roles = [(name, dim, flow.roles.get((name, dim))) for name in names for dim in range(4)]
    rows = [(name, dim) for name, dim, role in roles if role == "out"]
    if not rows:
        return None
    return Gate(rows[0][0], frozenset([*rows, *((name, dim) for name, dim, role in roles if role == "each")]))


def _norm(known: Anatomy, node: Node, value: int) -> tuple[str, frozenset[Index]] | None:
    """Scale and shift of a batch norm that reads a value."""
    if node.op not in ("batch_norm", "instance_norm"):
        return None
    given, name_of = node.arguments(), known.structure.flow.graph.tensor_name
    scale, shift = (name_of(given[key]) if isinstance(given.get(key), Ref) else None for key in ("weight", "bias"))
    if scale is None or given["input"] != Ref(value):
        return None
    return scale, frozenset((name, 0) for name in (scale, shift) if name is not None)


def gates_of(group: Group, places: Iterable[Gate]) -> list[Gate]:
    """Those gates that belong to the channels of a group."""
    own = {(slot.tensor, slot.dim) for slot in group.slots}
    return [gate for gate in places if gate.parts & own]


def filters(model: nn.Module, group: Group) -> Tensor:
    """The weights that make each channel, float64 (channels, weights): rows of all its layers, one after the other."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    rows = [torch.zeros(len(group), 0, dtype=torch.float64)]
    for slot in group.slots:
        if slot.role == "out" and slot.tensor in tensors:
            weight = _rows(tensors[slot.tensor].detach().double().cpu(), slot.dim)
            rows.append(weight[torch.from_numpy(slot.index)].flatten(1))
    return torch.cat(rows, dim=1)


def _rows(values: Tensor, dim: int) -> Tensor:
    """One row for each index of a dimension."""
    return values.transpose(0, dim).reshape(values.shape[dim], -1)


def scales(model: nn.Module, known: Anatomy, groups: Sequence[Group]) -> list[Tensor]:
    """For each group the mean of |scale| over the batch norms right behind its layers, float64 (channels,).

    Zero for groups without one.
    """
    tensors = dict(model.named_parameters(remove_duplicate=False))
    places = gates(known)
    found = []
    for group in groups:
        names = {gate.scale for gate in gates_of(group, places) if gate.scale is not None}
        sizes = {(name, 0): tensors[name].detach().double().abs() for name in names if name in tensors}
        count = sum(slot.index.shape[1] for slot in group.slots if (slot.tensor, slot.dim) in sizes)
        found.append(total(group, sizes, ("scale",)) / max(count, 1))
    return found


# gradients ---------------------------------------------------------------------------------------------------------


def influences(
    model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context, *, examples: int, together: int | None
) -> list[Tensor]:
    """Gradient times gate: for each group float64 (rows, channels), from at most `examples` training examples.

    A row is the mean over `together` examples: 1 for each example alone, None for the task's batches. The network runs
    in evaluation mode; modes, gradients and what is trainable are as before afterwards. The loss is the task's, without
    weight decay.

    Raises: TechniqueError without examples, or where a gradient is not finite.
    """
    places = gates(known)
    own = [gates_of(group, places) for group in groups]
    names = {part for gates_here in own for gate in gates_here for part in gate.parts}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = {name: parameters[name] for name, _ in sorted(names) if name in parameters}
    rows: list[list[Tensor]] = [[] for _ in groups]
    with _differentiable(model, wanted.values()):
        for batch in _parts(context.batches("train", examples), together):
            felt = _felt(model, wanted, names, batch, context)
            for place, group in enumerate(groups):
                inside = {part: felt[part] for gate in own[place] for part in gate.parts if part in felt}
                rows[place].append(total(group, inside, ("out", "scale", "each")))
    if not groups or not rows[0]:
        raise TechniqueError("there are no examples to take gradients of", value=examples, fix="Give training data.")
    return [torch.stack(values) for values in rows]


def _felt(
    model: nn.Module, wanted: Mapping[str, Tensor], names: Iterable[Index], batch: Batch, context: Context
) -> dict[Index, Tensor]:
    """Sums of gradient times value by index of each dimension of each tensor."""
    loss = context.loss(model(*batch.inputs), batch.target)
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    products = {
        name: (item.detach() * gradient).double()
        for (name, item), gradient in zip(wanted.items(), gradients, strict=True)
        if gradient is not None
    }
    for name, product in products.items():
        if not bool(torch.isfinite(product).all()):
            raise TechniqueError("the gradient is not finite", where=name, value=float(loss.detach()))
    return {(name, dim): _rows(products[name], dim).sum(1) for name, dim in names if name in products}


def _parts(batches: Iterable[Batch], size: int | None) -> Iterator[Batch]:
    """Batches cut into pieces of `size` examples."""
    for batch in batches:
        tensors = [item for item in pytree.tree_leaves(batch.inputs) if isinstance(item, Tensor)]
        count = len(tensors[0])
        for start in range(0, count, size or count):
            end = start + (size or count)
            yield Batch(_slice(batch.inputs, start, end), _slice(batch.target, start, end))


def _slice(tree: Any, start: int, end: int) -> Any:
    return pytree.tree_map(lambda item: item[start:end] if isinstance(item, Tensor) and item.dim() else item, tree)


@contextmanager
def _differentiable(model: nn.Module, parameters: Iterable[Tensor]) -> Iterator[None]:
    """Evaluation mode, with gradients of these parameters. (cuDNN's recurrent layers give none in that mode.)"""
    frozen = [item for item in parameters if not item.requires_grad]
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    for item in frozen:
        item.requires_grad_(True)
    try:
        with evaluating(model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=not recurrent):
            yield
    finally:
        for item in frozen:
            item.requires_grad_(False)
