"""The entropy coders of a file, by the word that its recipe gives for them."""

from collections.abc import Mapping

from featherweight.core import catalog
from featherweight.entropy.base import Coder
from featherweight.errors import UnknownNameError

SOCKET = "featherweight.entropy"
NO_CODERS = frozenset({"tables"})  # files of that room that are no coders

TIERS: Mapping[str, tuple[str, ...]] = {"fast": ("rans",), "small": ()}
"""Words beside the names of coders: decoding hundreds of millions of weights a second, or every coder there is."""

_ALWAYS = ("raw", "constant")  # they cost a reader nothing, and together hold every stream


def coders(name: str) -> list[Coder]:
    """The coders that `name` allows, a tier or the name of one coder; per stream the smallest is taken.

    Raises: UnknownNameError with the nearest names.
    """
    known = catalog.names(SOCKET, NO_CODERS)
    if name not in TIERS and name not in known:
        raise UnknownNameError(
            "there is no coder of this name",
            where="coder",
            value=name,
            fix=catalog.did_you_mean(name, [*TIERS, *known]),
        )
    chosen = TIERS.get(name, (name,)) or known
    return [_coder(one) for one in dict.fromkeys((*_ALWAYS, *chosen))]


def _coder(name: str) -> Coder:
    # mypy takes an abstract class for no type[T]; what is found is a concrete one
    return catalog.load(SOCKET, name, Coder, NO_CODERS)()  # type: ignore[type-abstract]
