"""How channels flow through layers: convolutions, products of matrices, norms, embeddings, attention, pooling."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from featherweight.graph._flow_base import Dims, Result, Site, pinned, rule
from featherweight.graph.cells import Ids

_CONVS = [f"conv{axes}d{kind}" for axes in (1, 2, 3) for kind in ("", ".padding")]
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


# convolutions and linear layers ----------------------------------------------------------------------------------


@rule(*_CONVS, *_TRANSPOSED, "convolution")
def convolution(site: Site) -> Result:
    """Weights (out, in / groups, ...), transposed ones (in, out / groups, ...); input (batch, in, ...) or (in, ...)."""
    given, weight = site.given, site.dims(site.given["weight"])
    inputs = site.dims(site.given["input"])
    transposed = site.node.op in _TRANSPOSED or bool(given.get("transposed"))
    channel = len(inputs) - (len(weight) - 1)
    _fix_others(site, inputs, (channel,), batch=channel)
    for ids in weight[2:]:
        site.pin(ids, "the places of a filter")
    site.role(given["weight"], *(("in", "out") if transposed else ("out", "in")))
    if transposed:
        outputs = _grouped(site, inputs[channel], weight[0], weight[1])
    else:
        outputs = _grouped_filters(site, inputs[channel], weight)
    if given["bias"] is not None:
        site.unite(site.dims(given["bias"])[0], outputs)
        site.role(given["bias"], "each")
    return (*inputs[:channel], outputs, *pinned(site.out_shape()[channel + 1 :]))


def _grouped_filters(site: Site, inputs: Ids, weight: Dims) -> Ids:
    """Ties (groups x in) to the columns and (groups x out) to the rows of a weight; gives the outputs."""
    groups = site.given["groups"]
    if groups == 1:
        site.unite(weight[1], inputs)
        return weight[0]
    group, column = site.cells.factor(inputs, (groups, len(inputs) // groups))
    site.unite(weight[1], column)
    _same_groups(site, group, weight[0])
    site.count("groups", None, group)
    return weight[0]


def _same_groups(site: Site, group: Ids, channels: Ids) -> None:
    each = len(channels) // len(group)
    if each == 1:
        site.unite(channels, group)
    else:
        other, _ = site.cells.factor(channels, (len(group), each))
        site.unite(other, group)


def _grouped(site: Site, inputs: Ids, rows: Ids, columns: Ids) -> Ids:
    """The same for transposed convolutions, whose weights are (in, out / groups, ...)."""
    site.unite(rows, inputs)
    groups = site.given["groups"]
    if groups == 1:
        return columns
    group, _ = site.cells.factor(inputs, (groups, len(inputs) // groups))
    site.count("groups", None, group)
    return site.cells.product([group, columns])


@rule("linear")
def linear(site: Site) -> Result:
    """Weight (out, in)."""
    inputs, weight = site.dims(site.given["input"]), site.dims(site.given["weight"])
    site.unite(weight[-1], inputs[-1])
    site.role(site.given["weight"], "out", "in")
    outputs = weight[:-1]
    if site.given["bias"] is not None:
        site.unite(site.dims(site.given["bias"])[0], outputs[0])
        site.role(site.given["bias"], "each")
    return (*inputs[:-1], *outputs)


@rule("matmul", "mm", "bmm", "mv", "dot")
def matmul(site: Site) -> Result:
    """Leading dimensions are broadcast, the last of the left and the last but one of the right are summed over."""
    left, right = list(site.given.values())[:2]
    _weight_roles(site, left, right)
    return _matmul(site, site.dims(left), site.dims(right))


def _weight_roles(site: Site, left: Any, right: Any) -> None:
    site.role(right, *("",) * (len(site.dims(right)) - 2), "in", "out")
    site.role(left, *("",) * (len(site.dims(left)) - 2), *("out", "in")[-len(site.dims(left)) :])


def _matmul(site: Site, left: Dims, right: Dims) -> Dims:
    site.unite(left[-1], right[-2] if len(right) > 1 else right[-1])
    ends = (left[-2:-1], right[-1:] if len(right) > 1 else ())
    return (*broadcast(site, [left[:-2], right[:-2]]), *ends[0], *ends[1])


@rule("addmm", "addbmm", "baddbmm", "addmv")
def added_matmul(site: Site) -> Result:
    """A product of matrices, added to a third tensor."""
    added, left, right = list(site.given.values())[:3]
    _weight_roles(site, left, right)
    site.role(added, *("",) * (len(site.dims(added)) - 1), "each")
    product = _matmul(site, site.dims(left), site.dims(right))
    return broadcast(site, [site.dims(added), product[1:] if site.node.op == "addbmm" else product])


@rule("aten::_grouped_mm.default")
def grouped_matmul(site: Site) -> Result:
    """Experts: rows (tokens, in) times weights (experts, in, out), each row by the one that it is sorted to."""
    rows, weight = site.dims(site.given["self"]), site.dims(site.given["mat2"])
    if len(rows) != 2 or len(weight) != 3:
        return site.barrier()
    site.unite(rows[1], weight[1])
    site.pin(weight[0], "experts")
    site.role(site.given["mat2"], "", "in", "out")
    return (rows[0], weight[2])


@rule("einsum")
def einsum(site: Site) -> Result:
    """Letters that are the same are one dimension."""
    operands = site.given["tensors"]
    terms, output = letters(site.given["equation"].replace(" ", ""), [len(site.dims(item)) for item in operands])
    seen: dict[str, Ids] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, ids in zip(term, site.dims(operand), strict=True):
            if len(ids) == 1 and len(seen.get(letter, ids)) > 1:
                continue
            if letter in seen and len(seen[letter]) == len(ids):
                site.unite(seen[letter], ids)
            seen[letter] = ids
    for number, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        others = {letter for place, other in enumerate(terms) if place != number for letter in other}
        roles = ["in" if letter not in output else "out" if letter not in others else "" for letter in term]
        site.role(operand, *roles)
    return tuple(seen[letter] for letter in output)


def letters(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The names of the dimensions of each operand and of the result; "..." stands for ..., ".2", ".1"."""
    inputs, arrow, output = equation.partition("->")
    terms = [_spelled(term, rank) for term, rank in zip(inputs.split(","), ranks, strict=True)]
    every = [letter for term in terms for letter in term]
    dots = sorted({letter for letter in every if letter.startswith(".")}, key=lambda item: -int(item[1:]))
    if not arrow:
        return terms, dots + sorted(letter for letter in set(every) - set(dots) if every.count(letter) == 1)
    return terms, _spelled(output, len(dots) + len(output.replace(".", "")))


def _spelled(term: str, rank: int) -> list[str]:
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f".{number}" for number in range(hidden, 0, -1)), *after]


@rule("bilinear")
def bilinear(site: Site) -> Result:
    """Weight (out, in of the first, in of the second)."""
    first, second, weight = (site.dims(site.given[name]) for name in ("input1", "input2", "weight"))
    site.unite(weight[1], first[-1])
    site.unite(weight[2], second[-1])
    if site.given["bias"] is not None:
        site.unite(site.dims(site.given["bias"])[0], weight[0])
        site.role(site.given["bias"], "each")
    site.role(site.given["weight"], "out", "in", "in")
    return (*first[:-1], weight[0])


@rule("embedding")
def embedding(site: Site) -> Result:
    """Weight (words, features)."""
    weight = site.dims(site.given["weight"])
    site.pin(weight[0], "the words of an embedding")
    site.role(site.given["weight"], "", "out")
    return (*site.dims(site.given["indices"]), weight[1])


# norms -----------------------------------------------------------------------------------------------------------


@rule("batch_norm", "instance_norm")
def batch_norm(site: Site) -> Result:
    """One scale, shift, mean and variance a channel, the second dimension."""
    inputs = site.dims(site.given["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if site.given.get(name) is not None:
            site.unite(site.dims(site.given[name])[0], inputs[1])
            site.role(site.given[name], "scale" if name == "weight" else "each")
    return inputs


@rule("layer_norm", "rms_norm")
def layer_norm(site: Site) -> Result:
    """Scale and shift over the last dimensions; their mean and variance are those of what is left."""
    inputs, sizes = site.dims(site.given["input"]), site.given["normalized_shape"]
    normed = inputs[-len(sizes) :]
    for position, ids in enumerate(normed):
        site.count("normalized_shape", position, ids)
    for name in ("weight", "bias"):
        if site.given.get(name) is not None:
            for own, ids in zip(site.dims(site.given[name]), normed, strict=True):
                site.unite(own, ids)
            site.role(site.given[name], *("each",) * len(normed))
    return inputs


@rule("group_norm")
def group_norm(site: Site) -> Result:
    """The channels are (groups, channels of a group)."""
    inputs, groups = site.dims(site.given["input"]), site.given["num_groups"]
    group, _ = site.cells.factor(inputs[1], (groups, len(inputs[1]) // groups))
    site.count("num_groups", None, group)
    for name in ("weight", "bias"):
        if site.given.get(name) is not None:
            site.unite(site.dims(site.given[name])[0], inputs[1])
            site.role(site.given[name], "each")
    return inputs


@rule("prelu")
def prelu(site: Site) -> Result:
    """One slope for all, or one a channel, the second dimension."""
    inputs, weight = site.dims(site.given["self"]), site.dims(site.given["weight"])
    if weight and len(weight[0]) > 1:
        site.unite(weight[0], inputs[1])
        site.role(site.given["weight"], "each")
    return inputs


# attention -------------------------------------------------------------------------------------------------------


@rule("scaled_dot_product_attention")
def attention(site: Site) -> Result:
    """Query (..., L, E), key (..., S, E), value (..., S, F) to (..., L, F); key and value may have fewer heads."""
    query, key, value = (site.dims(site.given[name]) for name in ("query", "key", "value"))
    site.unite(query[-1], key[-1])
    for ids in (query[-2], key[-2], value[-2]):
        site.pin(ids, "the positions of a sequence")
    if site.given.get("enable_gqa") and len(query[-3]) != len(key[-3]):
        heads = len(key[-3])
        rows, _ = site.cells.factor(query[-3], (heads, len(query[-3]) // heads))
        site.unite(rows, key[-3])
        site.unite(value[-3], key[-3])
        leading = (*broadcast(site, [query[:-3], key[:-3], value[:-3]]), query[-3])
    else:
        leading = broadcast(site, [query[:-2], key[:-2], value[:-2]])
    mask = site.given.get("attn_mask")
    if mask is not None:
        broadcast(site, [(*leading, query[-2], key[-2]), site.dims(mask)])
    return (*leading, query[-2], value[-1])


# pooling, resampling ---------------------------------------------------------------------------------------------

_POOLS = [f"{kind}_pool{axes}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for axes in (1, 2, 3)]
_INDEXED = [f"max_pool{axes}d_with_indices" for axes in (1, 2, 3)]
_RESIZED = [
    *(f"upsample_nearest{axes}d" for axes in (1, 2, 3)),
    *(f"_upsample_nearest_exact{axes}d" for axes in (1, 2, 3)),
    *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
    *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
    *("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
]


@rule(*_POOLS, *_INDEXED, *_RESIZED)
def spatial(site: Site) -> Result:
    """Pixels are gathered, channels stay apart."""
    value = next(iter(site.given.values()))
    inputs = site.dims(value)
    axes = next(int(letter) for letter in reversed(site.node.op.removesuffix("_with_indices")) if letter.isdigit())
    for ids in inputs[len(inputs) - axes :]:
        site.pin(ids, "pixels")
    kept = inputs[: len(inputs) - axes]
    result = (*kept, *pinned(site.out_shape()[len(kept) :]))
    return [result, result] if isinstance(site.node.meta, tuple) else result


@rule("pixel_shuffle")
def pixel_shuffle(site: Site) -> Result:
    """(channels x factor^2) to channels and finer pixels."""
    inputs, factor = site.dims(site.given["self"]), site.given["upscale_factor"]
    channels, places = site.cells.factor(inputs[-3], (len(inputs[-3]) // factor**2, factor**2))
    site.pin(places, "the places that a pixel shuffle fills")
    return (*inputs[:-3], channels, *pinned(site.out_shape()[-2:]))


@rule("pixel_unshuffle", "im2col")
def gathered_pixels(site: Site) -> Result:
    """Channels become (channels x places)."""
    inputs = site.dims(next(iter(site.given.values())))
    for ids in inputs[-2:]:
        site.pin(ids, "pixels")
    shape, channel = site.out_shape(), len(inputs) - 3
    spread = shape[channel] // len(inputs[channel])
    return (*inputs[:channel], np.repeat(inputs[channel], spread), *pinned(shape[channel + 1 :]))


@rule("col2im")
def spread_pixels(site: Site) -> Result:
    """(channels x places of a filter) to channels."""
    inputs, shape = site.dims(site.given["self"]), site.out_shape()
    channel = len(inputs) - 2
    channels, places = site.cells.factor(inputs[channel], (shape[channel], len(inputs[channel]) // shape[channel]))
    site.pin(places, "the places of a filter")
    site.pin(inputs[-1], "pixels")
    return (*inputs[:channel], channels, *pinned(shape[channel + 1 :]))


@rule("grid_sampler")
def grid_sampler(site: Site) -> Result:
    """Pixels are read at places of a grid, channels stay apart."""
    inputs, grid = site.dims(site.given["input"]), site.dims(site.given["grid"])
    for ids in (*inputs[2:], *grid):
        site.pin(ids, "pixels")
    return (*inputs[:2], *pinned(site.out_shape()[2:]))


@rule("channel_shuffle")
def channel_shuffle(site: Site) -> Result:
    """(groups, channels of a group) the other way round."""
    inputs, groups = site.dims(site.given["self"]), site.given["groups"]
    group, inner = site.cells.factor(inputs[1], (groups, len(inputs[1]) // groups))
    site.count("groups", None, group)
    return (inputs[0], site.cells.product([inner, group]), *inputs[2:])


# shared ----------------------------------------------------------------------------------------------------------


def broadcast(site: Site, operands: list[Dims]) -> Dims:
    """Ties operands as torch broadcasts them, from the last dimension; sizes of 1 stand for all."""
    rank = max((len(dims) for dims in operands), default=0)
    result: list[Any] = [None] * rank
    for dims in operands:
        for place, ids in enumerate(dims, rank - len(dims)):
            held = result[place]
            if held is None or len(held) == 1:
                result[place] = ids
    for dims in operands:
        for place, ids in enumerate(dims, rank - len(dims)):
            if len(ids) == len(result[place]) and len(ids) > 1:
                site.unite(ids, result[place])
    return tuple(result)


def _fix_others(site: Site, dims: Dims, free: tuple[int, ...], batch: int) -> None:
    for place, ids in enumerate(dims):
        if place not in free:
            site.pin(ids, "the batch" if place < batch else "pixels")
