"""Which arguments of an operator the integers came to that the network's code gave to a function of torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from featherweight.graph._record_calls import Called
from featherweight.graph._record_named import Named
from featherweight.graph.origins import Expr

Found: TypeAlias = dict[tuple[str, int | None], Expr]
"""For (parameter of the schema, index in a list or None): where the integer there came from."""

_INDEXING: Final = {"select": ("index",), "slice": ("start", "end", "step")}
_SYNONYMS: Final = {"input": "self", "axis": "dim", "keepdims": "keepdim"}


@dataclass
class Given:
    """One integer with an origin as the code gave it: `slot` is its place or keyword, `part` the index in a list.

    In an index (`x[:, a:b]`) `part` is "index", "start", "end" or "step".
    """

    slot: int | str
    part: int | str | None
    named: Named


@dataclass
class Pending:
    """The integers with an origin in the call that is under way, those taken removed; `is_bound`: whether places in
    `args` are those of the schema."""

    args: Sequence[Any]
    left: list[Given]
    is_bound: bool = True


def pending_of(args: Sequence[Any], kwargs: Mapping[str, Any], is_bound: bool = True) -> Pending | None:
    """The integers with an origin in the arguments of a call; None when there are none."""
    found: list[Given] = []
    for place, item in enumerate(args):
        _collect(place, item, found)
    for name, item in kwargs.items():
        _collect(_SYNONYMS.get(name, name), item, found)
    return Pending(args, found, is_bound) if found else None


def _collect(slot: int | str, item: Any, found: list[Given]) -> None:
    if isinstance(item, Named):
        found.append(Given(slot, None, item))
    elif isinstance(item, slice):
        _collect_slice(slot, item, found)
    elif isinstance(item, tuple | list):
        for part, inner in enumerate(item):
            if isinstance(inner, Named):
                found.append(Given(slot, part, inner))
            elif isinstance(inner, slice):
                _collect_slice(slot, inner, found)


def _collect_slice(slot: int | str, item: slice, found: list[Given]) -> None:
    for part, inner in (("start", item.start), ("end", item.stop), ("step", item.step)):
        if isinstance(inner, Named):
            found.append(Given(slot, part, inner))


def placed(known: Called, given: Mapping[str, Any], pending: Pending) -> Found:
    """The arguments that have an origin; takes them out of `pending`.

    An integer is placed by its keyword or position where the value there agrees, otherwise only where one argument
    alone can have come from it.
    """
    taken: Found = {}
    rest: list[Given] = []
    indexing = _INDEXING.get(known.packet)
    for item in pending.left:
        done = _indexed(item, indexing, given, taken) if indexing else False
        if not done:
            done = _by_place(item, known, given, pending, taken)
        if not done:
            rest.append(item)
    pending.left = [item for item in rest if not _alone(item, given, rest, taken)]
    return taken


def _indexed(item: Given, parts: tuple[str, ...], given: Mapping[str, Any], taken: Found) -> bool:
    part = item.part if item.part in parts else "index" if parts == ("index",) and item.part != "start" else None
    if not isinstance(part, str) or (part, None) in taken or not _equal(given.get(part), item.named):
        return False
    taken[part, None] = item.named.expr
    return True


def _by_place(item: Given, known: Called, given: Mapping[str, Any], pending: Pending, taken: Found) -> bool:
    if isinstance(item.part, str):
        return False
    if isinstance(item.slot, str):
        return item.slot in given and _take(item.slot, item.part, item, given, taken)
    if not pending.is_bound:
        return False
    names = known.names[: known.positional]
    first = next((place for place, arg in enumerate(pending.args) if isinstance(arg, int)), None)
    if item.part is None and first is not None and first < len(names) and names[first] in known.listed_ints:
        sizes = given.get(names[first])  # sizes one by one: view(2, 3)
        if isinstance(sizes, tuple | list) and len(sizes) == len(pending.args) - first > 1:
            return _take(names[first], item.slot - first, item, given, taken)
    return item.slot < len(names) and _take(names[item.slot], item.part, item, given, taken)


def _take(name: str, part: int | None, item: Given, given: Mapping[str, Any], taken: Found) -> bool:
    """Notes an origin where the value agrees; one integer for a whole list is one for each of its items."""
    value = given.get(name)
    places: dict[tuple[str, int | None], Any]
    if not isinstance(value, tuple | list):
        places = {(name, None): value}
    elif part is None:
        places = {(name, index): inner for index, inner in enumerate(value)}
    else:
        places = {(name, part): value[part]} if part < len(value) else {}
    if not places or not all(_equal(value, item.named) for value in places.values()):
        return False
    taken.update(dict.fromkeys(places, item.named.expr))
    return True


def _alone(item: Given, given: Mapping[str, Any], rest: Sequence[Given], taken: Found) -> bool:
    """Places an integer where exactly one argument has its value."""
    places = [place for place, value in _integers(given) if _equal(value, item.named) and place not in taken]
    if len(places) != 1:
        return False
    number = int(item.named)  # a comparison of what has a name would pass for one of the code's
    rivals = [other for other in rest if other is not item and int(other.named) == number]
    if any(other.named.expr != item.named.expr for other in rivals):
        return False
    taken[places[0]] = item.named.expr
    return True


def _integers(given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, int | None], int]]:
    for name, value in given.items():
        if isinstance(value, tuple | list):
            yield from (((name, part), inner) for part, inner in enumerate(value) if isinstance(inner, int))
        elif isinstance(value, int):
            yield (name, None), value


def _equal(value: Any, named: Named) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and int(value) == int(named)
