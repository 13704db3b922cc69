"""The native floor, where it was built: fast ways to the same bytes.

Everything that has a native way asks `native` first and has a Python way that gives the same, slowly. Two environment
variables, read when this module is imported, choose by hand:

    FEATHERWEIGHT_NATIVE=0       as if it had not been built
    FEATHERWEIGHT_ISA=scalar     (sse41, avx2, avx512, neon) no faster instruction set than this one
"""

import os
import warnings
from types import ModuleType

from featherweight.core.catalog import module_named
from featherweight.errors import FormatError, UsageError

# In the order of `enum class Code` in native/include/featherweight/fault.hpp.
_BROKEN = (
    ("", ""),
    ("E_COUNT", "the bytes cannot hold this many symbols"),
    ("E_SPAN", "a part of the stream does not lie where it has to"),
    ("E_DECODED_SIZE", "the coded data end too early or too late"),
    ("E_PADDING", "the unused bits are not zero"),
    ("E_INDEX", "a symbol outside the alphabet"),
    ("E_HUFFMAN", "a table of code lengths that no writer gives"),
    ("E_ANS", "a table, state or stream of rANS that no writer gives"),
    ("E_OVERFLOW", "sizes whose product does not fit in 64 bits"),
)


def _load() -> ModuleType | None:
    if os.environ.get("FEATHERWEIGHT_NATIVE") == "0":
        return None
    try:
        module = module_named("featherweight._native")
    except ModuleNotFoundError:
        return None
    except ImportError as error:  # it is there and does not fit this interpreter or system: worth a word
        warnings.warn(f"featherweight goes on without its native part: {error}", RuntimeWarning, stacklevel=2)
        return None
    _choose(module, os.environ.get("FEATHERWEIGHT_ISA", ""))
    return module


def _choose(module: ModuleType, isa: str) -> None:
    if isa and not module.use_isa(isa):
        raise UsageError(
            "this processor or build has no such instruction set",
            where="FEATHERWEIGHT_ISA",
            value=isa,
            fix=f"Choose one of {', '.join(module.isas())}, or leave it out.",
        )


def check_fault(fault: tuple[int, int, int]) -> None:
    """Checks what a native decoder gave back: (code, byte offset in the stream, offending value), code 0 for no fault.

    Raises: FormatError.
    """
    number, offset, value = fault
    if number:
        code, what = _BROKEN[number]
        raise FormatError(code, what, offset=offset, value=value)


native: ModuleType | None = _load()
"""`featherweight._native`, or None where it was not built or is switched off."""
