"""Which attributes of modules have to change so that their code computes the sizes of a cut network.

A recorded graph says of its integers which attributes they were computed from. Each integer that counts channels is an
equation: the expression, over attributes and sizes of tensors, must give what is left of the channels.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import numpy as np
from torch import nn

from featherweight.errors import FeatherweightError, SurgeryError
from featherweight.graph._flow_base import Count
from featherweight.graph.cells import PINNED, Ids
from featherweight.graph.ir import Node
from featherweight.graph.origins import Attribute, Constant, Expr, Operation, Place, Size, evaluate
from featherweight.graph.structure import Mask, Structure

Value: TypeAlias = int | tuple[int, ...]
_Look: TypeAlias = Callable[[Attribute | Size], int]


class UnsolvableError(SurgeryError):
    """Numbers of channels that the code of a module cannot follow; `parts` are the channels that each counts."""

    parts: tuple[Ids, ...] = ()


@dataclass(frozen=True, eq=False)
class _Equation:
    """`expr` has to give what is left of the cells `roots` where it computes a `count` of channels, else what it gave.

    `cells` are all on which it depends, the pinned one among them, and `attributes` its unknowns.
    """

    number: int
    expr: Expr
    attributes: tuple[Attribute, ...]
    cells: Ids
    count: Count | None = None
    roots: Ids | None = None


class _Code:
    """The equations of a network's code, and its attributes and sizes before anything goes."""

    def __init__(self, structure: Structure, model: nn.Module) -> None:
        self.structure, self.model = structure, weakref.ref(model)
        self._modules = {path: weakref.ref(module) for path, module in model.named_modules()}
        self._known: dict[Attribute, int] = {}
        self._roots = structure.flow.cells.find(np.arange(structure.size, dtype=np.int64))
        self.equations: list[_Equation] = []
        self._take_counts()
        self._take_comparisons()
        for expr in structure.flow.used:
            self._add(expr)
        self.by_attribute: dict[Attribute, list[_Equation]] = {}
        for equation in self.equations:
            for item in dict.fromkeys(equation.attributes):
                self.by_attribute.setdefault(item, []).append(equation)
        self.apart = [pair for pair in self._unequal() if pair[0] not in self.by_attribute]
        sizes = [len(equation.cells) for equation in self.equations]
        self._starts = np.cumsum([0, *sizes[:-1]])
        self._cells = (
            np.concatenate([equation.cells for equation in self.equations]) if sizes else np.zeros(0, np.int64)
        )

    def _take_counts(self) -> None:
        """The integers in the graph that count channels and come from somewhere."""
        code = self.structure.flow.code
        origins = code.origins if code is not None else {}
        for count in self.structure.flow.counts:
            expr = origins.get(Place(count.value, count.parameter, count.position))
            if expr is not None:
                self._add(expr, count)

    def _take_comparisons(self) -> None:
        """What the code compares and found equal must stay so; two attributes that nothing moves do."""
        moving = {item for equation in self.equations for item in equation.attributes}
        for one, other in self.structure.flow.code.equal if self.structure.flow.code is not None else ():
            if isinstance(one, Attribute) and isinstance(other, Attribute) and not {one, other} & moving:
                continue
            self._add(Operation("sub", one, other))

    def _unequal(self) -> Iterator[tuple[Attribute, Attribute]]:
        """What the code compared and found unequal, both ways round."""
        for one, other in self.structure.flow.code.unequal if self.structure.flow.code is not None else ():
            if isinstance(one, Attribute) and isinstance(other, Attribute):
                yield from ((one, other), (other, one))

    def _add(self, expr: Expr, count: Count | None = None) -> None:
        leaves = _leaves(expr)
        roots = None if count is None else self._roots[count.ids]
        parts = [self._roots[self.dimension(item)] for item in leaves if isinstance(item, Size)]
        cells = np.concatenate([[PINNED], *parts, *([] if roots is None else [roots])])
        attributes = tuple(item for item in leaves if isinstance(item, Attribute))
        self.equations.append(_Equation(len(self.equations), expr, attributes, cells, count, roots))

    def dimension(self, item: Size) -> Ids:
        """The cells of a size."""
        dims = self.structure.flow.dims[item.value]
        return dims[item.dim] if isinstance(dims, tuple) else np.zeros(0, dtype=np.int64)

    def left(self, item: Size, gone: Mask) -> int:
        """What is left of a size."""
        ids = self.dimension(item)
        return len(ids) - int(np.count_nonzero(gone[self._roots[ids]]))

    def wanted(self, equation: _Equation, gone: Mask) -> int | None:
        """What an equation has to give when these cells go; None where it has no value."""
        count, roots = equation.count, equation.roots
        if count is None or roots is None:
            return value_of(equation.expr, self.before)
        return count.sign * (len(roots) - int(np.count_nonzero(gone[roots])))

    def touched(self, gone: Mask) -> list[_Equation]:
        """The equations that speak of cells that go; the others hold as long as their attributes stay."""
        if not self.equations:
            return []
        flags = np.logical_or.reduceat(gone[self._cells], self._starts)
        return [self.equations[number] for number in np.flatnonzero(flags)]

    def before(self, item: Attribute | Size) -> int:
        """The value of an attribute or size before anything goes."""
        if isinstance(item, Size):
            return len(self.dimension(item))
        if item not in self._known:
            value = self.held(item)
            self._known[item] = value[item.position or 0] if isinstance(value, tuple) else value
        return self._known[item]

    def held(self, attribute: Attribute) -> Value:
        """What the module has."""
        owner: object = self._modules[attribute.path]()
        for part in attribute.name.split("."):
            owner = getattr(owner, part)
        return owner if isinstance(owner, int) else tuple(cast(Iterable[int], owner))

    def sharing(self, attribute: Attribute) -> list[str]:
        """The paths of all modules that hold the same configuration object."""
        holder, dot, _ = attribute.name.partition(".")
        if not dot:
            return [attribute.path]
        held = getattr(self._modules[attribute.path](), holder)
        modules = ((path, module()) for path, module in self._modules.items())
        return [path for path, module in modules if module is not None and vars(module).get(holder) is held]


_CODES: Final[MutableMapping[Structure, _Code]] = weakref.WeakKeyDictionary()
"""A structure is asked about many choices of channels, and its code is read once."""


def settings_for(structure: Structure, gone: Mask, model: nn.Module) -> tuple[tuple[str, str, Value], ...]:
    """The attributes to set, as (module path, name, value), when these cells go.

    Raises: UnsolvableError when no values of the attributes give the sizes that are left.
    """
    code = _CODES.get(structure)
    if code is None or code.model() is not model:
        code = _CODES[structure] = _Code(structure, model)
    return _Cut(code, gone).settings()


class _Cut:
    """The attributes that are `found` for one choice of cells."""

    def __init__(self, code: _Code, gone: Mask) -> None:
        self._code, self._gone = code, gone
        self._touched = code.touched(gone)
        self._found: dict[Attribute, int] = {}

    def settings(self) -> tuple[tuple[str, str, Value], ...]:
        """See settings_for."""
        for equation in self._touched:
            wanted = self._code.wanted(equation, self._gone) if isinstance(equation.expr, Attribute) else None
            if isinstance(equation.expr, Attribute) and wanted is not None and wanted != self._look(equation.expr):
                if equation.expr in self._found:
                    raise self._unsolvable(equation)
                self._found[equation.expr] = wanted
        known = -1
        while known < len(self._found):
            known = len(self._found)
            for equation in self._concerned():
                if not self._holds(equation):
                    self._solve(equation)
        for equation in self._concerned():
            if not self._holds(equation):
                raise self._unsolvable(equation)
        self._keep_apart()
        return self._set()

    def _concerned(self) -> list[_Equation]:
        """The equations that cells or attributes change, in the order of the code."""
        more = (equation for item in self._found for equation in self._code.by_attribute.get(item, ()))
        return sorted({*self._touched, *more}, key=lambda equation: equation.number)

    def _look(self, item: Attribute | Size) -> int:
        if isinstance(item, Size):
            return self._code.left(item, self._gone)
        return self._found[item] if item in self._found else self._code.before(item)

    def _holds(self, equation: _Equation) -> bool:
        return value_of(equation.expr, self._look) == self._code.wanted(equation, self._gone)

    def _solve(self, equation: _Equation) -> None:
        """Finds one attribute's value that satisfies all equations in which it occurs, from small to large."""
        for attribute in equation.attributes:
            if attribute in self._found:
                continue
            mine = self._code.by_attribute[attribute]
            for value in range(self._look(attribute) + 1):
                self._found[attribute] = value
                if all(map(self._holds, mine)):
                    return
            del self._found[attribute]
        raise self._unsolvable(equation)

    def _keep_apart(self) -> None:
        """Moves attributes that nothing else decides so that what the code compared and found unequal stays so."""
        found, before = self._found, self._code.before
        for one, other in self._code.apart if found else ():
            if one not in found and other in found and found[other] == before(one) and before(other):
                found[one] = before(one) * found[other] // before(other)  # as much smaller as the other

    def _set(self) -> tuple[tuple[str, str, Value], ...]:
        result: dict[tuple[str, str], Value] = {}
        for attribute, value in self._found.items():
            whole: Value = value
            if attribute.position is not None:
                items = result.get((attribute.path, attribute.name), self._code.held(attribute))
                at = attribute.position
                whole = (*items[:at], value, *items[at + 1 :]) if isinstance(items, tuple) else value
            result[attribute.path, attribute.name] = whole
        everywhere = (
            (path, name, value)
            for (first, name), value in result.items()
            for path in self._code.sharing(Attribute(first, name, None))
        )
        return tuple(sorted(everywhere, key=lambda setting: setting[:2]))

    def _unsolvable(self, equation: _Equation) -> UnsolvableError:
        error = UnsolvableError(
            f"the code of the module {self._what(equation)}, which cannot follow these channels",
            where=self._where(equation) or "the network",
            value=self._code.wanted(equation, self._gone),
            fix="Take as many channels of all the layers that it counts, or leave them whole: keep=[...].",
        )
        shared = set(equation.attributes)
        tied = [equation, *(item for item in self._code.equations if shared & set(item.attributes))]
        error.parts = tuple(part for item in tied for part in self._counted(item))
        return error

    def _what(self, equation: _Equation) -> str:
        expr, count = equation.expr, equation.count
        if count is not None:
            return f"computes the {count.parameter} of {self._node(count).op} as {_words(expr)}"
        if (
            isinstance(expr, Operation)
            and expr.kind == "sub"
            and expr.right is not None
            and not value_of(expr, self._code.before)
        ):
            return f"compares {_words(expr.left)} with {_words(expr.right)}"
        return f"computes another number from {_words(expr)}"

    def _where(self, equation: _Equation) -> str:
        if equation.count is not None:
            return self._node(equation.count).scope
        return next((item.path for item in equation.attributes), "")

    def _node(self, count: Count) -> Node:
        graph = self._code.structure.flow.graph
        return graph.nodes[count.value - graph.first_node]

    def _counted(self, equation: _Equation) -> list[Ids]:
        """The channels that an equation is about."""
        sizes = [self._code.dimension(item) for item in _leaves(equation.expr) if isinstance(item, Size)]
        return [*([] if equation.count is None else [equation.count.ids]), *sizes]


def value_of(expr: Expr, look: _Look) -> int | None:
    """The value of an expression; None where there is none."""
    try:
        return evaluate(expr, look)
    except FeatherweightError:
        return None


def _leaves(expr: Expr) -> list[Expr]:
    if not isinstance(expr, Operation):
        return [expr]
    parts = [expr.left] if expr.right is None else [expr.left, expr.right]
    return [item for part in parts for item in _leaves(part)]


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
