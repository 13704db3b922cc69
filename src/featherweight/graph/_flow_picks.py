"""How channels flow through operators that pick places by number.

Numbers that are a tensor of the network (a selection layer, a registered permutation) follow the channels: a place that
goes is dropped from the numbers, the others are counted anew. Numbers that are computed, or stand in the code, cannot
follow; what they pick from stays whole.
"""

from featherweight.graph._flow_base import Result, Site, axis, pinned, replaced, rule
from featherweight.graph._flow_layers import broadcast
from featherweight.graph.cells import Ids
from featherweight.graph.ir import Meta, Ref, leaves


@rule("index")
def index(site: Site) -> Result:
    """Places by number: the indexed dimensions stay whole, or follow their numbers; the others go through."""
    inputs, indices = site.dims(site.given["self"]), site.given["indices"]
    used = [place for place, item in enumerate(indices) if isinstance(item, Ref)]
    if len(used) == 1 and (picked := _picked(site, indices[used[0]], inputs[used[0]])) is not None:
        return replaced(inputs, used[0], picked)
    for place in used:
        site.pin(inputs[place], "its places are picked by number")
    tables = [site.dims(indices[place]) for place in used]
    found = broadcast(site, tables)
    if used != list(range(used[0], used[0] + len(used))) or not _is_integer(site, indices[used[0]]):
        return site.barrier()
    return (*inputs[: used[0]], *found, *inputs[used[-1] + 1 :])


def _is_integer(site: Site, value: Ref) -> bool:
    meta = site.state.graph.meta(value)
    return isinstance(meta, Meta) and str(meta.dtype) != "torch.bool"


@rule("index_select")
def index_select(site: Site) -> Result:
    """Places of one dimension by number; a place that is picked goes with the number that picks it."""
    inputs, numbers = site.dims(site.given["self"]), site.dims(site.given["index"])
    dim = axis(site.given["dim"], inputs)
    picked = _picked(site, site.given["index"], inputs[dim])
    if picked is not None:
        return replaced(inputs, dim, picked)
    site.pin(inputs[dim], "its places are picked by number")
    size = site.out_shape()[dim]
    return replaced(inputs, dim, numbers[0] if len(numbers) == 1 else pinned((size,))[0])


def _picked(site: Site, value: Ref, ids: Ids) -> Ids | None:
    """The cells of what numbers pick from `ids`; None where the numbers cannot follow.

    The cells are those of the numbers: one may go alone, and goes when what it picks does. Numbers that pick from
    several tensors keep those alike.
    """
    state, graph = site.state, site.state.graph
    name = graph.tensor_name(value)
    numbers = None if name is None else state.numbers.get(name)
    if name is None or numbers is None or not _only_picks(site, value):
        return None
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= len(ids):
        return None
    others = state.picks.setdefault(name, ids)
    if len(others) != len(ids):
        for each in (others, ids):
            site.pin(each, "the same numbers pick from another size")
    else:
        site.unite(others, ids)
    cells = site.dims(value)[0]
    site.cells.imply(ids[numbers], cells)
    return cells


def _only_picks(site: Site, value: Ref) -> bool:
    """Whether a tensor is read only as the numbers of places of one dimension."""
    graph = site.state.graph
    if value in leaves(graph.outputs):
        return False
    readers = [graph.nodes[number - graph.first_node] for number in site.state.users.get(value.index, ())]
    return all(_picks(reader.op, reader.arguments(), value) for reader in readers)


def _picks(op: str, given: dict[str, object], value: Ref) -> bool:
    if op == "index_select":
        return given["index"] == value and given["self"] != value
    return op == "index" and list(leaves(given["indices"])) == [value] and given["self"] != value


@rule("gather", "take_along_dim")
def gather(site: Site) -> Result:
    """Places of one dimension, chosen anew at each place of the others."""
    inputs, chosen = site.dims(site.given["self"]), site.dims(site.given.get("index", site.given.get("indices")))
    if site.given["dim"] is None or len(inputs) != len(chosen):
        return site.barrier()
    dim = axis(site.given["dim"], inputs)
    site.pin(inputs[dim], "its places are picked by number")
    for place, (ids, other) in enumerate(zip(inputs, chosen, strict=True)):
        if place != dim and len(ids) == len(other):
            site.unite(ids, other)
        elif place != dim:
            site.pin(ids, "only some of its places are read")
            site.pin(other, "it says which place is read, by its own")
    return chosen
