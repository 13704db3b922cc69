"""What a tensor, an alias or an extra section may be called: rules N1 to N5 of docs/format.md.

Names end up in attributes, reports, file names of exports, C comments and web pages, so what could mean something
there is refused here. The ranges are spelt out, so that every reader agrees whatever its version of Unicode.
"""

import re
import unicodedata

MAX_NAME_BYTES = 255

_FORBIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters
    "/\\\\<>&\"'`"  # paths, markup, quotes
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # invisible, line breaks, writing direction
    "\ufff9-\uffff\U000e0000-\U000e007f"  # annotation, no characters, tags
    "\ud800-\udfff"  # halves of pairs
    "]"
)


def fault(name: str, most: int = MAX_NAME_BYTES) -> str | None:
    """What is wrong with a name that takes at most `most` bytes in UTF-8, as a clause; None when it is right."""
    if not name:
        return "a name must not be empty"
    bad = _FORBIDDEN.search(name)
    if bad is not None:
        return f"a name must not hold the character U+{ord(bad[0]):04X}"
    if len(name.encode()) > most:
        return f"a name takes at most {most} bytes in UTF-8"
    if name.startswith(".") or name.endswith(".") or ".." in name:
        return "the parts of a name between dots must not be empty"
    if not unicodedata.is_normalized("NFC", name):
        return "a name must be in Unicode normalisation form C"
    return None


def colliding(names: list[str]) -> list[str]:
    """Names that differ from an earlier one in upper and lower case only: allowed, but worth a note."""
    seen: set[str] = set()
    double = []
    for name in names:
        folded = name.casefold()
        if folded in seen:
            double.append(name)
        seen.add(folded)
    return double
