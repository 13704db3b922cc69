"""Numbers and names as people read them: bytes, percentages, names that cannot play tricks on a terminal or a page."""

import unicodedata

TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
_UNITS = ("B", "KB", "MB", "GB", "TB")  # thousands, as in the literature: a LeNet-5 has 1.72 MB
# C0 and C1 controls, formatting characters (bidirectional overrides, zero width), lone surrogates, unassigned, private
_HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}


def visible(text: object) -> str:
    r"""`text` with every character that does not show, or that reorders others, written as its escape.

    >>> visible("fc1\x1b[31m")
    'fc1\\x1b[31m'
    """
    return "".join(_escaped(char) if unicodedata.category(char) in _HIDDEN else char for char in str(text))


def _escaped(char: str) -> str:
    return ascii(char)[1:-1]


def one_line(text: object) -> str:
    """`visible` text on a single line: runs of white space become one space."""
    return visible(" ".join(str(text).split()))


def bytes_text(count: int | float | None) -> str:
    """A number of bytes with a unit, in thousands, three significant digits: 812 B, 10.6 KB.

    >>> bytes_text(1_724_320)
    '1.72 MB'
    """
    if count is None:
        return "—"
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    digits = 0 if unit == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {_UNITS[unit]}"


def round_bytes(count: int) -> str:
    """A round number of bytes, as on an axis: 10 KB, 1 MB.

    >>> round_bytes(300_000)
    '300 KB'
    """
    number, unit = bytes_text(count).split(" ")
    return f"{float(number):g} {unit}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share 0..1 as a percentage; a positive one never reads as zero.

    >>> percent(0.0801), percent(0.00001)
    ('8.0 %', '<0.1 %')
    """
    if share is None:
        return "—"
    if 0 < share < 0.5 * 10**-digits / 100:
        return f"<{10**-digits:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def ratio(before: float | None, after: float | None) -> str:
    """How many times smaller `after` is than `before`: 41.3x, 8.05x; a dash when that has no meaning."""
    if not before or not after:
        return "—"
    times = before / after
    digits = 0 if times >= 99.5 else 1 if times >= 9.95 else 2
    return f"{times:.{digits}f}{TIMES}"


def points(change: float | None) -> str:
    """A change of a score 0..1 in percentage points with its sign: +0.12, −0.30.

    >>> points(-0.003)
    '−0.30'
    """
    if change is None:
        return "—"
    shown = f"{abs(100 * change):.2f}"
    if shown == "0.00":
        return "±0.00"
    return f"{'+' if change > 0 else MINUS}{shown}"


def count_text(number: int | None) -> str:
    """A count with thin groups of thousands: 431,080."""
    return "—" if number is None else f"{number:,}"


def seconds_text(seconds: float | None) -> str:
    """A stretch of time: 0.84 s, 12.3 s, 4 min 05 s, 2 h 10 min."""
    if seconds is None:
        return "—"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
