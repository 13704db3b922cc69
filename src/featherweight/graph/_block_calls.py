"""What the modules of a network are given and give, call by call: seen in one run of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph.ir import Meta
from featherweight.graph.trace import evaluating


@dataclass(frozen=True)
class Call:
    """One call. `first` is the form of the first argument, `given` that of the first tensor among them.

    `main` is the form of the result, or of the first entry of the tuple of `length` that it is; `alone`: no tensor is
    behind it. `plain`: one argument, one tensor.
    """

    first: Meta | None
    given: Meta | None
    main: Meta | None
    length: int | None
    alone: bool
    plain: bool

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> "Call":
        """What is known of a call."""
        items = (*args, *kwargs.values())
        length = len(output) if type(output) is tuple and output else None
        main, *rest = (output,) if length is None else output
        return cls(
            _form(next(iter(items), None)),
            next((Meta.of(item) for item in items if isinstance(item, Tensor)), None),
            _form(main),
            length,
            all(item is None for item in rest),
            length is None and len(args) == 1 and not kwargs,
        )


@dataclass
class Calls:
    """All calls of one module, in order; a module that raised has none."""

    each: list[Call] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether each call gives a tensor of the form that it was given, and nothing beside it."""
        alike = len({call.length for call in self.each}) == 1 and all(call.alone for call in self.each)
        return alike and all(call.first is not None and call.first == call.main for call in self.each)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first argument of the first call."""
        first = self.each[0].first if self.each else None
        return first.shape if first is not None else ()

    @property
    def plain(self) -> bool:
        """Whether each call has one argument and gives one tensor."""
        return all(call.plain for call in self.each)

    @property
    def length(self) -> int | None:
        """The length of the tuple that it gives; None for a tensor."""
        return self.each[0].length if self.each else None

    def sizes(self) -> tuple[int, ...] | None:
        """The shape of the results, -1 where it is that of the first tensor given; None when it is not always so."""
        forms = [(call.given, call.main) for call in self.each]
        if not forms or len({call.length for call in self.each}) > 1:
            return None
        shapes = [(given.shape, main.shape) for given, main in forms if given is not None and main is not None]
        if len(shapes) < len(forms) or len({len(main) for _, main in shapes}) > 1:
            return None
        found = []
        for dim, size in enumerate(shapes[0][1]):
            if all(dim < len(given) and given[dim] == main[dim] for given, main in shapes):
                found.append(-1)
            elif all(main[dim] == size for _, main in shapes):
                found.append(size)
            else:
                return None
        return tuple(found)


def _form(value: Any) -> Meta | None:
    return Meta.of(value) if isinstance(value, Tensor) and value.dim() else None


def calls_of(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Calls]:
    """What each module is given and gives, by path, in the order of the first calls.

    Raises: TraceError when the network does not run.
    """
    calls: dict[str, Calls] = {}
    handles = []
    for path, module in model.named_modules():

        def before(_: nn.Module, __: Any, path: str = path) -> None:
            calls.setdefault(path, Calls())

        def after(_: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            calls[path].each.append(Call.of(args, kwargs, output))

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        with evaluating(model), torch.no_grad():
            outputs_of(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def outputs_of(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """The tensors that the network gives. Raises: TraceError when it does not run."""
    try:
        output = model(*inputs)
    except Exception as error:  # whatever the model's code raises
        told = (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
        raise TraceError("the model does not run on the example", where=type(model).__name__, value=told) from error
    return [item for item in torch.utils._pytree.tree_leaves(output) if isinstance(item, Tensor)]


def arguments_of(model: nn.Module, path: str, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the module of this path is given in its first call: by place, and by name. Raises: TraceError."""
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(_: nn.Module, args: Any, kwargs: Any) -> None:
        found.append((args, dict(kwargs)))

    handle = model.get_submodule(path).register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with evaluating(model), torch.no_grad():
            outputs_of(model, inputs)
    finally:
        handle.remove()
    return found[0]


@contextmanager
def placed(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """The model with these modules at these paths, in the mode of those that were there; afterwards they are back."""
    places = [(model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2], path) for path in modules]
    old = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for (owner, name, path), (_, _, was) in zip(places, old, strict=True):
            setattr(owner, name, modules[path].train(was.training))
        yield model
    finally:
        for owner, name, module in old:
            setattr(owner, name, module)
