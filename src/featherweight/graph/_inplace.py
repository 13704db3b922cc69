"""Whether in-place operators of an exported program may be read as functions whose result takes the old one's place."""

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from featherweight.graph import ops


def is_simple(program: ExportedProgram) -> bool:
    """Whether each in-place operator changes a value that nothing else shares memory with and nobody reads later.

    That is what `nn.ReLU(inplace=True)` does. For all else (writes into slices, buffers, shared views) the program
    has to be made functional by `run_decompositions`.
    """
    changed: set[fx.Node] = set()
    if any(_writes(node) for body in _blocks(program) for node in body.graph.nodes):
        return False
    for node in program.graph.nodes:
        if any(item in changed for item in node.all_input_nodes):
            return False
        if not _writes(node):
            continue
        subject = node.args[0] if node.args else None
        if not isinstance(subject, fx.Node) or not _is_fresh(subject, program) or not _has_function(node):
            return False
        if any(_shares(user, subject) for user in subject.users if user is not node):
            return False
        if not _keeps_kind(node, subject):
            return False
        changed.add(subject)
    return True


def _blocks(program: ExportedProgram) -> list[fx.GraphModule]:
    """The bodies of blocks under another gradient mode and the like."""
    inner = [module for module in program.graph_module.modules() if module is not program.graph_module]
    return [module for module in inner if isinstance(module, fx.GraphModule)]


def _writes(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _has_function(node: fx.Node) -> bool:
    target: Any = node.target
    if target._opname == "detach_":
        return True
    return ops.name_of(target._opname.removesuffix("_"), target._overloadname) is not None


def _is_fresh(node: fx.Node, program: ExportedProgram) -> bool:
    """Whether the value has memory of its own: an input (its change is no output) or the result of a function."""
    if node.op == "placeholder":
        kinds = {item.arg.name: item.kind for item in program.graph_signature.input_specs}
        return kinds.get(node.name) == InputKind.USER_INPUT
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return _writes(node) or not any(item.alias_info for item in target._schema.returns)


def _shares(user: fx.Node, subject: fx.Node) -> bool:
    """Whether a user gives a view of the value, or something that we cannot see into."""
    target = user.target
    if user.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return user.op != "output"
    return any(item.alias_info for item in target._schema.returns)


def _keeps_kind(node: fx.Node, subject: fx.Node) -> bool:
    """Whether the function gives the same type and shape as the in-place operator, which never promotes."""
    before: Any = subject.meta.get("val")
    others = [item.meta.get("val") for item in node.all_input_nodes if item is not subject]
    return isinstance(before, Tensor) and all(
        isinstance(item, Tensor) and (item.dtype == before.dtype) and item.dim() <= before.dim() for item in others
    )
