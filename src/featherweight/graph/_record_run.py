"""What a run of a network writes down: modules that begin and end, operators, tensors that appear."""

import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph._record_calls import Called, called
from featherweight.graph._record_memory import Memory, is_alias_of, view_of
from featherweight.graph._record_places import Pending
from featherweight.graph._record_tape import Tape, Value
from featherweight.graph._record_trees import named_tensors
from featherweight.graph.ir import Meta, parts_in
from featherweight.graph.ops import OPAQUE
from featherweight.graph.trace import canonical_names, tensors_by_name


class Recorder:
    """What a run of a network writes down."""

    def __init__(self, model: nn.Module, loose: bool = False) -> None:
        parameters, buffers = tensors_by_name(model)
        named = parameters | buffers
        canonical = canonical_names(named)
        kept = set(model.state_dict(keep_vars=True))
        self.tape = Tape(frozenset(parameters))
        self.memory = Memory(self.tape, lambda: self.scope)
        self.pending: Pending | None = None
        self.failed = ""  # the innermost module that raised
        self._model, self._loose = model, loose
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._names = {id(tensor): canonical[name] for name, tensor in named.items()}
        self._unkept = set(canonical.values()) - kept
        self._tensors = {canonical[name]: tensor for name, tensor in named.items()}
        self._stack: list[tuple[str, list[Tensor]]] = []
        self._leaked: list[Value] = []
        self._attributes: set[int] | None = None

    @property
    def scope(self) -> str:
        """The path of the module that runs."""
        return self._stack[-1][0] if self._stack else ""

    # modules

    def entered(self, module: nn.Module, args: Any) -> None:
        """A module begins; one that the model does not hold counts as part of the module that calls it."""
        path = self._paths.get(id(module), self.scope)
        self._stack.append((path, [item for item in args if isinstance(item, Tensor)]))

    def left(self, module: nn.Module, args: Any, output: Any) -> None:
        """A module ends; what it gives that no operator made is the work of code that cannot be seen."""
        if sys.exc_info()[0] is not None and not self.failed:
            self.failed = self.scope
        with torch._C.DisableTorchFunction():
            for item in [output] if isinstance(output, Tensor) else output if isinstance(output, tuple | list) else ():
                if isinstance(item, Tensor) and item not in self.memory and not self._is_known(item):
                    self._opaque(item, module)
        self._stack.pop()

    def _opaque(self, tensor: Tensor, module: nn.Module) -> None:
        inputs = tuple(self.value_of(item) for item in self._stack[-1][1])
        if not inputs and not self._leaked:
            return
        found = inputs or tuple(self._leaked)
        value = self.tape.emit(f"{OPAQUE}::{type(module).__name__}", (found,), Meta.of(tensor), self.scope)
        self.memory.bind(tensor, value)

    # tensors

    def take_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Binds the tensors of the inputs under the names of the model's arguments."""
        taken: set[str] = set()
        for name, tensor in named_tensors(_argument_names(self._model, len(inputs)), inputs):
            name = re.sub(r"\W", "_", name)
            while name in taken:
                name += "_"
            taken.add(name)
            self.memory.bind(tensor, self.tape.input(tensor, name))

    def value_of(self, tensor: Tensor) -> Value:
        """The value of a tensor, met or new."""
        if tensor not in self.memory:
            self._adopt(tensor)
        return self.memory.value(tensor)

    def _adopt(self, tensor: Tensor) -> None:
        name = self._names.get(id(tensor))
        if name is not None:
            self._take_named(tensor, name)
            return
        for entry in self.memory:
            if _same_memory(tensor, entry.tensor):
                self.memory.bind_same(tensor, entry)
                return
        for name, known in self._tensors.items():
            if _same_memory(tensor, known):
                self._take_named(known, name)
                self.memory.bind_same(tensor, self.memory.entry(known))
                return
        if self._leaked and not self._is_known(tensor):
            self.memory.bind(tensor, self._unseen(tensor))
            return
        self.memory.bind(tensor, self.tape.constant(tensor, self._tensors), "a tensor that is kept between calls")

    def _take_named(self, tensor: Tensor, name: str) -> None:
        if name in self._unkept:
            self.tape.constants[name] = tensor
        self.memory.bind(tensor, self.tape.tensor(tensor, name), name)

    def _is_known(self, tensor: Tensor) -> bool:
        """Whether a tensor was there before the run, as far as modules hold it."""
        if self._attributes is None:
            found = {id(item) for item in self._tensors.values()}
            for module in self._model.modules():
                for item in vars(module).values():
                    parts = item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ()
                    found.update(id(part) for part in (item, *parts) if isinstance(part, Tensor))
            self._attributes = found
        return id(tensor) in self._attributes

    # operators

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs an operator and writes it down."""
        known = called(function)
        if known.makes_constant and isinstance(args[0], Tensor) and args[0] not in self.memory:
            return self._literal(args[0], function(*args, **kwargs))
        tensors = known.given(args, kwargs)
        given = {name: self._values(item) for name, item in tensors.items()}
        if known.written:
            return self._write(known, function, args, kwargs, (tensors, given))
        by_mask = known.packet == "index" and _by_mask(tensors["indices"])
        if known.reads_data or known.shaped_by_data or by_mask:
            return self._by_data(known, function, args, kwargs, given)
        result = function(*args, **kwargs)
        self._bind(known, tensors, given, result)
        return result

    def _values(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return self.value_of(item)
        if isinstance(item, tuple | list):
            return type(item)(self._values(part) for part in item)
        return item

    def _literal(self, tensor: Tensor, result: Tensor) -> Tensor:
        """A tensor out of numbers, which the code may write to; or out of memory that left torch."""
        opaque = self._leaked and not self._is_known(tensor)
        value = self._unseen(tensor) if opaque else self.tape.constant(result.clone(), self._tensors)
        self.memory.bind(result, value)
        return result

    def _unseen(self, tensor: Tensor) -> Value:
        """What code computed from memory that left torch."""
        return self.tape.emit(f"{OPAQUE}::code", (tuple(self._leaked),), Meta.of(tensor), self.scope)

    def _by_data(
        self, known: Called, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: Mapping[str, Any]
    ) -> Any:
        """A result that Python or a shape depends on: a constant where no input goes into it."""
        values = [value for item in given.values() for value in (item if isinstance(item, list | tuple) else [item])]
        if any(isinstance(value, Value) and self._varies(value) for value in values):
            raise _depends_on_data(known.packet, self.scope or type(self._model).__name__)
        result = function(*args, **kwargs)
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor):
                self.memory.bind(item, self.tape.constant(item.clone(), self._tensors))
        return result

    def _bind(self, known: Called, tensors: dict[str, Any], given: dict[str, Any], result: Any) -> None:
        subject = next(iter(tensors.values()), None)
        results = list(parts_in(result, Tensor))
        if not results or result is subject:  # nothing happened
            return
        made = self.tape.operate(known, given, result, self.scope, self.pending)
        values = made if isinstance(made, list) else [made]
        for index, (item, value) in enumerate(zip(results, values, strict=True)):
            if isinstance(subject, Tensor) and is_alias_of(item, subject):
                place = index if isinstance(made, list) else None
                parent = self.memory.entry(subject)
                self.memory.bind_view(item, value, view_of(known, given, parent, results, place))
            else:
                self.memory.bind(item, value)

    def _write(
        self,
        known: Called,
        function: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        arguments: tuple[dict[str, Any], dict[str, Any]],
    ) -> Any:
        """An operator that writes: the tensors written to stand for new values afterwards."""
        tensors, given = arguments
        for name in known.written:
            if isinstance(tensors.get(name), Tensor):
                self._check_owner(tensors[name], function)
        result = function(*args, **kwargs)
        target = tensors.get(known.written[0])
        if known.in_place and isinstance(target, Tensor):
            value = self._functional(known, given, target)
            if value is not given.get("self"):  # else nothing was written, as by dropout in evaluation
                self.memory.written(target, value, str(function))
        elif isinstance(result, Tensor):
            value = self.tape.operate(known, given, result, self.scope, self.pending)
            self._rebind(result, value, str(function))
        else:
            raise TraceError(
                f"the operator {function} writes to several tensors", where=self.scope, fix="Use one that does not."
            )
        return result

    def _rebind(self, tensor: Tensor, value: Value, operator: str) -> None:
        if tensor in self.memory:
            self.memory.written(tensor, value, operator)
        else:
            self.memory.bind(tensor, value)

    def _check_owner(self, tensor: Tensor, function: Any) -> None:
        owner = self.memory.entry(tensor).family.owner
        if owner:
            raise TraceError(
                f"the model changes {owner} while it runs in evaluation mode ({function})",
                where=self.scope or type(self._model).__name__,
                fix="Return the new state as an output and take it as an input.",
            )

    def _functional(self, known: Called, given: dict[str, Any], target: Tensor) -> Value:
        """The value that an operator wrote, of the type that the memory has."""
        if known.packet == "fill" and "value" not in given:
            given = {**given, "value": 0}
        if known.packet == "copy":
            given = {"self": given["self"], "src": self._cast(given["src"], target)}
        value: Value = self.tape.operate(known, given, target, self.scope, self.pending)
        types = {item.meta.dtype for item in given.values() if isinstance(item, Value) and isinstance(item.meta, Meta)}
        return value if types <= {target.dtype, torch.bool} else self._cast(value, target, known.packet != "copy")

    def _cast(self, value: Value, target: Tensor, always: bool = False) -> Value:
        if not isinstance(value.meta, Meta) or (value.meta.dtype == target.dtype and not always):
            return value
        meta = Meta(value.meta.shape, target.dtype)
        return self.tape.emit("to", (value, target.dtype), meta, self.scope)

    # what code asks of tensors

    def leaked(self, tensor: Tensor) -> None:
        """The memory of a tensor goes where operators cannot be seen."""
        value = self.value_of(tensor)
        if value.given:
            self._leaked.append(value)

    def check_constant(self, tensor: Tensor, what: str) -> None:
        """Raises: TraceError when Python asks for the values of a tensor that depends on an input."""
        if self._varies(self.value_of(tensor)):
            raise _depends_on_data(what, self.scope or type(self._model).__name__)

    def _varies(self, value: Value) -> bool:
        return value.given and (value.learned or not self._loose)


def _depends_on_data(what: str, where: str) -> TraceError:
    return TraceError(
        f"the trace would depend on data: {what} is asked for the values of a tensor that depends on an input",
        where=where,
        fix="Replace `if` on tensor values by torch.where, loops by operators on whole tensors, `.item()` and boolean "
        "indexing by masks.",
    )


def _by_mask(indices: Any) -> bool:
    return any(isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) for item in indices)


def _same_memory(left: Tensor, right: Tensor) -> bool:
    return (
        is_alias_of(left, right)
        and left.shape == right.shape
        and left.stride() == right.stride()
        and left.dtype == right.dtype
        and left.storage_offset() == right.storage_offset()
    )


def _argument_names(model: nn.Module, count: int) -> list[str]:
    names: list[str] = []
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind == parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{place}" for place in range(count)]
    return (names + [f"input_{place}" for place in range(count)])[:count]
