"""Branches: what a network adds to a stream of values that it keeps (`x = x + self.mlp(self.norm(x))`).

A branch ends in a module, the tail, all of whose results reach nothing but the addition. With zeros from the tail the
stream passes, and the modules that only the tail reads compute for nobody. This file reads the graph alone; whether the
code around runs without these modules is tried by `graph/_stand_ins.py`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from featherweight.graph.ir import Graph, Meta, Node, Ref, leaves

_SUMS: Final = ("add", "sub")
_KEEPS: Final = frozenset(  # operators that give zeros for zeros in their first argument; `mul` in either
    (
        *("mul", "div", "neg", "abs", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
        *("tanh", "hardswish", "softshrink", "hardshrink", "sum", "mean", "pixel_shuffle", "channel_shuffle"),
        *("reshape", "reshape_as", "flatten", "unflatten", "ravel", "transpose", "t", "permute", "numpy_T", "mT"),
        *("movedim", "swapaxes", "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "select", "slice"),
        *("narrow", "repeat", "tile", "roll", "flip", "contiguous", "clone", "detach", "to", "type_as"),
    )
)


@dataclass(frozen=True)
class Branch:
    """A branch: the path of its `tail`, and of the modules that are `dead` without it, in the order in which they run.

    `read` are those of the dead whose results code between the modules reads; `works`: that code multiplies, and will
    go on doing so without the branch.
    """

    tail: str
    dead: tuple[str, ...]
    read: frozenset[str]
    works: bool


def branches_of(graph: Graph, called: Collection[str], works: Callable[[int], bool]) -> list[Branch]:
    """The branches of a recorded graph, by their tails, in the order in which they are added.

    `called` are the paths of the modules that run as such, `works` says which nodes multiply and add.
    """
    found: dict[str, Branch] = {}
    net = _Net(graph, called)
    for term in net.terms:
        tail = net.tail(term)
        if tail is not None and tail not in found:
            found[tail] = net.branch(tail, works)
    return list(found.values())


def _used(graph: Graph, ends: Iterable[int]) -> set[int]:
    """The values that have an effect on the outputs."""
    reached, todo = set(ends), list(ends)
    while todo:
        node = graph.node(Ref(todo.pop()))
        new = {ref.index for ref in node.refs()} - reached if node is not None else set()
        reached |= new
        todo += new
    return reached


class _Net:
    """The graph with what the search asks of it more than once."""

    def __init__(self, graph: Graph, called: Collection[str]) -> None:
        self.graph, self.called = graph, called
        self.ends = {ref.index for ref in leaves(graph.outputs)}
        self.used = _used(graph, self.ends)
        users = graph.users().items()
        self.users = {index: [user for user in found if user in self.used] for index, found in users}
        self.numbers = range(graph.first_node, graph.first_node + len(graph.nodes))
        self.nodes: dict[str, set[int]] = {}  # by path of a module that is called
        for number in self.numbers:
            for path in self.around(number):
                self.nodes.setdefault(path, set()).add(number)

    def node(self, number: int) -> Node | None:
        """The node of a value; None for inputs and tensors."""
        return self.graph.node(Ref(number))

    def around(self, number: int) -> list[str]:
        """The modules that a node belongs to, the outermost first, without the network itself."""
        node = self.node(number)
        parts = node.scope.split(".") if node is not None and node.scope else []
        paths = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return [path for path in paths if path in self.called]

    def reads(self, number: int) -> list[int]:
        """The values that a node reads."""
        node = self.node(number)
        return [] if node is None else [ref.index for ref in node.refs()]

    def leaving(self, path: str) -> Iterator[int]:
        """The values of a module that something else reads."""
        own = self.nodes[path]
        for number in own:
            if number in self.ends or any(user not in own for user in self.users.get(number, ())):
                yield number

    @cached_property
    def above(self) -> dict[int, int]:
        """What each value is computed from: a bit for each number of a value."""
        found: dict[int, int] = {}
        for number in self.numbers:
            bits = 0
            for index in self.reads(number):
                bits |= found.get(index, 0) | 1 << index
            found[number] = bits
        return found

    # sums

    @cached_property
    def sums(self) -> dict[int, int]:
        """For each addition the last one that it only is a part of: itself, mostly."""
        last: dict[int, int] = {}
        for number in reversed(self.numbers):
            node = self.node(number)
            if node is not None and node.op in _SUMS and number in self.used and len(self.reads(number)) == 2:
                users = self.users.get(number, [])
                alone = len(users) == 1 and number not in self.ends and self.reads(users[0]).count(number) == 1
                last[number] = last.get(users[0], number) if alone else number
        return last

    @cached_property
    def terms(self) -> dict[int, set[int]]:
        """The values that are added to a stream which they were computed from, each with the additions that read it."""
        found: dict[int, set[int]] = {}
        members: dict[int, list[int]] = {}
        for number, last in self.sums.items():
            members.setdefault(last, []).append(number)
        for last, adds in members.items():
            inner = set(adds)
            summands = {index for add in adds for index in self.reads(add)}
            streams = [index for index in summands - inner if self._is_stream(index, last)]
            for term in summands:
                below = self._below(term, inner)
                others = (stream for stream in streams if stream not in below)
                if term in self.numbers and any(self._is_source(stream, term) for stream in others):
                    found[term] = inner & set(self.users[term])
        return dict(sorted(found.items()))

    def _is_stream(self, number: int, last: int) -> bool:
        """Whether a term has the form of the sum, so that the others may go."""
        form = self.graph.meta(Ref(number))
        floating = isinstance(form, Meta) and form.dtype.is_floating_point
        return floating and form == self.graph.meta(Ref(last)) and self.graph.tensor_name(Ref(number)) is None

    def _below(self, term: int, inner: set[int]) -> set[int]:
        """A term and, where it is a sum itself, the terms in it."""
        found, todo = set(), [term]
        while todo:
            number = todo.pop()
            found.add(number)
            todo += self.reads(number) if number in inner else []
        return found

    def _is_source(self, stream: int, term: int) -> bool:
        """Whether a term was computed from the stream, or from what that is but another view of."""
        while True:
            if self.above[term] >> stream & 1:
                return True
            kept = self._kept(stream)
            if len(kept) != 1:
                return False
            stream = kept[0]

    # zeros

    def _kept(self, number: int) -> list[int]:
        """The arguments of a node whose zeros are zeros of its result."""
        node = self.node(number)
        if node is None or node.op.partition(".")[0] not in _KEEPS:
            return []
        items = node.args[:2] if node.op.startswith("mul") else node.args[:1]
        indices = [item.index for item in items if isinstance(item, Ref)]
        return [index for index in indices if self.graph.tensor_name(Ref(index)) is None]

    @cached_property
    def vanishing(self) -> set[int]:
        """The values that could be zero and change no more than the terms that they lead to."""
        found: set[int] = set()
        for number in reversed(self.numbers):
            users = self.users.get(number, [])
            adds = self.terms.get(number, set())
            leads = all(user in adds or (user in found and number in self._kept(user)) for user in users)
            if users and leads and number not in self.ends:
                found.add(number)
        return found

    def tail(self, term: int) -> str | None:
        """The outermost module that a term comes from and that gives nothing else."""
        todo = [term]
        while todo:
            number = todo.pop()
            if number not in self.vanishing:
                continue
            for path in self.around(number):
                if not self.terms[term] & self.nodes[path] and self.vanishing.issuperset(self.leaving(path)):
                    return path
            todo += reversed(self._kept(number))
        return None

    def branch(self, tail: str, works: Callable[[int], bool]) -> Branch:
        """What is dead without a tail."""
        own = self.nodes[tail]
        zero = own | self._zeros(self.leaving(tail))
        dead: set[int] = set()
        for number in range(max(zero), self.graph.first_node - 1, -1):
            users = self.users.get(number, ())
            if number not in zero and number not in self.ends and all(user in zero or user in dead for user in users):
                dead.add(number)
        above = 0
        for number in zero:
            above |= self.above[number]
        wanted = [number for number in sorted(dead) if above >> number & 1]
        parts = {number: self._whole(number, dead) for number in wanted}
        modules = tuple(dict.fromkeys(path for path in parts.values() if path is not None))
        between = {number for number, path in parts.items() if path is None} | zero - own
        read = frozenset(path for path in modules if any(between & set(self.users[out]) for out in self.leaving(path)))
        return Branch(tail, modules, read, any(map(works, between)))

    def _zeros(self, values: Iterable[int]) -> set[int]:
        """The nodes behind these values that give zeros for their zeros, up to the additions."""
        found, todo = set(), list(values)
        while todo:
            number = todo.pop()
            behind = [user for user in self.users[number] if user not in self.terms.get(number, ())]
            todo += [user for user in behind if user not in found]
            found.update(behind)
        return found

    def _whole(self, number: int, dead: set[int]) -> str | None:
        """The outermost module around a node of which nothing lives."""
        return next((path for path in self.around(number) if self.nodes[path] <= dead), None)
