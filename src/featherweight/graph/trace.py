"""From a model and an example to its graph, by torch.export.

`torch.export` is asked for the operators as the model wrote them (`conv2d`, `lstm`, `layer_norm`, ...), in evaluation
mode, with a batch that may change. Where the model does not allow that the batch stays fixed and the graph says so in
`notes`. Every trace is run once against the model.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.utils._sympy.numbers import int_oo

from featherweight.errors import FormatError, TraceError
from featherweight.graph._inplace import is_simple
from featherweight.graph.ir import Graph
from featherweight.graph.lowering import Names, lower
from featherweight.graph.module import GraphModule, tensors_of
from featherweight.graph.program import prepare, tensors_in, values_of

_TOLERANCE: Final = 1e-4  # of the largest output: kernels may add in another order, wrong graphs differ by far more


def trace(model: nn.Module, example: Any) -> Graph:
    """The graph of `model` in evaluation mode.

    `example` is one input or the tuple of the positional inputs, batch in front; tensors may be nested in tuples,
    lists and dictionaries. What is no tensor is a constant of the graph. The model is left as it was.

    Raises: TraceError, which says what to do instead, when the model cannot be captured.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    with evaluating(model), _quiet(), torch.no_grad():
        graph = _captured(model, inputs)
        _compare(model, graph, inputs)
    return graph


def _captured(model: nn.Module, inputs: tuple[Any, ...]) -> Graph:
    for example, axis in _attempts(model, inputs):
        try:
            program = _export(model, example, axis)
        except Exception:  # noqa: BLE001  # whatever the model's code raises; the last attempt reports it
            continue
        if _holds_for_any_batch(program):
            return _lowered(program, model, inputs)
    try:
        program = _export(model, inputs, None)
    except Exception as error:  # the same
        raise _explained(error, model) from error
    graph = _lowered(program, model, inputs)
    sizes = sorted({item.shape[0] for item in tensors_in(inputs) if item.dim()})
    return replace(graph, notes=(f"the batch is fixed at {', '.join(str(size) for size in sizes)}",))


def _attempts(model: nn.Module, inputs: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Examples, each with the axis to try as the batch.

    Export takes a size of 1 for a constant, so a batch of 1 is made 2.
    """
    for axis in _batch_axes(model):
        tensors = [item for item in tensors_in(inputs) if item.dim() > 0]
        if not tensors or any(item.dim() <= axis for item in tensors):
            return
        single = all(item.shape[axis] == 1 for item in tensors)
        yield (_mapped(inputs, partial(_doubled, axis=axis)) if single else inputs), axis


def _batch_axes(model: nn.Module) -> list[int]:
    """The first axis; then the second, where a module says that its batch is not in front (recurrent layers)."""
    if isinstance(model, GraphModule):
        shapes = [item.shape for item in model.graph.signature]
        return sorted({axis for shape in shapes for axis, size in enumerate(shape) if size is None})
    behind = any(getattr(module, "batch_first", None) is False for module in model.modules())
    return [0, 1] if behind else [0]


def _doubled(tensor: Tensor, axis: int) -> Tensor:
    return torch.cat([tensor, tensor], dim=axis) if tensor.dim() else tensor


def _export(model: nn.Module, inputs: tuple[Any, ...], axis: int | None) -> ExportedProgram:
    """The functional program for inputs whose size along `axis` may change (None: no size may)."""
    shapes: Any = cast(Any, ShapesCollection)()
    if axis is not None:
        for tensor in tensors_in(inputs):
            if tensor.dim():
                shapes[tensor] = {axis: Dim.AUTO}
    program = export(model, inputs, dynamic_shapes=None if axis is None else shapes, strict=False)
    return program if is_simple(program) else program.run_decompositions({})


def _holds_for_any_batch(program: ExportedProgram) -> bool:
    """Whether the program was captured for all sizes from 2 on, and not for some range that the code asked for."""
    symbols: set[Any] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor):
            for size in node.meta["val"].shape:
                if isinstance(size, torch.SymInt):
                    if not size.node.expr.is_Symbol:
                        return False
                    symbols.add(size.node.expr)
    ranges = [program.range_constraints.get(symbol) for symbol in symbols]
    return bool(symbols) and all(item is not None and int(item.lower) <= 2 and item.upper == int_oo for item in ranges)


def _lowered(program: ExportedProgram, model: nn.Module, inputs: tuple[Any, ...]) -> Graph:
    signature = program.graph_signature
    names = list(model.input_names) if isinstance(model, GraphModule) else []
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    users = [placeholders[str(name)] for name in signature.user_inputs if str(name) in placeholders]
    users = [node for node in users if isinstance(node.meta.get("val"), Tensor)]
    if len(names) != len(users):
        names = [re.sub(r"\W", "_", node.name) for node in users]
    sizes: dict[Any, int] = {}
    for node, tensor in zip(users, tensors_in(inputs), strict=True):
        for size, real in zip(node.meta["val"].shape, tensor.shape, strict=True):
            if isinstance(size, torch.SymInt):
                sizes[size.node.expr] = int(real)
    parameters, buffers = tensors_by_name(model)
    return lower(program, Names(names, canonical_names(parameters | buffers), frozenset(parameters), sizes))


def tensors_by_name(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers by each of their names, from one walk through the modules."""
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        parameters |= {prefix + name: item for name, item in module._parameters.items() if item is not None}
        buffers |= {prefix + name: item for name, item in module._buffers.items() if item is not None}
    return parameters, buffers


def canonical_names(named: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name of a tensor the first in the alphabet that means the same tensor."""
    groups: dict[int, list[str]] = {}
    for name, tensor in named.items():
        groups.setdefault(id(tensor), []).append(name)
    return {name: min(group) for group in groups.values() for name in group}


def _compare(model: nn.Module, graph: Graph, inputs: tuple[Any, ...]) -> None:
    """Runs model and graph on the example.

    Raises: TraceError when they differ: then the model is not a function of its inputs.
    """
    tensors = tensors_of(graph, model)
    flat = list(tensors_in(inputs))
    if any(item.device.type == "meta" for item in (*flat, *tensors.values())):
        return
    given = [*flat, *tensors.values()]
    device = given[0].device if given else torch.device("cpu")
    expected = [item.clone() for item in tensors_in(_opened(model(*_mapped(inputs, torch.clone))))]
    try:
        found = list(tensors_in(values_of(graph.outputs, prepare(graph).run(given, device))))
    except (RuntimeError, FormatError) as error:
        raise TraceError("the captured graph does not run on the example", value=str(error)) from error
    if len(found) == len(expected) and all(_close(a, b) for a, b in zip(found, expected, strict=True)):
        return
    raise TraceError(
        "the captured graph gives other outputs than the model",
        where=type(model).__name__,
        fix="A model must be a function of its inputs: no random numbers, no state that changes between calls.",
    )


def _opened(output: Any) -> Any:
    """Structures of output that are dataclasses or other registered classes, as tuples."""
    return torch.utils._pytree.tree_leaves(output)


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not (found.is_floating_point() or found.is_complex()):
        return bool(torch.equal(found, expected))
    scale = expected.detach().nan_to_num().abs().max().item() if expected.numel() else 0.0
    loose = _TOLERANCE if found.dtype in (torch.float32, torch.float64, torch.complex64) else 0.05
    return bool(torch.allclose(found, expected, rtol=loose, atol=loose * max(scale, 1e-6), equal_nan=True))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, attention as separate operators; afterwards all is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator that nothing else understands
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes:
            module.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # recurrent modules refresh their list of weights while they run, which export remarks on
        warnings.filterwarnings("ignore", message=r".*were assigned during export.*")
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)  # torch's own use of it
        yield


_ADVICE: Final = (
    (
        r"data-dependent|GuardOnDataDependent|Could not guard|Dynamic control flow|UncapturedHigherOrder",
        "which way its code goes depends on the values of tensors",
        "Replace `if` on tensor values by torch.where, loops by operators on whole tensors, `.item()` and boolean "
        "indexing by masks; or compress the weights alone: featherweight.save(model, path) without an example.",
    ),
    (
        r"numpy|\.numpy\(\)",
        "its code leaves torch for numpy",
        "Compute with torch in forward().",
    ),
    (
        r"PackedSequence|pack_padded|batch_sizes",
        "it packs sequences by their lengths",
        "Give padded sequences and mask the outputs instead.",
    ),
)


def _explained(error: Exception, model: nn.Module) -> TraceError:
    text = f"{type(error).__name__}: {error}"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    for pattern, what, fix in _ADVICE:
        if re.search(pattern, text):
            return TraceError(f"the model cannot be traced: {what}", where=type(model).__name__, value=first, fix=fix)
    return TraceError(
        "the model cannot be traced by torch.export",
        where=type(model).__name__,
        value=first,
        fix="Check that model(*example) runs; if it does, compress the weights alone, without an example.",
    )


def _mapped(tree: Any, change: Any) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple | list):
        parts = [_mapped(item, change) for item in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, dict):
        return {key: _mapped(item, change) for key, item in tree.items()}
    return tree
