"""Accidents: every bit flipped, every length cut, a byte more or less at every place. Nothing passes unnoticed."""

from itertools import chain

import pytest
from reference import REFERENCES

from featherweight.container.pack import load_bytes
from featherweight.errors import FormatError

SCALE = 36  # of the large files: together more than 300,000 bits
CUTS = 80_000  # cuts, bytes lost and bytes slipped in that have to be noticed, of files of 2 to 10 KB


def refused(data):
    """Whether loading gives the one kind of error that damage may give."""
    try:
        load_bytes(bytes(data), nonfinite="allow")
    except FormatError as error:
        return error.code.startswith("E_") and 0 <= error.offset <= 2 * len(data) + 64
    return False


def flips(data):
    """Every version of `data` with one bit flipped; the same array each time."""
    changed = bytearray(data)
    for place in range(len(data)):
        for bit in range(8):
            changed[place] ^= 1 << bit
            yield (place, bit), changed
            changed[place] ^= 1 << bit


def slips(data):
    """Every version of `data` with one byte less, one twice, or one of zero bits more."""
    for place in range(len(data)):
        yield ("lost", place), data[:place] + data[place + 1 :]
        yield ("doubled", place), data[: place + 1] + data[place:]
        yield ("slipped in", place), data[:place] + b"\0" + data[place:]
    yield ("slipped in", len(data)), data + b"\0"


@pytest.fixture(params=REFERENCES)
def small(request, tmp_path):
    return REFERENCES[request.param](1).save(tmp_path / "file")


def test_the_file_itself_is_read(small):
    load_bytes(small, nonfinite="allow")
    assert not refused(small)


def test_every_flipped_bit_is_noticed(small):
    assert [place for place, data in flips(small) if not refused(data)] == []


def test_every_cut_is_noticed(small):
    assert [end for end in range(len(small)) if not refused(small[:end])] == []


def test_every_byte_lost_or_slipped_in_is_noticed(small):
    assert [place for place, data in slips(small) if not refused(data)] == []


def test_a_file_shifted_by_one_byte_with_its_length_kept_is_noticed(small):
    shifted = [place for place in range(len(small)) if not refused(small[:place] + b"\x55" + small[place:-1])]
    assert shifted == []


@pytest.mark.slow
def test_every_flipped_bit_of_larger_files_is_noticed(tmp_path):
    silent, tried = [], 0
    for name, build in REFERENCES.items():
        data = build(SCALE).save(tmp_path / "file")
        tried += 8 * len(data)
        silent += [(name, place) for place, changed in flips(data) if not refused(changed)]
    assert tried >= 300_000
    assert silent == []


def test_every_cut_and_every_byte_lost_or_slipped_in_of_larger_files_is_noticed(tmp_path):
    silent, tried = [], 0
    for name, build in REFERENCES.items():
        data = build(SCALE).save(tmp_path / "file")
        cuts = ((("cut", end), data[:end]) for end in range(len(data)))
        for place, changed in chain(cuts, slips(data)):
            tried += 1
            if not refused(changed):
                silent.append((name, place))
    assert tried >= CUTS
    assert silent == []


def test_files_spliced_from_two_are_noticed(tmp_path):
    """Same names, same sizes, other numbers: header and prefix agree, only the digest tells."""
    first = REFERENCES["shared"](1)
    left = first.save(tmp_path / "left")
    for parameter in first.model.parameters():
        parameter.data.neg_()
    right = first.save(tmp_path / "right")
    assert len(left) == len(right)
    middle = next(place for place in range(len(left)) if left[place] != right[place])
    for cut in range(middle + 1, len(left) - 31):
        assert refused(left[:cut] + right[cut:])
