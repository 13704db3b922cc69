"""Does the steps of a surgery log to a model, in place: `graph/log.py` makes sure that all of them can be done."""

import copy
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from featherweight.core.attached import CONSTRAINTS, attached
from featherweight.errors import UsageError
from featherweight.graph._cosmetics import refresh
from featherweight.graph._log_steps import Cut, Removal, Replacement, Step, Value
from featherweight.graph.described import build

_ELSEWHERE = (
    "The log belongs to another architecture: replay it on a fresh instance of the class that it was made from."
)


def perform(model: nn.Module, step: Step) -> None:
    """Does one step. Raises: UsageError, and then the step may be half done."""
    if isinstance(step, Removal):
        _remove(model, step)
    else:
        _replace(model, step)


def sketch(model: nn.Module) -> nn.Module:
    """A copy without values: tensors of the same shapes on the meta device, everything else as deep copies."""
    memo: dict[int, Any] = {}
    for tensor in {id(item): item for item in (*model.parameters(), *model.buffers())}.values():
        empty = tensor if is_lazy(tensor) else torch.empty_like(tensor, device="meta", requires_grad=False)
        if isinstance(tensor, nn.Parameter) and not is_lazy(tensor):
            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
            vars(empty).update(vars(tensor))
        memo[id(tensor)] = empty
    return copy.deepcopy(model, memo)


# ------------------------------------------------------------------------------------------------------------- removal


@dataclass(frozen=True)
class _Tensors:
    """The tensors of a model by each of their names, and the names of those that an encoding holds."""

    by_name: Mapping[str, Tensor]
    held: Mapping[int, str]

    @classmethod
    def of(cls, model: nn.Module) -> "_Tensors":
        named = (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        )
        by_name = dict(named)
        held = {id(by_name[name]): name for name in attached(model, CONSTRAINTS, {}) if name in by_name}
        return cls(by_name, held)

    def names_of(self) -> dict[int, list[str]]:
        names: dict[int, list[str]] = {}
        for name, tensor in self.by_name.items():
            names.setdefault(id(tensor), []).append(name)
        return names

    def free(self, tensor: Tensor, name: str) -> None:
        if id(tensor) in self.held:
            raise UsageError(
                "an encoding is attached to the weight, so its shape cannot change",
                where=name,
                value=tuple(tensor.shape),
                fix="Prune before the step that attached it, or detach the encoding first.",
            )


def _remove(model: nn.Module, step: Removal) -> None:
    tensors = _Tensors.of(model)
    names = tensors.names_of()
    modules = dict(model.named_modules(remove_duplicate=False))
    done: dict[int, tuple[str, tuple[Any, ...]]] = {}
    owners: dict[str, nn.Module] = {}
    for name in dict.fromkeys((*step.tensors, *step.renumbered)):
        cuts, number = step.tensors.get(name, ()), step.renumbered.get(name)
        tensor = tensors.by_name.get(name)
        if tensor is None:
            raise UsageError("the model has no parameter or buffer of this name", value=name, fix=_ELSEWHERE)
        first, same = done.setdefault(id(tensor), (name, (cuts, number)))
        if same != (cuts, number):
            raise UsageError(f"it is the same tensor as {first}, and the log cuts it otherwise", where=name, value=cuts)
        if first != name:
            continue
        tensors.free(tensor, name)
        new = _cut(name, tensor, cuts)
        if number is not None:
            with torch.no_grad():
                new.copy_(renumbered(name, new, number))
        for alias in names[id(tensor)]:
            path, _, own = alias.rpartition(".")
            owners[path] = modules[path]
            _put(owners[path], own, new)
    for path, attribute, value in step.settings:
        owners[path] = _submodule(model, path)
        _set(owners[path], path, attribute, value)
    for path in _with_parents(owners):
        refresh(modules[path])


def _cut(name: str, tensor: Tensor, cuts: Iterable[Cut]) -> Tensor:
    if is_lazy(tensor):
        raise UsageError(
            "the tensor has no shape yet", where=name, value=type(tensor).__name__, fix="Run the model once."
        )
    values = tensor.detach()
    for cut in cuts:
        if cut.dim >= tensor.dim() or tensor.shape[cut.dim] != cut.size:
            raise UsageError(
                f"the log cuts dimension {cut.dim} of size {cut.size}",
                where=name,
                value=tuple(tensor.shape),
                fix=_ELSEWHERE,
            )
        values = values.index_select(cut.dim, cut.indices().to(values.device))
    values = values.clone() if values.data_ptr() == tensor.data_ptr() else values
    if not isinstance(tensor, nn.Parameter):
        return values
    new = nn.Parameter(values, requires_grad=tensor.requires_grad)
    vars(new).update(vars(tensor))  # what people note on parameters, such as "no weight decay"
    return new


def renumbered(name: str, numbers: Tensor, cut: Cut) -> Tensor:
    """Numbers of places, when only those that the cut keeps are left: the number of each among these.

    A number whose place is gone becomes 0: it is in the network that is rebuilt until its state is loaded.
    Raises: UsageError for what are no numbers of as many places as the cut says.
    """
    if numbers.dtype not in (torch.int32, torch.int64):
        raise UsageError("the log counts its values anew, so they are integers", where=name, value=numbers.dtype)
    if numbers.device.type == "meta":
        return numbers
    if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < cut.size:
        raise UsageError(f"its values are places of {cut.size}", where=name, value=numbers.tolist()[:8], fix=_ELSEWHERE)
    starts, counts = torch.tensor(cut.kept, device=numbers.device).T.contiguous()
    run = (torch.searchsorted(starts, numbers.to(torch.int64), right=True) - 1).clamp_(min=0)
    offset = numbers - starts[run]
    stays = (offset >= 0) & (offset < counts[run])
    return torch.where(stays, offset + (counts.cumsum(0) - counts)[run], 0).to(numbers.dtype)


def _put(owner: nn.Module, name: str, tensor: Tensor) -> None:
    # by setattr, so that recurrent modules renew their list of flat weights
    setattr(owner, name, tensor)


def _with_parents(paths: Iterable[str]) -> list[str]:
    """The paths and those one level above: attention has sizes that follow from a module below it."""
    return sorted({*paths, *(path.rpartition(".")[0] for path in paths)})


def _submodule(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise UsageError("the model has no module of this path", value=path, fix=_ELSEWHERE) from error


def _set(module: nn.Module, path: str, attribute: str, value: Value) -> None:
    """Sets an integer attribute; objects on a dotted way to it are copied first, as other modules may share them."""
    where = f"{path or type(module).__name__}.{attribute}"
    *between, last = attribute.split(".")
    owner: Any = module
    for part in between:
        inner = getattr(owner, part, None)
        if inner is None or inspect.isroutine(inner) or isinstance(inner, nn.Module | Tensor | ModuleType | type):
            raise UsageError("no settings of this name", where=where, value=part, fix=_ELSEWHERE)
        inner = copy.copy(inner)
        _assign(owner, part, inner)
        owner = inner
    old: Any = getattr(owner, last, None)
    if isinstance(value, tuple):
        fits = type(old) in (tuple, list, torch.Size) and all(type(item) is int for item in old)
    else:
        fits = type(old) is int
    if not fits:
        raise UsageError(f"the log sets it to {value}", where=where, value=old, fix=_ELSEWHERE)
    _assign(owner, last, type(old)(value) if isinstance(value, tuple) else value)


def _assign(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, nn.Module):
        setattr(owner, name, value)
    else:
        object.__setattr__(owner, name, value)  # a copy of our own, also of a frozen dataclass


# --------------------------------------------------------------------------------------------------------- replacement


def _replace(model: nn.Module, step: Replacement) -> None:
    tensors = _Tensors.of(model)
    places = _places(model)
    old_ones = [_child(model, path) for path, _ in step.modules]  # all of them before the first is gone
    done: dict[int, tuple[str, Mapping[str, Any]]] = {}
    for old, (path, description) in zip(old_ones, step.modules, strict=True):
        first, same = done.setdefault(id(old), (path, description))
        if first != path:
            if same != description:
                raise UsageError("it is the same module as one replaced otherwise", where=path, value=first)
            continue
        for own, tensor in (*old.named_parameters(), *old.named_buffers()):
            tensors.free(tensor, f"{path}.{own}")
        new = build(description, device=_device(old, model), dtype=_dtype(old, model)).train(old.training)
        for owner, key in places[id(old)]:
            setattr(owner, key, new)


def _child(model: nn.Module, path: str) -> nn.Module:
    parent, _, name = path.rpartition(".")
    found = _submodule(model, parent)._modules.get(name)
    if found is None:
        raise UsageError("the model has no module of this path", value=path, fix=_ELSEWHERE)
    return found


def _places(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Where each module hangs: one that is used several times hangs in several places."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for owner in model.modules():
        for key, child in owner._modules.items():
            if child is not None:
                places.setdefault(id(child), []).append((owner, key))
    return places


def _dtype(old: nn.Module, model: nn.Module) -> torch.dtype | None:
    tensors = (*old.parameters(), *old.buffers(), *model.parameters())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)


def _device(old: nn.Module, model: nn.Module) -> torch.device:
    tensors = (*old.parameters(), *old.buffers(), *model.parameters(), *model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
