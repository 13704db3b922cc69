import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.encodings import _mask_forms
from featherweight.encodings._mask_forms import MaskForm, likely_forms, matrix, read_mask, write_mask
from featherweight.entropy.raw import width_of
from featherweight.entropy.tables import entropy_bits
from featherweight.errors import FormatError

SIZES = st.tuples(st.integers(0, 9), st.integers(0, 40))


def all_forms(shape):
    found = []
    for number in range(128):
        try:
            found.append(MaskForm.of(number, shape))
        except FormatError as error:
            assert error.code in {"E_VERSION", "E_SHAPE"}
    return found


def test_masks_are_read_in_pieces(monkeypatch):
    """Rows and columns, live ones among them, across the borders of pieces."""
    monkeypatch.setattr(_mask_forms, "_CHUNK", 64)
    for shape in ((30, 21), (3, 170), (170, 3), (1, 300), (9, 0), (0, 9)):
        mask = np.random.default_rng(1).random(shape) < 0.2
        mask[2::5] = mask[:, 1::7] = False
        for form in all_forms(shape):
            streams = write_mask(mask, form)
            again = read_mask(shape, form, int(mask.sum()), streams)
            assert again.flags.c_contiguous
            assert np.array_equal(again, mask), form


@given(SIZES, st.floats(0, 1), st.integers(0, 99))
def test_every_form_round_trips(shape, density, seed):
    mask = np.random.default_rng(seed).random(shape) < density
    mask = np.ascontiguousarray(mask)
    kept = int(mask.sum())
    for form in all_forms(shape):
        streams = write_mask(mask, form)
        fillings = len(streams[-1]) - kept if form.width else 0
        told = form.streams(shape, kept, fillings)
        assert [len(stream) for stream in streams] == [stream.count for stream in told]
        assert np.array_equal(read_mask(shape, form, kept, streams), mask)


def test_the_numbers_of_forms():
    assert len(all_forms((4, 4))) == 2 * 17 + 2 * 16
    assert len(all_forms((1, 9))) == len(all_forms((9,))) == len(all_forms(())) == 17
    assert [form.number for form in all_forms((4, 4))] == sorted({form.number for form in all_forms((4, 4))})
    assert MaskForm.of(5 + 32 + 64, (4, 4)) == MaskForm(5, by_columns=True, live=True)


@pytest.mark.parametrize("number", [17, 31, 32 + 17, 64, 96, 128, 1 << 40])
def test_numbers_of_no_form(number):
    with pytest.raises(FormatError, match="E_VERSION"):
        MaskForm.of(number, (4, 4))


@pytest.mark.parametrize(("shape", "expected"), [((), (1, 1)), ((5,), (1, 5)), ((3, 4), (3, 4)), ((3, 4, 5), (3, 20))])
def test_a_tensor_as_a_matrix(shape, expected):
    assert matrix(shape) == expected


@pytest.mark.parametrize(
    ("form", "kept", "fillings", "code"),
    [
        (MaskForm(0), 13, 0, "E_SHAPE"),
        (MaskForm(0), 3, 1, "E_COUNT"),
        (MaskForm(2), 13, 0, "E_SHAPE"),
        (MaskForm(2), 1, 4, "E_SHAPE"),
        (MaskForm(2), 0, 1, "E_COUNT"),
        (MaskForm(16), 1, 1, "E_SHAPE"),
        (MaskForm(16), 1 << 60, 1 << 60, "E_SHAPE"),
    ],
)
def test_counts_that_lie(form, kept, fillings, code):
    with pytest.raises(FormatError, match=code):
        form.streams((3, 4), kept, fillings)


def test_bits_behind_a_bitmap():
    with pytest.raises(FormatError, match="E_PADDING"):
        read_mask((3, 3), MaskForm(0), 9, (np.array([255, 192], np.uint8),))
    assert read_mask((3, 3), MaskForm(0), 9, (np.array([255, 128], np.uint8),)).all()


def test_a_bitmap_of_another_count():
    with pytest.raises(FormatError, match="E_COUNT"):
        read_mask((2, 4), MaskForm(0), 3, (np.array([3], np.uint8),))


def test_rows_marked_live_without_weights():
    form = MaskForm(2, live=True)
    mask = np.eye(3, dtype=bool)
    rows, columns, index = write_mask(mask, form)
    assert read_mask((3, 3), form, 3, (rows, columns, index)).tolist() == mask.tolist()
    with pytest.raises(FormatError, match="E_INDEX"):
        read_mask((3, 3), form, 1, (rows, columns, index[:1]))
    with pytest.raises(FormatError, match="E_PADDING"):
        read_mask((3, 3), form, 3, (rows | 1, columns, index))


def size(mask, number):
    """Bits that Huffman coding takes at least, or raw bits where they are fewer."""
    streams = write_mask(mask, MaskForm.of(number, mask.shape))
    bits = 0.0
    for stream, told in zip(streams, MaskForm.of(number, mask.shape).streams(mask.shape, 0, 0), strict=True):
        coded = max(entropy_bits(np.bincount(stream)), len(stream)) + 2.5 * len(set(stream.tolist()))
        bits += min(coded, len(stream) * width_of(told.alphabet))
    return bits


@pytest.mark.parametrize("kind", ["even", "dead columns", "few columns", "dense", "one weight", "none"])
def test_the_likely_forms_hold_the_best(kind):
    generator = np.random.default_rng(0)
    mask = generator.random((60, 200)) < {"dense": 0.8, "none": 0.0}.get(kind, 0.1)
    if kind == "dead columns":
        mask[:, generator.random(200) < 0.6] = False
    if kind == "few columns":
        mask = generator.random((60, 200)) < np.where(generator.random(200) < 0.2, 0.9, 0.01)
    if kind == "one weight":
        mask = np.zeros((60, 200), dtype=bool)
        mask[30, 77] = True
    likely = likely_forms(mask)
    sizes = {form.number: size(mask, form.number) for form in all_forms(mask.shape)}
    assert min(sizes[number] for number in likely) <= 1.01 * min(sizes.values()) + 8
    assert len(likely) == len(set(likely)) <= 14
    if kind == "dead columns":
        assert likely[0] >= 64
    if kind == "dense":
        assert likely[0] == 0
