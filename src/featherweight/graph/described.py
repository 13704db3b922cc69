"""Modules as plain JSON data and back, for a closed list (`graph/_described_kinds.py`): no code, no class by name.

A description is `{"kind": "Linear", "in_features": 4, ...}` with every setting of the constructor that differs from
its default, and `"dtype"` where the weights are not float32. `{"kind": "Sequential", "children": [[name, description],
...]}` nests. It says how a module is made, not what its weights are.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from featherweight.core.catalog import did_you_mean
from featherweight.errors import FeatherweightError, UsageError
from featherweight.graph._described_forms import REQUIRED, Kind
from featherweight.graph._described_kinds import KINDS

MAX_DEPTH: Final = 16  # of Sequential in Sequential
MAX_MODULES: Final = 16_384  # in one description; each layer of a recurrent module counts
MAX_ELEMENTS: Final = 2**31  # of all tensors of one description

_SEQUENTIAL: Final = "Sequential"
_DTYPES: Final = {
    name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
}
_HOOKS: Final = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks"))
_EMPTY: Final = nn.Sequential()


def describe(module: nn.Module) -> dict[str, Any]:
    """The description from which `build` makes a module of the same structure.

    Raises: UsageError, which names the module, for a class that is not in the list (a subclass too), hooks,
    parametrizations, weights that several modules share, and weights that the constructor would not give.
    """
    _refuse_shared(module)
    description = _described(module, type(module).__name__, MAX_DEPTH)
    _compare(module, _made(description, torch.device("meta")))
    return description


def build(
    description: Mapping[str, Any],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """A new module of this description, in training mode, its weights freshly initialised, always with the same values.

    `device` is where it goes (default: the CPU), `dtype` the type of weights whose type the description leaves open
    (default: float32). The global random state stays as it is.

    Raises: UsageError for an unknown kind or setting, a wrong value, or more than 2^31 weights; it says where.
    """
    elements(description)
    where = torch.device("cpu") if device is None else torch.device(device)
    if where.type == "meta":
        return _made(description, where, dtype)
    # modules are initialised by the global generator: on loan, from a fixed seed
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return _made(description, torch.device("cpu"), dtype).to(where)


def modules(description: Mapping[str, Any]) -> int:
    """Checks all that can be checked without making a module; gives how many there are, layers of recurrent ones too.

    Raises: UsageError, as `build` does.
    """
    count = [0]
    _check(description, "description", MAX_DEPTH, count)
    return count[0]


def elements(description: Mapping[str, Any]) -> int:
    """Checks a description without taking memory for weights; gives how many numbers its tensors would hold.

    Raises: UsageError, as `build` does.
    """
    modules(description)
    sketch = _made(description, torch.device("meta"))
    total = sum(tensor.numel() for tensor in (*sketch.parameters(), *sketch.buffers()))
    if total > MAX_ELEMENTS:
        raise UsageError(f"a description has at most {MAX_ELEMENTS} weights", where="description", value=total)
    return total


# ---------------------------------------------------------------------------------------------------------- describing


def _refuse_shared(module: nn.Module) -> None:
    for kind, found in (
        ("module", list(module.named_modules(remove_duplicate=False))),
        ("tensor", [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]),
    ):
        names: dict[int, str] = {}
        for name, item in found:
            first = names.setdefault(id(item), name)
            if first != name:
                raise UsageError(
                    f"a {kind} that occurs twice cannot be described", where=type(module).__name__, value=(first, name)
                )


def _described(module: nn.Module, path: str, depth: int) -> dict[str, Any]:
    _refuse_changed(module, path)
    if type(module) is nn.Sequential:
        if depth == 0:
            raise UsageError(f"modules are nested deeper than {MAX_DEPTH}", where=path)
        children = module._modules.items()
        nested = [
            [name, _described(child, f"{path}.{name}", depth - 1)] for name, child in children if child is not None
        ]
        return {"kind": _SEQUENTIAL, "children": nested}
    kind = KINDS.get(type(module).__name__)
    if kind is None or kind.cls is not type(module):
        raise UsageError(
            "a module of this class cannot be described",
            where=path,
            value=f"{type(module).__module__}.{type(module).__qualname__}",
            fix=f"Use torch.nn.Sequential and {', '.join(sorted(KINDS))}.",
        )
    values = {setting.name: setting.of(module) for setting in kind.settings}
    kept = {
        setting.name: values[setting.name]
        for setting in kind.settings
        if setting.default is REQUIRED or values[setting.name] != setting.default
    }
    return {"kind": kind.name, **kept, **_dtype(module, path)}


def _refuse_changed(module: nn.Module, path: str) -> None:
    """What a description would lose: hooks, parametrizations, methods of this one instance."""
    for item in module.modules():
        if nn.utils.parametrize.is_parametrized(item):
            raise UsageError(
                "a module with parametrizations cannot be described",
                where=path,
                value=type(item).__name__,
                fix="Call torch.nn.utils.parametrize.remove_parametrizations first.",
            )
        hooked = next((name for name in _HOOKS if getattr(item, name, None)), None)
        if hooked is not None:
            raise UsageError("a module with hooks cannot be described", where=path, value=hooked, fix="Remove them.")
        if "forward" in vars(item):
            raise UsageError(
                "a module whose forward was replaced cannot be described", where=path, value=type(item).__name__
            )


def _dtype(module: nn.Module, path: str) -> dict[str, str]:
    tensors = [*module.parameters(), *module.buffers()]
    found = {tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()}
    names = sorted(str(dtype).removeprefix("torch.") for dtype in found)
    if len(names) > 1 or not set(names) <= set(_DTYPES):
        raise UsageError(f"weights of one module have one type of {', '.join(_DTYPES)}", where=path, value=names)
    return {"dtype": names[0]} if names and names != ["float32"] else {}


def _compare(module: nn.Module, made: nn.Module) -> None:
    """Raises UsageError where the description gives other tensors than the module has."""

    def layout(item: nn.Module) -> dict[str, tuple[Any, ...]]:
        tensors = (*item.named_parameters(), *item.named_buffers())
        return {name: (isinstance(tensor, nn.Parameter), tuple(tensor.shape), tensor.dtype) for name, tensor in tensors}

    own, other = layout(module), layout(made)
    for name in sorted(own.keys() | other.keys()):
        if own.get(name) != other.get(name):
            raise UsageError(
                f"the settings of the module ask for another tensor than it has ({_told(other.get(name))})",
                where=f"{type(module).__name__}.{name}",
                value=_told(own.get(name)),
                fix="Set attributes such as in_features to what the weights are.",
            )


def _told(layout: tuple[Any, ...] | None) -> str:
    return "none" if layout is None else f"{layout[2]} of shape {layout[1]}"


# ------------------------------------------------------------------------------------------------------------ building


def _check(description: Any, path: str, depth: int, count: list[int]) -> None:
    if not isinstance(description, Mapping) or type(description.get("kind")) is not str:
        raise UsageError('a description is an object with "kind"', where=path, value=description)
    settings = {key: value for key, value in description.items() if key != "kind"}
    if description["kind"] == _SEQUENTIAL:
        _check_children(settings, path, depth, count)
    else:
        _check_settings(_kind(description["kind"], path), settings, path)
    count[0] += settings.get("num_layers", 1)
    if count[0] > MAX_MODULES:
        raise UsageError(f"a description has at most {MAX_MODULES} modules and layers", where=path, value=count[0])


def _check_children(settings: Mapping[str, Any], path: str, depth: int, count: list[int]) -> None:
    if depth == 0:
        raise UsageError(f"modules are nested deeper than {MAX_DEPTH}", where=path)
    children = settings.get("children")
    if set(settings) != {"children"} or type(children) is not list:
        raise UsageError("a Sequential has a list of children and nothing else", where=path, value=sorted(settings))
    names = set()
    for entry in children:
        if type(entry) is not list or len(entry) != 2 or not _is_name(entry[0]) or entry[0] in names:
            raise UsageError(
                "a child is [name, description], each name once, without dots", where=path, value=entry[:1]
            )
        names.add(entry[0])
        _check(entry[1], f"{path}.{entry[0]}", depth - 1, count)


def _is_name(name: Any) -> bool:
    # a name that is an attribute of every module would break the module that takes it
    if type(name) is not str or not 0 < len(name) <= 255 or not name.isprintable() or "." in name:
        return False
    return not hasattr(_EMPTY, name)


def _kind(name: str, path: str) -> Kind:
    if name not in KINDS:
        raise UsageError(
            "there is no such kind of module", where=path, value=name, fix=did_you_mean(name, [*KINDS, _SEQUENTIAL])
        )
    return KINDS[name]


def _check_settings(kind: Kind, values: Mapping[str, Any], path: str) -> None:
    known = {setting.name: setting for setting in kind.settings}
    for name, value in values.items():
        if name == "dtype":
            if type(value) is not str or value not in _DTYPES:
                raise UsageError(
                    f"a type of weights is one of {', '.join(_DTYPES)}", where=f"{path}.dtype", value=value
                )
            continue
        if name not in known:
            raise UsageError(f"{kind.name} has no such setting", where=path, value=name)
        if not known[name].form.fits(value):
            raise UsageError(f"{kind.name} takes {known[name].form.wants}", where=f"{path}.{name}", value=value)
    for setting in kind.settings:
        if setting.default is REQUIRED and setting.name not in values:
            raise UsageError(f"{kind.name} needs the setting {setting.name}", where=path, value=sorted(values))


def _made(description: Mapping[str, Any], device: torch.device, dtype: torch.dtype | None = None) -> nn.Module:
    """A module from a checked description."""
    if description["kind"] == _SEQUENTIAL:
        whole = nn.Sequential()
        for name, child in description["children"]:
            whole.add_module(name, _made(child, device, dtype))
        return whole
    kind = KINDS[description["kind"]]
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in description.items()
        if name not in ("kind", "dtype")
    }
    try:
        with device:
            module = (kind.make or kind.cls)(**settings)
    except FeatherweightError:
        raise
    except Exception as error:  # whatever torch says of settings that do not fit together
        raise UsageError(f"{kind.name} cannot be made: {error}", where="description", value=settings) from error
    wanted = _DTYPES[description["dtype"]] if "dtype" in description else dtype
    return module if wanted is None else module.to(wanted)
