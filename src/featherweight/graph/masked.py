"""A network of full size that behaves as if some of its channels were not there: what surgery is checked against.

Every value is computed by the network's own operators at its own size, and set to zero where its channels are gone.
Zeros add nothing to sums, so convolutions and products need nothing else. Norms, means and the default scale of
attention divide by a number of channels; there, what is gone does not count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map

from featherweight.graph._flow_base import Dims
from featherweight.graph._record_calls import lookup
from featherweight.graph.ir import Node, Ref
from featherweight.graph.program import Step, Template, values_of
from featherweight.graph.structure import Mask, Structure


class Masked:
    """The network of a structure with its tensors, in evaluation mode; with `double` in double precision."""

    def __init__(self, structure: Structure, tensors: Mapping[str, Tensor], *, double: bool = False) -> None:
        self.structure, self.tensors = structure, tensors
        nodes = structure.flow.graph.nodes
        if double:
            self.tensors = {name: doubled(item) for name, item in tensors.items()}
            nodes = tuple(replace(node, args=tree_map(doubled, node.args)) for node in nodes)
        self._steps = [step_of(node) for node in nodes]

    @torch.no_grad()
    def run(self, inputs: Sequence[Tensor], gone: Mask) -> Any:
        """The outputs as if the cells that are gone were not there."""
        graph = self.structure.flow.graph
        given = [*inputs, *(self.tensors[name] for name in graph.tensors)]
        values: list[Any] = [self._masked(value, number, gone) for number, value in enumerate(given)]
        values += [None] * len(graph.nodes)
        for number, (node, step) in enumerate(zip(graph.nodes, self._steps, strict=True), graph.first_node):
            exact = self._counted(node, values, gone)
            found = step.run(values, torch.device("cpu")) if exact is None else exact
            values[number] = self._masked(found, number, gone)
        return values_of(graph.outputs, values)

    def _masked(self, value: Any, number: int, gone: Mask) -> Any:
        dims = self.structure.flow.dims[number]
        if isinstance(dims, list):
            return [self._one(item, part, gone) for item, part in zip(value, dims, strict=True)]
        return self._one(value, dims or (), gone)

    def _one(self, value: Any, dims: Dims, gone: Mask) -> Any:
        if not isinstance(value, Tensor):
            return value
        for dim, ids in enumerate(dims):
            lost = torch.from_numpy(gone[self.structure.flow.cells.find(ids)])
            if bool(lost.any()):
                value = value.masked_fill(lost.reshape(-1, *(1,) * (len(dims) - 1 - dim)), 0)
        return value

    def _counted(self, node: Node, values: list[Any], gone: Mask) -> Any:
        """The result of an operator that divides by a number of channels of which some are gone; None for others."""
        compute = _COUNTED.get(node.op)
        subject = node.args[0] if node.args else None
        dims = self.structure.flow.dims[subject.index] if isinstance(subject, Ref) else None
        if compute is None or not isinstance(dims, tuple):
            return None
        live = [torch.from_numpy(~gone[self.structure.flow.cells.find(ids)]) for ids in dims]
        if all(bool(item.all()) for item in live):
            return None
        arguments = {
            name: values[item.index] if isinstance(item, Ref) else item for name, item in node.arguments().items()
        }
        return compute(arguments, live)


def doubled(item: Any) -> Any:
    """Tensors of floating numbers, and their type, in double precision; anything else as it is."""
    if isinstance(item, Tensor):
        return item.double() if item.is_floating_point() else item
    return torch.float64 if isinstance(item, torch.dtype) and item.is_floating_point else item


def step_of(node: Node) -> Step:
    """The call of a node; also of operators that are not in the list, which recorded graphs may have."""
    op = lookup(node.op)
    given = op.arguments(node.args)
    fixed = {name: value(given) if callable(value) else value for name, value in op.fixed}
    by_place = [value for name, value in given.items() if name not in op.keywords]
    by_name = Template.of([given[name] for name in op.keywords])
    return Step(op, 0, Template.of(by_place), op.keywords, by_name, fixed, ())


def _layer_norm(given: dict[str, Any], live: list[Tensor]) -> Tensor:
    """Over the last dimensions, by the mean and variance of what is there."""
    value, rank = given["input"], len(given["normalized_shape"])
    weights = torch.ones(value.shape[-rank:], dtype=value.dtype)
    for place in range(rank):
        weights = weights * live[place - rank].to(value.dtype).reshape(-1, *(1,) * (rank - 1 - place))
    return _standardised(value, weights, list(range(-rank, 0)), given)


def _standardised(
    value: Tensor, weights: Tensor, dims: list[int], given: dict[str, Any], centre: bool = True
) -> Tensor:
    total = weights.sum()
    mean = (value * weights).sum(dims, keepdim=True) / total if centre else torch.zeros(())
    variance = ((value - mean).square() * weights).sum(dims, keepdim=True) / total
    result = (value - mean) * torch.rsqrt(variance + (given["eps"] or torch.finfo(value.dtype).eps))
    result = result if given["weight"] is None else result * given["weight"]
    return result if given.get("bias") is None else result + given["bias"]


def _rms_norm(given: dict[str, Any], live: list[Tensor]) -> Tensor:
    value, rank = given["input"], len(given["normalized_shape"])
    weights = torch.ones(value.shape[-rank:], dtype=value.dtype)
    for place in range(rank):
        weights = weights * live[place - rank].to(value.dtype).reshape(-1, *(1,) * (rank - 1 - place))
    return _standardised(value, weights, list(range(-rank, 0)), given, centre=False)


def _group_norm(given: dict[str, Any], live: list[Tensor]) -> Tensor:
    """Groups of channels, of which some may be gone as a whole."""
    value, groups = given["input"], given["num_groups"]
    shape = (value.shape[0], groups, -1, *value.shape[2:])
    weights = live[1].to(value.dtype).reshape(1, groups, -1, *(1,) * (value.dim() - 2))
    grouped = value.reshape(shape)
    dims = list(range(2, grouped.dim()))
    pixels = prod(value.shape[2:])
    total = (weights.sum(2, keepdim=True) * pixels).clamp(min=1)
    mean = (grouped * weights).sum(dims, keepdim=True) / total
    variance = ((grouped - mean).square() * weights).sum(dims, keepdim=True) / total
    result: Tensor = ((grouped - mean) * torch.rsqrt(variance + given["eps"])).reshape(value.shape)
    columns = (-1, *(1,) * (value.dim() - 2))
    result = result if given["weight"] is None else result * given["weight"].reshape(columns)
    return result if given["bias"] is None else result + given["bias"].reshape(columns)


def _batch_norm(given: dict[str, Any], live: list[Tensor]) -> Tensor | None:
    """By the statistics of what it gets (weight standardisation): those of what is there; None with running ones."""
    if given["running_mean"] is not None:
        return None
    value = given["input"]
    weights = torch.ones((), dtype=value.dtype)
    dims = [0, *range(2, value.dim())]
    for dim in dims:
        weights = weights * live[dim].to(value.dtype).reshape(-1, *(1,) * (value.dim() - 1 - dim))
    weights = weights.expand(value.shape[0], 1, *value.shape[2:])
    columns = (-1, *(1,) * (value.dim() - 2))
    shaped = {name: None if given[name] is None else given[name].reshape(columns) for name in ("weight", "bias")}
    return _standardised(value, weights, dims, given | shaped)


def _mean(given: dict[str, Any], live: list[Tensor]) -> Tensor:
    value: Tensor = given["self"]
    dims = list(given["dim"]) if given.get("dim") is not None else list(range(value.dim()))
    share = prod(float(live[dim].float().mean()) for dim in dims)
    mean: Tensor = value.mean(dims, keepdim=given.get("keepdim", False))
    return mean / share


def _spread(function: Callable[..., Any]) -> Callable[[dict[str, Any], list[Tensor]], Any]:
    """Variances and deviations of what is there."""

    def compute(given: dict[str, Any], live: list[Tensor]) -> Any:
        value: Tensor = given["self"]
        dims = _dims(given, value)
        for dim in dims:
            value = value.index_select(dim, live[dim].nonzero()[:, 0])
        correction = given.get("correction", int(given.get("unbiased", True)))
        correction = 1 if correction is None else correction
        return function(value, dim=dims, correction=correction, keepdim=given.get("keepdim", False))

    return compute


def _dims(given: dict[str, Any], value: Tensor) -> list[int]:
    dims = given.get("dim")
    dims = (dims,) if isinstance(dims, int) else dims
    return [dim % value.dim() for dim in dims] if dims else list(range(value.dim()))


def _attention(given: dict[str, Any], live: list[Tensor]) -> Tensor | None:
    if given.get("scale") is not None:
        return None
    scale = float(live[-1].sum()) ** -0.5
    return functional.scaled_dot_product_attention(
        given["query"],
        given["key"],
        given["value"],
        attn_mask=given.get("attn_mask"),
        is_causal=given.get("is_causal", False),
        scale=scale,
        enable_gqa=given.get("enable_gqa", False),
    )


_COUNTED = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "mean": _mean,
    "mean.default": _mean,
    **{f"var{kind}": _spread(torch.var) for kind in ("", ".dim", ".default")},
    **{f"std{kind}": _spread(torch.std) for kind in ("", ".dim", ".default")},
    **{f"var_mean{kind}": _spread(torch.var_mean) for kind in ("", ".dim")},
    **{f"std_mean{kind}": _spread(torch.std_mean) for kind in ("", ".dim")},
    "scaled_dot_product_attention": _attention,
}
