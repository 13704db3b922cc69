"""Which attributes of modules have to change so that their code computes the sizes of a cut network.

A recorded graph says of its integers which attributes they were computed from. Each integer that counts channels is an
equation: the expression, over attributes and sizes of tensors, must give what is left of the channels.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias, cast

from torch import nn

from featherweight.errors import FeatherweightError, SurgeryError
from featherweight.graph.cells import Ids
from featherweight.graph.cut import left
from featherweight.graph.origins import Attribute, Constant, Expr, Operation, Place, Size, evaluate
from featherweight.graph.structure import Mask, Structure

Value: TypeAlias = int | tuple[int, ...]
_Look: TypeAlias = Callable[[Attribute | Size], int]


class UnsolvableError(SurgeryError):
    """Numbers of channels that the code of a module cannot follow; `parts` are the channels that each counts."""

    parts: tuple[Ids, ...] = ()


@dataclass(frozen=True)
class _Equation:
    """`expr` has to give `wanted`. `counted` are the channels it is about; `where` and `what` say it to people."""

    expr: Expr
    wanted: int
    counted: tuple[Ids, ...]
    where: str
    what: str

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The unknowns."""
        return tuple(item for item in _leaves(self.expr) if isinstance(item, Attribute))


def settings_for(structure: Structure, gone: Mask, model: nn.Module) -> tuple[tuple[str, str, Value], ...]:
    """The attributes to set, as (module path, name, value), when these cells go.

    Raises: UnsolvableError when no values of the attributes give the sizes that are left.
    """
    found: dict[Attribute, int] = {}
    before = _Before(structure, model)
    counts = _counts(structure, gone)
    moving = {item for equation in counts for item in equation.attributes}
    equations = [*counts, *_comparisons(structure, moving), *_numbers(structure, before)]

    def look(item: Attribute | Size) -> int:
        if isinstance(item, Attribute):
            return found[item] if item in found else before(item)
        return _size(structure, item, gone)

    for equation in equations:
        if isinstance(equation.expr, Attribute) and equation.wanted != look(equation.expr):
            if equation.expr in found:
                raise _unsolvable(equation, equations)
            found[equation.expr] = equation.wanted
    for equation in equations:
        if _value(equation.expr, look) != equation.wanted:
            _solve(equation, equations, found, look)
    for equation in equations:
        if _value(equation.expr, look) != equation.wanted:
            raise _unsolvable(equation, equations)
    _keep_apart(structure, equations, found, before)
    return _settings(found, before)


def _keep_apart(
    structure: Structure, equations: list[_Equation], found: dict[Attribute, int], before: "_Before"
) -> None:
    """Moves attributes that nothing else decides so that what the code compared and found unequal stays so."""
    bound = {item for equation in equations for item in equation.attributes}
    for pair in structure.flow.code.unequal if structure.flow.code is not None else ():
        for one, other in (pair, pair[::-1]):
            if not isinstance(one, Attribute) or not isinstance(other, Attribute) or one in bound or one in found:
                continue
            if other in found and found[other] == before(one) and before(other):
                found[one] = before(one) * found[other] // before(other)  # as much smaller as the other


def _counts(structure: Structure, gone: Mask) -> list[_Equation]:
    """The integers in the graph that count channels and come from somewhere."""
    code, graph = structure.flow.code, structure.flow.graph
    origins = code.origins if code is not None else {}
    result = []
    for count in structure.flow.counts:
        expr = origins.get(Place(count.value, count.parameter, count.position))
        if expr is not None:
            node = graph.nodes[count.value - graph.first_node]
            what = f"computes the {count.parameter} of {node.op} as {_words(expr)}"
            counted = (count.ids, *_counted(structure, expr))
            result.append(_Equation(expr, left(structure, count, gone), counted, node.scope, what))
    return result


def _comparisons(structure: Structure, moving: Set[Attribute]) -> list[_Equation]:
    """What the code compares and found equal must stay so; two attributes that nothing moves do."""
    result = []
    for one, other in structure.flow.code.equal if structure.flow.code is not None else ():
        if isinstance(one, Attribute) and isinstance(other, Attribute) and not {one, other} & moving:
            continue
        expr = Operation("sub", one, other)
        what = f"compares {_words(one)} with {_words(other)}"
        where = next((item.path for item in _leaves(expr) if isinstance(item, Attribute)), "")
        result.append(_Equation(expr, 0, tuple(_counted(structure, expr)), where, what))
    return result


def _numbers(structure: Structure, before: "_Before") -> list[_Equation]:
    """What the code computes other numbers from must stay what it is."""
    result = []
    for expr in structure.flow.used:
        wanted = _value(expr, before)
        where = next((item.path for item in _leaves(expr) if isinstance(item, Attribute)), "")
        if wanted is not None:
            what = f"computes another number from {_words(expr)}"
            result.append(_Equation(expr, wanted, tuple(_counted(structure, expr)), where, what))
    return result


class _Before:
    """Attributes and sizes as they are before anything goes. Looked up once: a network has thousands of equations."""

    def __init__(self, structure: Structure, model: nn.Module) -> None:
        self._structure = structure
        self._modules = dict(model.named_modules())
        self._known: dict[Attribute, int] = {}

    def __call__(self, item: Attribute | Size) -> int:
        if isinstance(item, Size):
            dims = self._structure.flow.dims[item.value]
            return len(dims[item.dim]) if isinstance(dims, tuple) else 0
        if item not in self._known:
            value = self.held(item)
            self._known[item] = value[item.position or 0] if isinstance(value, tuple) else value
        return self._known[item]

    def held(self, attribute: Attribute) -> Value:
        """What the module has."""
        owner: object = self._modules[attribute.path]
        for part in attribute.name.split("."):
            owner = getattr(owner, part)
        return owner if isinstance(owner, int) else tuple(cast(Iterable[int], owner))

    def sharing(self, attribute: Attribute) -> list[str]:
        """The paths of all modules that hold the same configuration object."""
        holder, dot, _ = attribute.name.partition(".")
        if not dot:
            return [attribute.path]
        held = getattr(self._modules[attribute.path], holder)
        return [path for path, module in self._modules.items() if vars(module).get(holder) is held]


def _solve(equation: _Equation, others: list[_Equation], found: dict[Attribute, int], look: _Look) -> None:
    """Finds one attribute's value that satisfies all equations in which it occurs, from small to large."""
    for attribute in equation.attributes:
        if attribute in found:
            continue
        mine = [item for item in others if attribute in item.attributes]
        for value in range(look(attribute) + 1):
            found[attribute] = value
            if all(_value(item.expr, look) == item.wanted for item in mine):
                return
        del found[attribute]
    raise _unsolvable(equation, others)


def _value(expr: Expr, look: _Look) -> int | None:
    try:
        return evaluate(expr, look)
    except FeatherweightError:
        return None


def _leaves(expr: Expr) -> list[Expr]:
    if not isinstance(expr, Operation):
        return [expr]
    parts = [expr.left] if expr.right is None else [expr.left, expr.right]
    return [item for part in parts for item in _leaves(part)]


def _size(structure: Structure, item: Size, gone: Mask) -> int:
    dims = structure.flow.dims[item.value]
    if not isinstance(dims, tuple):
        return 0
    return int((~gone[structure.flow.cells.find(dims[item.dim])]).sum())


def _settings(found: Mapping[Attribute, int], before: _Before) -> tuple[tuple[str, str, Value], ...]:
    result: dict[tuple[str, str], Value] = {}
    for attribute, value in found.items():
        whole: Value = value
        if attribute.position is not None:
            items = result.get((attribute.path, attribute.name), before.held(attribute))
            at = attribute.position
            whole = (*items[:at], value, *items[at + 1 :]) if isinstance(items, tuple) else value
        result[attribute.path, attribute.name] = whole
    everywhere = (
        (path, name, value)
        for (first, name), value in result.items()
        for path in before.sharing(Attribute(first, name, None))
    )
    return tuple(sorted(everywhere, key=lambda setting: setting[:2]))


def _unsolvable(equation: _Equation, others: list[_Equation]) -> UnsolvableError:
    error = UnsolvableError(
        f"the code of the module {equation.what}, which cannot follow these channels",
        where=equation.where or "the network",
        value=equation.wanted,
        fix="Take as many channels of all the layers that it counts, or leave them whole: keep=[...].",
    )
    shared = set(equation.attributes)
    tied = [equation, *(item for item in others if shared & set(item.attributes))]
    error.parts = tuple(part for item in tied for part in item.counted)
    return error


def _counted(structure: Structure, expr: Expr) -> list[Ids]:
    """The channels whose sizes are in an expression."""
    found = []
    for item in _leaves(expr):
        dims = structure.flow.dims[item.value] if isinstance(item, Size) else None
        if isinstance(item, Size) and isinstance(dims, tuple):
            found.append(dims[item.dim])
    return found


def _words(expr: Expr) -> str:
    if isinstance(expr, Attribute):
        return f"{expr.name}" if expr.position is None else f"{expr.name}[{expr.position}]"
    if isinstance(expr, Size):
        return f"size({expr.dim})"
    if isinstance(expr, Constant):
        return str(expr.value)
    signs = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%", "neg": "-"}
    if expr.right is None:
        return f"-{_words(expr.left)}"
    return f"({_words(expr.left)} {signs[expr.kind]} {_words(expr.right)})"
