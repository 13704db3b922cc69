"""Takes channels out of a network everywhere at once, and puts other modules in the place of some.

The network stays an instance of the user's class: its tensors lose indices, and the attributes from which its code
computes sizes (`num_heads`, `groups`) follow. What was done is a log that `replay` repeats on a fresh instance.
"""

import copy
import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from featherweight.errors import SurgeryError
from featherweight.graph._attributes import UnsolvableError, Value, settings_for
from featherweight.graph._replay import perform, renumbered
from featherweight.graph.cells import Ids
from featherweight.graph.constants import shifts
from featherweight.graph.cost import Cost
from featherweight.graph.cut import cut_graph, cut_tensor
from featherweight.graph.described import describe
from featherweight.graph.flow import Flow
from featherweight.graph.groups import Group, groups_of
from featherweight.graph.log import Cut, Log, Removal, Replacement, keep_log, log_of, replay
from featherweight.graph.masked import Masked, doubled
from featherweight.graph.module import GraphModule, tensors_of, to_module
from featherweight.graph.program import tensors_in
from featherweight.graph.record import record
from featherweight.graph.structure import Mask, Structure

Settings: TypeAlias = tuple[tuple[str, str, Value], ...]
Tensors: TypeAlias = Mapping[str, Tensor]
Kept: TypeAlias = Mapping[str, Mapping[int, Ids]]

__all__ = ["Anatomy", "Group", "UnsolvableError", "anatomy", "remove", "replace"]


@dataclass(frozen=True)
class Anatomy:
    """What can go from a network: its groups of coupled channels, and what is left when some of them go.

    `example` are the inputs it was looked at with. `notes` say what stays whole and why.
    """

    structure: Structure
    groups: tuple[Group, ...]
    example: tuple[Any, ...]

    @cached_property
    def cost(self) -> Cost:
        """Parameters and multiply-adds of what is left."""
        return Cost(self.structure)

    @property
    def notes(self) -> tuple[str, ...]:
        """What stays whole, and why: operators without a rule, and sizes that the code says."""
        flow = self.structure.flow
        unknown = [f"{place or 'the network'}: the operator {op} is not understood" for op, place in flow.barriers]
        return (*dict.fromkeys(unknown), *(f"{place or 'the network'}: {what}" for place, what in flow.fixed))

    def gone(self, atoms: Ids | Sequence[int]) -> Mask:
        """The cells that are gone when these atoms (of `groups`) are.

        Raises: SurgeryError when they do not fit each other, and for a number that is no atom of a group.
        """
        asked = np.asarray(atoms, dtype=np.int64).reshape(-1)
        within = (asked >= 0) & (asked < len(self._is_atom))
        wrong = asked[~(within & self._is_atom[np.where(within, asked, 0)])]
        if len(wrong):
            raise SurgeryError(
                "no channel has this number",
                where="atoms",
                value=wrong[:12].tolist(),
                fix="Take numbers out of `atoms` of one of the groups.",
            )
        return self.structure.gone(atoms)

    @cached_property
    def _is_atom(self) -> Mask:
        atoms = [group.atoms for group in self.groups]
        found = np.zeros(max((int(each.max()) for each in atoms), default=0) + 1, dtype=np.bool_)
        for each in atoms:
            found[each] = True
        return found

    def group(self, name: str) -> Group:
        """The group that the layer of this path makes.

        Raises: SurgeryError, which lists the layers that make one.
        """
        for group in self.groups:
            if group.name == name:
                return group
        known = sorted({group.name for group in self.groups})
        raise SurgeryError("no channels of this layer can go", where=name, value=known[:12], fix="Name one of these.")


def anatomy(model: nn.Module, example: Any, keep: Iterable[str] = ()) -> Anatomy:
    """The coupled channels of a network, found by running it once on an example.

    `keep` are patterns of module paths ("classifier", "layer4.*") whose outputs stay whole.

    Raises: TraceError when the network's way depends on the values of tensors.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    with _nothing_collected():
        if isinstance(model, GraphModule):
            flow = Flow.of(model.graph, None, tuple(keep), tensors_of(model.graph, model))
        else:
            recorded = record(model, inputs, whole=True)
            flow = Flow.of(recorded.graph, recorded, tuple(keep), tensors_of(recorded.graph, model))
        structure = Structure(flow)
        return Anatomy(structure, groups_of(structure), inputs)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Python looks for no garbage in cycles meanwhile: most of what is made lives on, and with large libraries loaded
    one look takes longer than all the rest."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def remove(
    model: nn.Module, known: Anatomy, atoms: Ids | Sequence[int], *, verify: bool = True, in_place: bool = False
) -> nn.Module:
    """A copy of the network without these channels (atoms of `known.groups`), its log extended (`log.log_of`).

    With `in_place` the network itself. With `verify` the new network is run on the example and compared with the masked
    one. Channels that are constant where they go leave their share in the biases behind them (graph/constants.py).

    Raises: SurgeryError when nothing would be left of a layer, when atoms do not fit each other, when the code of a
    module cannot follow (UnsolvableError), or when the result differs from what it should compute; a network that was
    changed in place is then spoilt.
    """
    gone = known.gone(atoms)
    kept = known.structure.kept(gone)
    tensors = tensors_of(known.structure.flow.graph, model)
    if isinstance(model, GraphModule):
        cut = {name: cut_tensor(item, kept.get(name, {})) for name, item in tensors.items()}
        cut |= {name: renumbered(name, cut[name], cells) for name, cells in _picks(known, gone).items()}
        return to_module(cut_graph(known.structure, gone), cut)
    step = _step(known, gone, kept, settings_for(known.structure, gone, model))
    if in_place:
        perform(model, step)
        keep_log(model, log_of(model) + Log((step,)))
    changed = model if in_place else replay(model, Log((step,)))
    if verify:
        _verify(changed, known, gone, tensors)
    _fold_constants(changed, known, gone, tensors, kept)
    return changed


def _step(known: Anatomy, gone: Mask, kept: Kept, settings: Settings) -> Removal:
    sizes = known.structure.tensors
    made: dict[tuple[int, int, bytes], Cut] = {}  # a channel goes from many tensors in the same way

    def cut(dim: int, size: int, indices: Ids) -> Cut:
        key = (dim, size, indices.tobytes())
        if key not in made:
            made[key] = Cut.of(dim, size, indices)
        return made[key]

    cuts = {
        name: tuple(cut(dim, len(sizes[name][dim]), indices) for dim, indices in sorted(dims.items()))
        for name, dims in kept.items()
    }
    return Removal(cuts, settings, _picks(known, gone))


def _picks(known: Anatomy, gone: Mask) -> dict[str, Cut]:
    """The tensors whose values are numbers of channels, of which some go: what is left of these channels."""
    flow, found = known.structure.flow, {}
    for name, ids in flow.picks.items():
        lost = gone[flow.cells.find(ids)]
        if lost.any():
            found[name] = Cut.of(0, len(ids), np.flatnonzero(~lost))
    return found


def _fold_constants(changed: nn.Module, known: Anatomy, gone: Mask, whole: Tensors, kept: Kept) -> None:
    found = shifts(known.structure, known.groups, gone, whole, list(tensors_in(known.example)))
    if not found:
        return
    tensors = dict(changed.named_parameters()) | dict(changed.named_buffers())
    with torch.no_grad():
        for shift in found:
            tensors[shift.tensor].add_(cut_tensor(shift.amount, kept.get(shift.tensor, {})))


def replace(model: nn.Module, modules: Mapping[str, nn.Module]) -> nn.Module:
    """Puts modules in the place of others, in `model` itself, and notes it in the log; gives the model.

    Raises: UsageError for a module that cannot be described as data (graph/described.py), SurgeryError for a path
    that the model does not have.
    """
    paths = dict(model.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        if path not in paths or not path:
            raise SurgeryError("the network has no module of this path", where=path, value=sorted(paths)[:12])
        describe(module)
    done = Log((Replacement(tuple((path, describe(module)) for path, module in modules.items())),))
    for path, module in modules.items():
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, module.train(paths[path].training))
    keep_log(model, log_of(model) + done)
    return model


def _verify(changed: nn.Module, known: Anatomy, gone: Mask, whole: Tensors) -> None:
    """Compares the cut network with the whole one in which the channels are masked; where single precision does not
    settle it, in double precision: what chooses by scores, as detectors do, may choose anew for a rounding error."""
    inputs = list(tensors_in(known.example))
    found = _answer(changed, known.example)
    expected = list(tensors_in(Masked(known.structure, whole).run(inputs, gone)))
    if _all_close(found, expected):
        return
    wide = [doubled(item) for item in inputs]
    exact = list(tensors_in(Masked(known.structure, whole, double=True).run(wide, gone)))
    if not _all_close(_answer(copy.deepcopy(changed).double(), tree_map(doubled, known.example)), exact):
        raise SurgeryError(
            "the network without these channels computes something else than it should",
            where=type(changed).__name__,
            value=[float((a.float() - b.float()).abs().max()) for a, b in zip(found, expected, strict=True)],
            fix="Report the network; keep=[...] leaves layers whole.",
        )


def _answer(changed: nn.Module, example: tuple[Any, ...]) -> list[Tensor]:
    """The tensors that the cut network gives in evaluation mode."""
    mode = {module: module.training for module in changed.modules()}
    changed.eval()
    try:
        with torch.no_grad():
            return list(tensors_in(tree_leaves(changed(*copy.deepcopy(example)))))
    except Exception as error:
        raise SurgeryError(
            "the network does not run without these channels",
            where=type(changed).__name__,
            value=str(error).splitlines()[:1],
            fix="Keep the layers whose sizes its code says by number: keep=[...].",
        ) from error
    finally:
        for module, training in mode.items():
            module.training = training


def _all_close(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(_close(a, b) for a, b in zip(found, expected, strict=True))


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    scale = max(float(expected.detach().double().abs().max()), 1e-6) if expected.numel() else 1.0
    return bool(torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-4 * scale, equal_nan=True))
