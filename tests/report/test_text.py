import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.report.text import (
    MINUS,
    TIMES,
    bytes_text,
    count_text,
    one_line,
    percent,
    points,
    ratio,
    seconds_text,
    visible,
)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 KB"),
        (43_020, "43.0 KB"),
        (999_600, "1.00 MB"),
        (1_724_320, "1.72 MB"),
        (10**18, "1000000 TB"),
        (None, "—"),
    ],
)
def test_bytes_have_three_digits_and_a_unit(count, shown):
    assert bytes_text(count) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0.0 %"), (1e-6, "<0.1 %"), (0.0801, "8.0 %"), (1.0, "100.0 %"), (None, "—")]
)
def test_a_positive_share_never_reads_as_zero(share, shown):
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [(100, 50, f"2.00{TIMES}"), (1000, 24, f"41.7{TIMES}"), (1000, 2, f"500{TIMES}"), (0, 5, "—"), (5, None, "—")],
)
def test_ratio(before, after, shown):
    assert ratio(before, after) == shown


@pytest.mark.parametrize(
    ("change", "shown"), [(0.0012, "+0.12"), (-0.003, f"{MINUS}0.30"), (-0.00001, "±0.00"), (None, "—")]
)
def test_points_carry_their_sign(change, shown):
    assert points(change) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.844, "0.84 s"),
        (12.31, "12.3 s"),
        (245, "4 min 05 s"),
        (7800, "2 h 10 min"),
        (59.97, "1 min 00 s"),
        (None, "—"),
    ],
)
def test_seconds(seconds, shown):
    assert seconds_text(seconds) == shown


def test_counts_are_grouped():
    assert (count_text(431_080), count_text(None)) == ("431,080", "—")


@pytest.mark.parametrize("trick", ["\x1b[31m", "\u202e", "\u200b", "\x00", "\x07", "\ud800", "\u2028", "\x9b2J"])
def test_no_character_hides_or_reorders(trick):
    shown = visible(f"a{trick}b")
    assert "\\" in shown
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(max_size=40))
def test_one_line_is_one_printable_line(text):
    assert one_line(text).isprintable()
    assert one_line(text) == one_line(one_line(text)) or "\\" in one_line(text)
