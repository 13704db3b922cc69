"""What a check says when a promise is broken."""

from featherweight.errors import ConformanceError


def expect(kept: bool, promise: str, *, where: str, value: object = None) -> None:
    """Raises ConformanceError, naming promise, subject and value, unless the promise was kept."""
    if not kept:
        raise ConformanceError(f"does not keep its promise: {promise}", where=where, value=value)
