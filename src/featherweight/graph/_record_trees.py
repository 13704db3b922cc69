"""Inputs and outputs of a network: nested structures, and the classes that networks put their outputs in."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from featherweight.errors import TraceError


def cloned(tree: Any) -> Any:
    """The same structure with a copy of each tensor, so that a network may write to its inputs."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, tuple | list):
        parts = [cloned(item) for item in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, dict):
        return {key: cloned(item) for key, item in tree.items()}
    return tree


def named_tensors(names: list[str], trees: tuple[Any, ...]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the inputs, each with a name: that of its argument and where it is in there."""
    for name, tree in zip(names, trees, strict=True):
        yield from _named(name, tree)


def _named(name: str, tree: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, tuple | list):
        for place, item in enumerate(tree):
            yield from _named(f"{name}_{place}", item)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from _named(f"{name}_{key}", item)


def opened(output: Any, value_of: Callable[[Tensor], Any]) -> Any:
    """The outputs as tuples, lists, dictionaries and numbers, each tensor replaced; other objects by their attributes.

    Raises: TraceError when a dictionary has keys that are no texts.
    """
    if isinstance(output, Tensor):
        return value_of(output)
    if output is None or isinstance(output, bool | float):
        return output
    if isinstance(output, int):
        return int(output)
    if isinstance(output, list):
        return [opened(item, value_of) for item in output]
    if isinstance(output, tuple):
        return tuple(opened(item, value_of) for item in output)
    if isinstance(output, Mapping):
        if not all(isinstance(key, str) for key in output):
            raise TraceError("an output dictionary has keys that are no texts", value=list(output), fix="Use text.")
        return {key: opened(item, value_of) for key, item in output.items()}
    return _opened_object(output, value_of, set())


def _opened_object(output: Any, value_of: Callable[[Tensor], Any], seen: set[int]) -> Any:
    """What of an object is or holds tensors; None when nothing does."""
    if id(output) in seen or not (dataclasses.is_dataclass(output) or hasattr(output, "__dict__")):
        return None
    seen.add(id(output))
    if isinstance(output, type | torch.nn.Module) or callable(output):
        return None
    found = {}
    for key, item in vars(output).items():
        parts = item if isinstance(item, list | tuple) else [item]
        inner = [value_of(part) if isinstance(part, Tensor) else _opened_object(part, value_of, seen) for part in parts]
        if any(part is not None for part in inner):
            found[key] = inner if isinstance(item, list | tuple) else inner[0]
    return found or None
