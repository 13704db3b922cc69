"""How long work is told to give up: it calls a function again and again, which raises when it is enough."""

from collections.abc import Callable

Check = Callable[[], None]
"""Called again and again during long work; raises to give it up (a deadline)."""


def never() -> None:
    """A Check that never gives up."""
