"""The graph of a network from one run of it, in milliseconds, and where the integers in it came from.

It stands beside graph/trace.py (torch.export) for two reasons. Time: export takes seconds where this takes little more
than the forward pass. Origins: export folds the numbers that the network's code computes (`x.view(b, self.heads, -1)`)
into constants, and whoever removes heads must know that this 8 is `self.heads`.

How: a dispatch mode below autograd sees every call of ATen as the network wrote it (`conv2d`, `lstm`, `linear`); a
function mode above sees what its code passes, and hands it integers that remember their origin. The operators and their
form are those of `trace`; in place of one graph for all batches all sizes are those of the example, equal nodes are not
made one, and operators outside of the list are kept under their full name ("aten::bincount.default"): such graphs are
to be looked at only.

What it cannot see: which way the code would have gone for other inputs (values of tensors that steer it are refused
where torch is asked for them, but not sizes or Python's own state); what numpy or other libraries compute on the memory
of a tensor (an "opaque::" node stands for it); origins that pass through `int()`, `len()`, floats or the C++ of torch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from featherweight.errors import FeatherweightError, TraceError
from featherweight.graph._record_modes import DispatchMode, FunctionMode
from featherweight.graph._record_named import named_attributes, remarks
from featherweight.graph._record_run import Recorder
from featherweight.graph._record_tape import finished
from featherweight.graph._record_trees import cloned, opened
from featherweight.graph.ir import Graph
from featherweight.graph.origins import Expr, Place
from featherweight.graph.trace import evaluating

__all__ = ["Recording", "record"]


@dataclass(frozen=True)
class Recording:
    """A graph, and for integers in the arguments of its nodes what they were computed from.

    `equal` and `unequal` are pairs that the code compared ("do the channels fit the configuration?"); `used` are
    integers that it computed other numbers from (a scale out of a width).
    """

    graph: Graph
    origins: Mapping[Place, Expr]
    equal: tuple[tuple[Expr, Expr], ...] = ()
    unequal: tuple[tuple[Expr, Expr], ...] = ()
    used: tuple[Expr, ...] = ()


def record(model: nn.Module, example: Any, *, whole: bool = False) -> Recording:
    """The graph of `model` in evaluation mode at the sizes of `example`, and the origins of its integers.

    `example` is one input or the tuple of the positional inputs; tensors may be nested in tuples, lists and
    dictionaries. What is no tensor is a constant of the graph. The model and the example are left as they were.

    `whole` is for looking at a model only: what runs to no effect on the outputs is in the graph as well, and code may
    ask for values that integer inputs alone decide ("is any token padding?"), which are then those of the example.

    Raises: TraceError, which names the module, when the way of the code depends on the values of tensors, when a
    parameter or buffer is written to, when a write cannot be expressed by functions, or when the model does not run.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    recorder = Recorder(model, loose=whole)
    with evaluating(model), torch.no_grad(), named_attributes(model) as attributes, remarks() as noted:
        given = cloned(inputs)
        recorder.take_inputs(given)
        try:
            with _following(recorder), _below_autograd(), DispatchMode(recorder), FunctionMode(recorder):
                output = model(*given)
        except FeatherweightError:
            raise
        except Exception as error:  # whatever the model's code raises
            raise TraceError(
                "the model does not run on the example",
                where=recorder.failed or type(model).__name__,
                value=f"{type(error).__name__}: {error}",
                fix="Check that model(*example) runs in evaluation mode.",
            ) from error
        with _without_names():
            outputs = opened(output, recorder.value_of)
            graph, origins, numbered = finished(recorder.tape, outputs, attributes, whole)
            equal, unequal = (_pairs(pairs, numbered) for pairs in (noted.equal, noted.unequal))
            used = tuple(item for item in dict.fromkeys(map(numbered, noted.used)) if item is not None)
            return Recording(graph, origins, equal, unequal, used)


def _pairs(
    found: Iterable[tuple[Expr, Expr]], numbered: Callable[[Expr], Expr | None]
) -> tuple[tuple[Expr, Expr], ...]:
    pairs = dict.fromkeys((numbered(left), numbered(right)) for left, right in found)
    return tuple((left, right) for left, right in pairs if left is not None and right is not None and left != right)


@contextmanager
def _following(recorder: Recorder) -> Iterator[None]:
    """Tells the recorder which module runs."""
    before = nn.modules.module.register_module_forward_pre_hook(recorder.entered)
    after = nn.modules.module.register_module_forward_hook(recorder.left, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _below_autograd() -> Iterator[None]:
    """Operators reach the dispatch mode whole: above it autograd would take `linear` and others apart."""
    with torch._C._AutoDispatchBelowAutograd():
        yield


@contextmanager
def _without_names() -> Iterator[None]:
    with torch._C.DisableTorchFunction():
        yield
