"""How channels flow through operators that only move elements: reshaping, cutting, joining, turning, repeating."""

from collections.abc import Sequence
from math import prod

import numpy as np

from featherweight.graph._flow_base import Dims, Result, Site, axis, pinned, replaced, rule
from featherweight.graph.cells import Cells, Ids
from featherweight.graph.ir import Ref

# reshaping -------------------------------------------------------------------------------------------------------


@rule("reshape", "flatten", "unflatten", "ravel", "squeeze", "squeeze.dims", "squeeze.default", "unsqueeze")
@rule("reshape_as", "atleast_1d", "atleast_2d")
def reshape(site: Site) -> Result:
    """Dimensions are flattened to products and fall into factors."""
    inputs = site.dims(site.given.get("self", site.given.get("input")))
    dims = reshaped(site.cells, inputs, site.out_shape())
    if site.node.op == "reshape":
        _count_sizes(site, "shape", dims)
    if site.node.op == "unflatten":
        first = axis(site.given["dim"], inputs)
        _count_sizes(site, "sizes", dims[first : first + len(site.given["sizes"])])
    return dims


def _count_sizes(site: Site, parameter: str, dims: Dims) -> None:
    for position, (size, ids) in enumerate(zip(site.given[parameter], dims, strict=True)):
        if size != -1:
            site.count(parameter, position, ids)


def reshaped(cells: Cells, dims: Dims, shape: Sequence[int]) -> Dims:
    """The cells of the same elements in another shape: the smallest runs of equal size are matched."""
    if 0 in shape:
        for ids in dims:
            cells.pin(ids, "there are no elements")
        return pinned(shape)
    result: list[Ids] = []
    start, position = 0, 0
    while position < len(shape) or start < len(dims):
        end, last = start + 1, position + 1
        while (held := prod(len(ids) for ids in dims[start:end])) != (asked := prod(shape[position:last])):
            end, last = (end + 1, last) if held < asked else (end, last + 1)
        if end > len(dims) or last > len(shape):  # only sizes of 1 are left
            result += pinned(shape[position:])
            break
        flat = cells.product(dims[start:end])
        result += cells.factor(flat, shape[position:last])
        start, position = end, last
    return tuple(result)


@rule("permute", "transpose", "t", "numpy_T", "mT", "movedim", "movedim.int", "swapaxes")
def permute(site: Site) -> Result:
    """Dimensions change places."""
    inputs = site.dims(site.given["self"])
    order = _order(site, len(inputs))
    return tuple(inputs[place] for place in order)


def _order(site: Site, rank: int) -> list[int]:
    given, order = site.given, list(range(rank))
    if site.node.op == "permute":
        return [place % rank for place in given["dims"]]
    if site.node.op in ("t", "numpy_T"):
        return order[::-1]
    if site.node.op.startswith("movedim"):
        sources, targets = given["source"], given["destination"]
        sources, targets = (item if isinstance(item, tuple) else (item,) for item in (sources, targets))
        rest = [place for place in order if place not in [item % rank for item in sources]]
        for target, source in sorted(zip((item % rank for item in targets), sources, strict=True)):
            rest.insert(target, source % rank)
        return rest
    names = ("axis0", "axis1") if site.node.op == "swapaxes" else ("dim0", "dim1")
    first, second = (-1, -2) if site.node.op == "mT" else (int(given[name]) for name in names)
    order[first], order[second] = order[second], order[first]
    return order


# cutting ---------------------------------------------------------------------------------------------------------


@rule("slice")
def cut_slice(site: Site) -> Result:
    """A range of a dimension; where it begins and ends counts the channels before."""
    inputs = site.dims(site.given["self"])
    dim, step = axis(site.given["dim"], inputs), site.given["step"]
    ids, ends = inputs[dim], (site.given["start"], site.given["end"])
    if step != 1 or any(isinstance(at, Ref) for at in ends):
        site.pin(ids, "every second place is taken, or some are by numbers that are computed")
        return replaced(inputs, dim, pinned((site.out_shape()[dim],))[0])
    for name, at in zip(("start", "end"), ends, strict=True):
        if at is not None and -len(ids) <= at <= len(ids) and at != 0:
            site.count(name, None, ids[:at] if at > 0 else ids[at:], 1 if at > 0 else -1)
    site.read_range(site.given["self"], ids, ids[slice(*ends)])
    return replaced(inputs, dim, ids[slice(*ends)])


@rule("narrow")
def narrow(site: Site) -> Result:
    """A range of a dimension, by its length."""
    inputs = site.dims(site.given["self"])
    dim, start, length = axis(site.given["dim"], inputs), site.given["start"], site.given["length"]
    ids = inputs[dim]
    if isinstance(start, Ref) or isinstance(length, Ref):
        site.pin(ids, "a range of it is taken by numbers that are computed")
        return replaced(inputs, dim, pinned((site.out_shape()[dim],))[0])
    start += len(ids) if start < 0 else 0
    site.read_range(site.given["self"], ids, ids[start : start + length])
    if start:
        site.count("start", None, ids[:start])
    site.count("length", None, ids[start : start + length])
    return replaced(inputs, dim, ids[start : start + length])


@rule("select")
def select(site: Site) -> Result:
    """One place of a dimension, which then keeps all of its places."""
    inputs = site.dims(site.given["self"])
    site.pin(inputs[axis(site.given["dim"], inputs)], "a place is picked by its number")
    return replaced(inputs, site.given["dim"])


@rule("unbind")
def unbind(site: Site) -> Result:
    """All places of a dimension apart."""
    inputs = site.dims(site.given["self"])
    site.pin(inputs[axis(site.given["dim"], inputs)], "its places are taken apart")
    return [replaced(inputs, site.given["dim"])] * len(inputs[axis(site.given["dim"], inputs)])


@rule("split", "unsafe_split", "chunk", "unsafe_chunk", "tensor_split", "hsplit", "vsplit")
def split_equal(site: Site) -> Result:
    """Pieces of one size stay of one size: they lose the same places."""
    inputs = site.dims(site.given["self"])
    default = 0 if site.node.op == "vsplit" or len(inputs) == 1 else 1
    dim = axis(site.given.get("dim", default), inputs)
    sizes = _piece_sizes(site, dim)
    ids = inputs[dim]
    if len(set(sizes)) > 1:
        site.pin(ids, "it is cut into pieces of unequal sizes")
    elif len(sizes) > 1:
        site.cells.join_rows(ids, len(sizes))
    if "split_size" in site.given and len(sizes) > 1:
        site.count("split_size", None, ids[: site.given["split_size"]])
    ends = np.cumsum(sizes)
    return [replaced(inputs, dim, ids[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


@rule("split.sizes", "split_with_sizes")
def split_sizes(site: Site) -> Result:
    """Pieces of given sizes."""
    inputs = site.dims(site.given["self"])
    dim = axis(site.given["dim"], inputs)
    parameter = "split_sizes" if "split_sizes" in site.given else "split_size"
    pieces, start = [], 0
    for position, size in enumerate(site.given[parameter]):
        piece = inputs[dim][start : start + size]
        site.count(parameter, position, piece)
        pieces.append(replaced(inputs, dim, piece))
        start += size
    return list(pieces)


def _piece_sizes(site: Site, dim: int) -> list[int]:
    metas = site.node.meta if isinstance(site.node.meta, tuple) else ()
    return [item.shape[dim] for item in metas]


@rule("getitem")
def getitem(site: Site) -> Result:
    """One of several results."""
    several = site.state.dims[site.given["values"].index]
    return several[site.given["index"]] if isinstance(several, list) else site.fixed()


# joining ---------------------------------------------------------------------------------------------------------


@rule("cat", "concat", "hstack", "vstack")
def cat(site: Site) -> Result:
    """One dimension is the sum of those of the parts."""
    parts = [site.dims(item) for item in site.given["tensors"]]
    parts = [part for part in parts if part and not (len(part) == 1 and not len(part[0]))] or parts
    if site.node.op == "vstack":
        parts = [part if len(part) > 1 else (*pinned((1,)), *part) for part in parts]
    default = {"hstack": 1 if len(parts[0]) > 1 else 0, "vstack": 0}
    dim = axis(site.given.get("dim", default.get(site.node.op, 0)), parts[0])
    for part in parts[1:]:
        for place, (first, ids) in enumerate(zip(parts[0], part, strict=True)):
            if place != dim:
                site.unite(first, ids)
    return replaced(parts[0], dim, np.concatenate([part[dim] for part in parts]))


@rule("stack")
def stack(site: Site) -> Result:
    """A new dimension, of which all places stay."""
    parts = [site.dims(item) for item in site.given["tensors"]]
    for part in parts[1:]:
        for first, ids in zip(parts[0], part, strict=True):
            site.unite(first, ids)
    dim = site.given["dim"] % (len(parts[0]) + 1)
    return (*parts[0][:dim], *pinned((len(parts),)), *parts[0][dim:])


@rule("pad", "constant_pad_nd")
def pad(site: Site) -> Result:
    """New places before and after; those of a dimension of channels may go, like zero-padded shortcuts."""
    inputs, amounts = site.dims(site.given["self"]), site.given["pad"]
    dims = list(inputs)
    for place in range(len(amounts) // 2):
        before, after = amounts[2 * place : 2 * place + 2]
        dim = len(inputs) - 1 - place
        ids = inputs[dim]
        if not site.cells.find(ids).any() or min(before, after) < 0 or site.given.get("mode", "constant") != "constant":
            site.pin(ids, "its border is padded")
            dims[dim] = pinned((len(ids) + before + after,))[0]
            continue
        ends = site.cells.fresh(before), site.cells.fresh(after)
        for offset, (amount, new) in enumerate(zip((before, after), ends, strict=True)):
            if amount:
                site.count("pad", 2 * place + offset, new)
        dims[dim] = np.concatenate([ends[0], ids, ends[1]])
    return tuple(dims)


# repeating and turning -------------------------------------------------------------------------------------------


@rule("expand", "broadcast_to")
def expand(site: Site) -> Result:
    """Sizes of 1 become more; the others stay."""
    inputs, shape = site.dims(site.given["self"]), site.out_shape()
    new = len(shape) - len(inputs)
    dims = []
    for position, size in enumerate(shape):
        old = inputs[position - new] if position >= new else None
        kept = old is not None and len(old) == size
        dims.append(old if old is not None and kept else site.cells.fresh(size) if size > 1 else pinned((size,))[0])
    sizes = site.given["size"]
    for position, (size, ids) in enumerate(zip(sizes, dims, strict=True)):
        if size != -1:
            site.count("size", position, ids)
    return tuple(dims)


@rule("repeat", "tile")
def repeat(site: Site) -> Result:
    """Copies of a tensor side by side: channels go in all of them. Copies of one place are as many as are needed."""
    parameter = "repeats" if "repeats" in site.given else "dims"
    inputs, times = site.dims(site.given["self"]), site.given[parameter]
    rank = max(len(times), len(inputs))
    dims = [*pinned((1,) * (rank - len(inputs))), *inputs]
    for position, count in enumerate(times):
        place = rank - len(times) + position
        if len(dims[place]) == 1 and count > 1 and not site.cells.find(dims[place]).any():
            dims[place] = site.cells.fresh(count)
            site.count(parameter, position, dims[place])
        else:
            dims[place] = np.tile(dims[place], count)
    return tuple(dims)


@rule("repeat_interleave")
def repeat_interleave(site: Site) -> Result:
    """Each place some times in a row."""
    inputs = site.dims(site.given["self"])
    if site.given["dim"] is None or not isinstance(site.given["repeats"], int):
        return site.barrier()
    dim = axis(site.given["dim"], inputs)
    repeated = np.repeat(inputs[dim], site.given["repeats"])
    if site.given.get("output_size") is not None:
        site.count("output_size", None, repeated)
    return replaced(inputs, dim, repeated)


@rule("flip")
def flip(site: Site) -> Result:
    """The last place comes first."""
    dims = list(site.dims(site.given["self"]))
    for dim in site.given["dims"]:
        dims[dim] = dims[dim][::-1].copy()
    return tuple(dims)


@rule("roll", "tril", "triu", "rot90")
def turned(site: Site) -> Result:
    """Places move, which only pixels and positions can."""
    inputs = site.dims(site.given["self"])
    dims = site.given.get("dims", ()) or range(len(inputs))
    for dim in (-1, -2) if site.node.op.startswith("tri") else dims:
        site.pin(inputs[dim], "its places are moved")
    if site.node.op != "rot90":
        return inputs
    turned_to = {axis(dim, inputs): pinned((site.out_shape()[dim],))[0] for dim in dims}
    return tuple(turned_to.get(place, ids) for place, ids in enumerate(inputs))


@rule("unfold")
def unfold(site: Site) -> Result:
    """Windows over a dimension."""
    inputs = site.dims(site.given["self"])
    dim = axis(site.given["dimension"], inputs)
    site.pin(inputs[dim], "windows are taken of it")
    shape = site.out_shape()
    return (*replaced(inputs, dim, pinned((shape[dim],))[0]), *pinned((shape[-1],)))


@rule("slice_scatter", "select_scatter")
def scatter(site: Site) -> Result:
    """A range of a dimension gets other values; the other dimensions are the same in both."""
    inputs, source = site.dims(site.given["self"]), site.dims(site.given["src"])
    dim = axis(site.given["dim"], inputs)
    site.pin(inputs[dim], "some of its places are written")
    if site.node.op == "slice_scatter":
        site.pin(source[dim], "it is written into some places of another")
        source = replaced(source, dim)
    for ids, other in zip(replaced(inputs, dim), source, strict=True):
        site.unite(ids, other)
    return inputs
