import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.encodings import _relative_index as index
from featherweight.errors import EncodingError, FormatError

MASKS = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 3)), max_size=12).map(
    lambda runs: np.array([bit for zeros, ones in runs for bit in [False] * zeros + [True] * ones], dtype=bool)
)


def read(symbols, width, kept, count):
    mask = np.zeros(count, dtype=bool)
    index.from_symbols(np.asarray(symbols, np.uint16), width, kept, mask)
    return mask


@given(MASKS, st.integers(1, 16))
def test_round_trip(mask, width):
    symbols = index.to_symbols(index.gaps_of(mask), width)
    assert int(symbols.max(initial=0)) < 1 << width
    assert np.array_equal(read(symbols, width, int(mask.sum()), len(mask)), mask)


def test_a_filling_stands_for_zeros_alone():
    mask = np.zeros(30, dtype=bool)
    mask[[0, 2, 18, 25]] = True  # gaps 0, 1, 15, 6
    assert index.gaps_of(mask).tolist() == [0, 1, 15, 6]
    assert index.to_symbols(index.gaps_of(mask), 3).tolist() == [0, 1, 7, 7, 1, 6]
    assert index.to_symbols(index.gaps_of(mask), 4).tolist() == [0, 1, 15, 0, 6]
    assert index.to_symbols(index.gaps_of(mask), 1).tolist() == [0, 1, 0, *[1] * 15, 0, *[1] * 6, 0]


def test_long_masks_go_in_chunks():
    mask = np.zeros((1 << 21) + 100, dtype=bool)
    mask[[5, (1 << 20) - 1, 1 << 20, (1 << 21) + 50]] = True
    gaps = index.gaps_of(mask)
    assert gaps.tolist() == [5, (1 << 20) - 7, 0, (1 << 20) + 49]
    assert np.array_equal(read(index.to_symbols(gaps, 8), 8, 4, len(mask)), mask)
    many = np.random.default_rng(0).random(3 << 20) < 0.6
    symbols = index.to_symbols(index.gaps_of(many), 3)
    assert np.array_equal(read(symbols, 3, int(many.sum()), len(many)), many)


def test_gap_counts():
    values, counts = index.gap_counts(np.array([3, 70000, 3, 0, 70000, 65535], np.uint32))
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 1, 3: 2, 65535: 1, 70000: 2}


@pytest.mark.parametrize(
    ("symbols", "kept", "count", "code"),
    [
        ([1, 3], 1, 9, "E_INDEX"),  # zeros behind the last weight
        ([3, 3], 0, 9, "E_INDEX"),
        ([0, 0], 2, 1, "E_INDEX"),
        ([2], 1, 2, "E_INDEX"),
        ([0, 0], 1, 9, "E_COUNT"),
        ([3, 0], 2, 9, "E_COUNT"),
        ([], 1, 9, "E_COUNT"),
    ],
)
def test_indices_that_are_none(symbols, kept, count, code):
    with pytest.raises(FormatError) as caught:
        read(symbols, 2, kept, count)
    assert caught.value.code == code


# the paper's form ----------------------------------------------------------------------------------------------------


def test_the_papers_column():
    """Catalogue, test vector T1."""
    column = np.array([0, 0, 1, 2, *[0] * 18, 3])
    entries, zeros = index.paper_encode(column, 4)
    assert entries.tolist() == [1, 2, 0, 3]
    assert zeros.tolist() == [2, 0, 15, 2]
    assert index.paper_decode(entries, zeros, len(column)).tolist() == column.tolist()


def test_the_papers_illustration():
    """Figure 2: non-zeros at 1, 4 and 15, three bits; differences 1, 3, 8 (filler), 3."""
    codes = np.zeros(16, np.int64)
    codes[[1, 4, 15]] = 7
    entries, zeros = index.paper_encode(codes, 3)
    assert entries.tolist() == [7, 7, 0, 7]
    assert zeros.tolist() == [1, 2, 7, 2]


@given(MASKS, st.integers(1, 8))
def test_the_papers_form_round_trips(mask, bits):
    codes = mask * np.arange(1, len(mask) + 1)
    entries, zeros = index.paper_encode(codes, bits)
    assert int(zeros.max(initial=0)) < 1 << bits
    assert np.array_equal(index.paper_decode(entries, zeros, len(codes)), codes)


def test_an_entry_behind_the_end():
    with pytest.raises(EncodingError, match="behind the last of 3"):
        index.paper_decode(np.array([1]), np.array([3]), 3)


@pytest.mark.parametrize(("density", "bits", "fillers"), [(0.09, 4, 0.284), (0.04, 5, 0.371), (0.08, 5, 0.075)])
def test_expected_fillers(density, bits, fillers):
    """Catalogue, test vector T2; and the formula against random masks."""
    assert index.fillers_per_weight(density, bits) == pytest.approx(fillers, abs=5e-4)
    mask = np.random.default_rng(0).random(2_000_000) < density
    entries, _ = index.paper_encode(mask.astype(np.uint8), bits)
    assert np.mean(entries == 0) / np.mean(entries != 0) == pytest.approx(fillers, rel=0.05)


def test_no_density():
    with pytest.raises(EncodingError, match="density"):
        index.fillers_per_weight(0, 5)


def test_sharing_rate():
    """Catalogue, test vector T3."""
    assert index.sharing_rate(16, 4) == pytest.approx(3.2)


# (weights, kept in %, weight bits, index bits, rate after pruning and sharing in % of 32-bit floats), from the paper
PAPER = {
    "LeNet-300-100 ip1": (784 * 300, 8, 6, 5, 3.1),
    "LeNet-300-100 ip2": (300 * 100, 9, 6, 5, 3.8),
    "LeNet-300-100 ip3": (100 * 10, 26, 6, 5, 15.7),
    "LeNet-5 conv1": (500, 66, 8, 5, 78.5),
    "LeNet-5 conv2": (25_000, 12, 8, 5, 6.0),
    "LeNet-5 ip1": (400_000, 8, 5, 5, 2.7),
    "LeNet-5 ip2": (5_000, 19, 5, 5, 6.9),
    "AlexNet conv1": (34_848, 84, 8, 4, 32.6),
    "AlexNet conv2": (307_200, 38, 8, 4, 14.5),
    "AlexNet conv3": (884_736, 35, 8, 4, 13.1),
    "AlexNet conv4": (663_552, 37, 8, 4, 14.1),
    "AlexNet conv5": (442_368, 37, 8, 4, 14.0),
    "AlexNet fc6": (37_748_736, 9, 5, 4, 3.0),
    "AlexNet fc7": (16_777_216, 9, 5, 4, 3.0),
    "AlexNet fc8": (4_096_000, 25, 5, 4, 7.3),
    "VGG-16 conv1_2": (36_864, 22, 8, 5, 9.8),
    "VGG-16 conv2_1": (73_728, 34, 8, 5, 14.3),
    "VGG-16 conv2_2": (147_456, 36, 8, 5, 14.7),
    "VGG-16 conv3_1": (294_912, 53, 8, 5, 21.7),
    "VGG-16 conv3_2": (589_824, 24, 8, 5, 9.7),
    "VGG-16 conv3_3": (589_824, 42, 8, 5, 17.0),
    "VGG-16 conv4_1": (1_179_648, 32, 8, 5, 13.1),
    "VGG-16 conv4_2": (2_359_296, 27, 8, 5, 10.9),
    "VGG-16 conv4_3": (2_359_296, 34, 8, 5, 14.0),
    "VGG-16 conv5_1": (2_359_296, 35, 8, 5, 14.3),
    "VGG-16 conv5_2": (2_359_296, 29, 8, 5, 11.7),
    "VGG-16 conv5_3": (2_359_296, 36, 8, 5, 14.8),
    "VGG-16 fc6": (102_760_448, 4, 5, 5, 1.6),
    "VGG-16 fc7": (16_777_216, 4, 5, 5, 1.5),
    "VGG-16 fc8": (4_096_000, 23, 5, 5, 7.1),
}


@pytest.mark.parametrize("layer", PAPER)
def test_storage_as_the_paper_counts_it(layer):
    """Tables 2 to 5 of the paper, within 0.7 points for 500 weights (the share kept is rounded) and 0.4 elsewhere."""
    weights, kept, value_bits, index_bits, rate = PAPER[layer]
    found = 100 * index.paper_bits(weights, kept / 100, value_bits, index_bits) / (32 * weights)
    assert found == pytest.approx(rate, abs=0.6 if weights == 500 else 0.4)


def test_storage_of_the_first_layer_of_lenet5():
    """Catalogue, test vector T4: without the codebook it would be 27 %."""
    assert index.paper_bits(500, 0.66, 8, 5) / (32 * 500) == pytest.approx(0.780, abs=5e-4)
