import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.entropy import _context_native, _context_reference, context_range
from featherweight.entropy.base import Stream, Work
from featherweight.entropy.context_range import BLOCK, ContextRange, _read_varint, _varint
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.tables import entropy_bits, histogram
from featherweight.errors import EncodingError, FormatError
from featherweight.numerics.trellis import NEXT

CODER = ContextRange()
needs_native = pytest.mark.skipif(native is None, reason="native/ is not built or is switched off")


@pytest.fixture(scope="module", params=["reference", "native"])
def way(request):
    """Tests that take this run by the reference and by the native way: the same bytes, the same errors."""
    if request.param == "native" and native is None:
        pytest.skip("native/ is not built or is switched off")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context_range, "_WAY", _context_native if request.param == "native" else _context_reference)
        yield request.param


def by(module, call):
    """What `call` gives by one of the two ways: its result, or the code and the place of its error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context_range, "_WAY", module)
        try:
            return call()
        except FormatError as error:
            return error.code, error.offset


def both(call):
    """The result of both ways, which must be the same."""
    expected = by(_context_reference, call)
    if native is not None:
        found = by(_context_native, call)
        assert type(found) is type(expected)
        assert np.array_equal(found, expected)
        assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
    return expected


def assert_same(symbols, stream):
    """Both ways give the same bytes, and both give the symbols back from them."""
    data = both(lambda: CODER.to_bits(symbols, stream))
    assert both(lambda: CODER.size(symbols, stream)) == len(data)
    found = both(lambda: CODER.from_bits(data, stream))
    assert np.array_equal(found, symbols)
    assert found.dtype.itemsize == next(size for size in (1, 2, 4) if stream.alphabet <= 1 << 8 * size)
    return data


def zigzag(numbers):
    numbers = np.asarray(numbers, np.int64)
    return np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype(np.uint32)


def levels(numbers, shape=None, trellis=0):
    """Whole numbers as a stream of levels of that shape."""
    symbols = zigzag(np.ravel(numbers))
    shape = np.shape(numbers) if shape is None else shape
    return symbols, Stream(len(symbols), max(int(symbols.max()) + 1, 2), shape, signed=True, trellis=trellis)


def laplace(shape, scale, seed=0, trellis=0):
    return levels(np.rint(np.random.default_rng(seed).laplace(0, scale, shape)), trellis=trellis)


SHAPES = [(1,), (300,), (1, 300), (300, 1), (17, 18), (7, 45), (6, 5, 9), (4, 5, 3, 3), (9, 1, 5, 5), (5, 2, 1, 7)]
SHAPES += [(3, 2, 7, 1), (2, 3, 2, 2, 2), (2, 2, 2, 3, 1, 4), (1, 12, 3, 3), (40, 1, 1, 1), (2, 9, 2, 16)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0, 40.0, 1e5, 1e8])
def test_levels_of_every_shape_and_size(shape, scale):
    count = math.prod(shape)
    for trellis in (0, count, count // shape[0], 5):
        assert_same(*laplace(shape, scale, seed=count, trellis=trellis))


@pytest.mark.parametrize("alphabet", [2, 3, 4, 5, 16, 255, 256, 257, 5000, 1 << 16, (1 << 16) + 1, 1 << 20, 1 << 32])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_classes_and_bits_of_every_alphabet(alphabet, count):
    random = np.random.default_rng(alphabet)
    small = np.minimum(random.geometric(0.3, count) - 1, alphabet - 1)
    even = random.integers(0, alphabet, count)
    ends = random.choice([0, alphabet - 1], count)
    for symbols in (small, even, ends):
        assert_same(symbols.astype(np.uint32), Stream(count, alphabet))
        assert_same(symbols.astype(np.uint32), Stream(count, alphabet, (1, count), signed=alphabet > 2))


def adversarial():
    """Levels at the ends of what contexts and chances can be."""
    random = np.random.default_rng(7)
    most = 2**31 - 1
    yield "one", [1]
    yield "one zero", [0]
    yield "two", [0, -1]
    yield "zeros", np.zeros((40, 30))
    yield "all the same", np.full((20, 30), -7)
    yield "all the largest", np.full((5, 4, 3, 3), most)
    yield "all the smallest", np.full(300, -(2**31))
    yield "powers of two", np.ravel([(2**k, -(2**k), 2**k - 1) for k in range(31)])
    yield "falling powers", np.ravel([(2**k, 1 - 2**k) for k in range(31)])[::-1]
    yield "turns of signs", np.tile([3, -3], 300).reshape(20, 30)
    yield "turns of none and much", np.tile([0, 10**6], 300)
    yield "large after many zeros", np.append(np.zeros(900), [10**9, 0, -1])
    yield "zeros after large", np.append(np.full(5, most), np.zeros(900))
    yield "beyond the steps", random.choice([0, 19, 20, 21, 22, 150, 4000, -20, -21], 600)
    yield "sparse", np.where(random.random((20, 30)) < 0.01, 900, 0)
    yield "sparse rows and columns", np.outer(random.random(20) < 0.1, random.random(30) < 0.2) * 5
    yield "rising kernels", np.arange(540).reshape(6, 10, 3, 3) * 1000
    yield "plane in kernels", np.add.outer(np.arange(40) * 50, np.arange(9) * 10).reshape(8, 5, 3, 3)
    yield "each bit of one row", np.tile(1 << np.arange(30), (20, 1))
    yield "rows of growing size", np.rint(random.normal(size=(30, 20)) * 2.0 ** np.arange(30)[:, None])


ADVERSARIAL = dict(adversarial())


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_levels(name):
    numbers = np.asarray(ADVERSARIAL[name])
    symbols, stream = levels(numbers)
    assert_same(symbols, stream)
    assert_same(symbols, Stream(stream.count, 1 << 32, stream.shape, signed=True, trellis=11))
    assert_same((symbols % 2).astype(np.uint8), Stream(stream.count, 2, stream.shape))
    assert_same(symbols, Stream(stream.count, stream.alphabet))


@given(st.data())
def test_any_stream(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    count = math.prod(shape)
    alphabet = data.draw(st.sampled_from([2, 3, 9, 300, 1 << 20, 1 << 32]))
    few = st.integers(0, min(alphabet, 4) - 1)
    symbols = np.array([data.draw(few | st.integers(0, alphabet - 1)) for _ in range(min(count, 60))], np.uint32)
    symbols = np.resize(symbols, count)
    trellis = data.draw(st.sampled_from([0, 1, count, count // shape[0]]))
    assert_same(symbols, Stream(count, alphabet, shape, data.draw(st.booleans()), trellis))


@given(st.integers(0, 2**32 - 1), st.floats(-3, 18), st.sampled_from(SHAPES), st.integers(0, 70))
def test_any_levels(seed, octave, shape, trellis):
    assert_same(*laplace(shape, 2.0**octave, seed, trellis))


@pytest.mark.parametrize("block", [1, 7, 64, 100, 5000])
def test_blocks(block, monkeypatch):
    """Of whole rows where a row fits, of pieces of rows where none does."""
    monkeypatch.setattr(context_range, "BLOCK", block)
    for shape in ((40, 9), (10, 6, 3, 3), (333,), (3, 101), (101, 1)):
        assert_same(*laplace(shape, 1.5, trellis=7))
    assert_same(np.arange(333, dtype=np.uint32) % 77, Stream(333, 77))


def test_a_block_ends_with_a_row(monkeypatch):
    monkeypatch.setattr(context_range, "BLOCK", 64)
    _, stream = laplace((40, 9), 1.5)
    geometry, block = context_range._geometry(stream, b"\x30")
    assert (geometry.columns, block) == (9, 63)
    assert context_range._geometry(Stream(360, 9, (2, 180), signed=True), b"\x30")[1] == 64
    assert context_range._geometry(Stream(360, 9, (2, 180)), b"")[1] == 64


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), (12, 1, 1, True)),
        ((12,), (12, 1, 1, True)),
        ((1, 12), (12, 1, 1, True)),
        ((4, 3), (3, 1, 1, False)),
        ((2, 2, 3), (6, 3, 3, False)),
        ((1, 2, 3, 2), (12, 6, 2, True)),
        ((1, 1, 3, 2, 2), (12, 12, 2, True)),
        ((5, 5), (12, 1, 1, True)),  # not the tensor of these symbols
    ],
)
def test_what_is_read_from_a_shape(shape, expected):
    geometry, _ = context_range._geometry(Stream(12, 9, shape, signed=True), b"\x30")
    assert (geometry.columns, geometry.kernel, geometry.width, geometry.flat) == expected


@needs_native
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["levels", "rows", "bits", "classes"])
def test_threads_give_the_same(threads, kind):
    symbols, stream = long(kind)
    data = KEPT.setdefault(kind, CODER.to_bits(symbols, stream))
    assert np.array_equal(CODER.from_bits(data, stream, Work(threads)), symbols)


KEPT = {}


def long(kind, count=2 * BLOCK + 1234):
    random = np.random.default_rng(1)
    if kind == "levels":
        symbols = zigzag(np.rint(random.laplace(0, 1, count)))
        return symbols, Stream(count, int(symbols.max()) + 1, (count,), signed=True, trellis=count)
    if kind == "rows":
        symbols = zigzag(np.rint(random.laplace(0, 1, (1200, 900)))).ravel()
        return symbols, Stream(len(symbols), int(symbols.max()) + 1, (1200, 100, 3, 3), signed=True)
    if kind == "bits":
        return (random.random(count) < 0.02).astype(np.uint8), Stream(count, 2)
    return np.minimum(random.geometric(0.2, count), 255).astype(np.uint8), Stream(count, 256)


@needs_native
def test_two_to_the_16_symbols():
    symbols, stream = laplace((256, 256), 3.0)
    data = by(_context_native, lambda: CODER.to_bits(symbols, stream))
    assert np.array_equal(by(_context_native, lambda: CODER.from_bits(data, stream)), symbols)
    assert by(_context_reference, lambda: CODER.to_bits(symbols, stream)) == data


# what it gains ---------------------------------------------------------------------------------------------------


def bits_of(symbols, stream):
    return 8 * CODER.size(symbols, stream) / stream.count


def entropy_of(symbols, stream):
    return entropy_bits(histogram(symbols, stream.alphabet)) / stream.count


@needs_native
def test_close_to_the_entropy_of_a_bell():
    """Independent levels have nothing to gain from contexts: 3.063 bits is the entropy of this distribution."""
    symbols, stream = levels(np.rint(np.random.default_rng(0).normal(0, 2, 60_000)))
    assert bits_of(symbols, stream) <= 3.063 * 1.015
    assert bits_of(symbols, Stream(60_000, stream.alphabet, (300, 200), signed=True)) <= 3.063 * 1.02
    assert bits_of(symbols, Stream(60_000, stream.alphabet, (150, 25, 4, 4), signed=True)) <= 3.063 * 1.025
    assert bits_of(symbols, Stream(60_000, stream.alphabet)) <= 3.063 * 1.025


@needs_native
@pytest.mark.parametrize("shape", [(60_000,), (300, 200), (120, 20, 5, 5)])
def test_close_to_the_entropy_of_few_levels(shape):
    random = np.random.default_rng(0)
    numbers = np.rint(random.laplace(0, 3, shape)) * (random.random(shape) < 0.1)
    symbols, stream = levels(numbers)
    bound = 1.015 if len(shape) == 1 else 1.025
    assert bits_of(symbols, stream) <= entropy_of(symbols, stream) * bound
    assert bits_of(symbols, stream) < 0.8
    assert 8 * Huffman().size(symbols, stream) / stream.count > 1.1


def test_nothing_takes_next_to_nothing(way):
    for shape in ((5000,), (50, 100), (20, 10, 5, 5)):
        assert CODER.size(*levels(np.zeros(shape))) <= 8
    assert CODER.size(np.zeros(5000, np.uint8), Stream(5000, 2)) <= 8
    assert CODER.size(np.ones(5000, np.uint8), Stream(5000, 2)) <= 8


@needs_native
@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_of_their_own_size(axis):
    """Half of them a tenth as large as the others, in any order."""
    random = np.random.default_rng(2)
    sizes = np.where(random.random(300) < 0.5, 1, 10).reshape((-1, 1) if axis == 0 else (1, -1))
    symbols, stream = levels(np.rint(random.normal(size=(300, 300)) * sizes))
    apart = sum(
        entropy_bits(histogram(part, stream.alphabet))
        for part in (symbols.reshape(300, 300)[np.broadcast_to(sizes == size, (300, 300))] for size in (1, 10))
    )
    assert entropy_of(symbols, stream) > 1.1 * apart / stream.count
    assert bits_of(symbols, stream) < 1.03 * apart / stream.count


@needs_native
def test_rows_that_are_all_zero():
    random = np.random.default_rng(2)
    live = random.random(400) < 0.2
    symbols, stream = levels(np.rint(random.normal(size=(400, 100)) * 2) * live[:, None])
    assert bits_of(symbols, stream) < 0.2 * 3.063 * 1.06 + 0.03
    assert bits_of(symbols, stream) < 0.75 * entropy_of(symbols, stream)


@needs_native
@pytest.mark.parametrize(("smooth", "share"), [("left", 0.93), ("above", 0.93), ("before", 0.97), ("up", 0.97)])
def test_neighbours_foretell(smooth, share):
    """Sizes go on from one place to the next, and in kernels signs too."""
    random = np.random.default_rng(3)
    shape = (100, 40, 5, 5)
    axis = {"left": 3, "above": 2, "before": 1, "up": 0}[smooth]
    if axis > 1:
        numbers = random.normal(size=shape).cumsum(axis) * 2
    else:
        numbers = random.normal(size=shape) * np.exp(np.clip(random.normal(size=shape).cumsum(axis), -3, 3))
    symbols, stream = levels(np.rint(numbers))
    assert bits_of(symbols, stream) < share * entropy_of(symbols, stream)
    assert bits_of(symbols, stream) < bits_of(symbols, Stream(stream.count, stream.alphabet, signed=True))


@needs_native
def test_the_two_grids_of_dependent_quantization():
    """Where the zero is rarer on one grid than on the other, who knows the state codes shorter."""
    random = np.random.default_rng(4)
    state, numbers = 0, []
    for zero, size in zip(random.random(40_000), random.geometric(0.6, 40_000), strict=True):
        numbers.append(0 if zero < (0.85, 0.35)[state & 1] else size * random.choice([-1, 1]))
        state = NEXT[state][numbers[-1] & 1]
    blind, knowing = levels(numbers), levels(numbers, trellis=40_000)
    assert bits_of(*knowing) < 0.93 * bits_of(*blind)


# what is refused -------------------------------------------------------------------------------------------------


def refused(data, stream):
    with pytest.raises(FormatError) as caught:
        CODER.from_bits(data, stream)
    assert 0 <= caught.value.offset <= len(data)
    return caught.value.code


@pytest.mark.parametrize("count", [0, 3])
def test_streams_for_constant(count):
    with pytest.raises(EncodingError, match="constant"):
        CODER.to_bits(np.zeros(count, np.uint8), Stream(count, 1 if count else 9))


def test_symbols_outside_the_alphabet():
    with pytest.raises(EncodingError, match="alphabet"):
        CODER.to_bits(np.array([0, 3], np.uint8), Stream(2, 3))
    with pytest.raises(EncodingError, match="4294967296"):
        CODER.to_bits(np.array([0, 3], np.uint8), Stream(2, (1 << 32) + 1))


def test_any_unsigned_type_and_layout(way):
    symbols, stream = laplace((20, 30), 3.0)
    data = CODER.to_bits(symbols, stream)
    for dtype in (np.uint8, np.uint16, ">u2", ">u4", np.uint64):
        assert CODER.to_bits(symbols.astype(dtype), stream) == data
    assert CODER.to_bits(np.repeat(symbols, 3)[::3], stream) == data
    assert np.array_equal(CODER.from_bits(memoryview(data), stream), symbols)


@pytest.mark.parametrize("symbol", [0, 1])
@pytest.mark.parametrize(("alphabet", "first"), [(2, 0), (2, 1), (256, 3), (256, 255), (256, 0)])
def test_long_streams_of_one_symbol_come_back(symbol, alphabet, first):
    """They take next to no bytes, of which a reader must still believe that they hold so much."""
    if native is None:
        pytest.skip("takes a minute without native/")
    count = BLOCK + 70_000
    symbols = np.full(count, symbol * (alphabet - 1), np.uint8)
    symbols[0] = first
    assert np.array_equal(
        CODER.from_bits(CODER.to_bits(symbols, Stream(count, alphabet)), Stream(count, alphabet)), symbols
    )


def test_counts_that_lie(way, monkeypatch):
    """Found before there is room for the symbols."""
    data = CODER.to_bits(*laplace((300,), 2.0))
    monkeypatch.setattr(np, "empty", None)
    for alphabet, signed in ((9, True), (2, False), (9, False)):
        for count in (-1, 0, (len(data) + 8 << 15) + 1, 1 << 40, 1 << 62):
            assert refused(data, Stream(count, alphabet, signed=signed)) == "E_COUNT"
    assert refused(data, Stream(300, 1, signed=True)) == "E_COUNT"
    assert refused(data, Stream(300, 0, signed=True)) == "E_COUNT"
    assert refused(data, Stream(300, (1 << 32) + 1, signed=True)) == "E_COUNT"


def test_the_mean(way):
    """It is that of the symbols, or the stream is refused: at the end, or for what it made of them."""
    symbols, stream = laplace((10, 30), 2.0)
    data = CODER.to_bits(symbols, stream)
    total = int((symbols.astype(np.int64) + 1 >> 1).sum())
    logarithm = math.log2(total * 4096 // 300)
    assert abs(data[0] / 4 - logarithm) < 0.3
    for mean in set(range(256)) - {data[0]}:
        code = refused(bytes([mean]) + data[1:], stream)
        assert code == "E_INDEX" if mean >= 160 else code in ("E_INDEX", "E_DECODED_SIZE")
    assert refused(b"", stream) == "E_DECODED_SIZE"
    zeros, of_zeros = levels(np.zeros(300))
    right = CODER.to_bits(zeros, of_zeros)
    assert right[0] == 0
    assert {refused(bytes([mean]) + right[1:], of_zeros) for mean in (1, 2, 3)} == {"E_INDEX"}


@pytest.fixture
def three_blocks(monkeypatch):
    monkeypatch.setattr(context_range, "BLOCK", 200)
    symbols, stream = laplace((20, 30), 40.0)  # blocks of 180, 180, 180 and 60 symbols, with sizes of two bytes
    data = CODER.to_bits(symbols, stream)
    assert data[1] >= 128 > data[2] > 0
    return symbols, stream, data


def test_sizes_of_blocks(way, three_blocks):
    _, stream, data = three_blocks
    size, at = _read_varint(memoryview(data), 1)
    assert at == 3

    def with_size(written):
        return data[:1] + written + data[3:]

    assert with_size(_varint(size)) == data
    assert refused(data[:1], stream) == "E_SPAN"  # cut before it
    assert refused(data[:2], stream) == "E_SPAN"  # cut in it
    assert refused(with_size(bytes([data[1], data[2] | 128, 0])), stream) == "E_SPAN"  # a zero more than needed
    assert refused(with_size(b"\xff" * 5), stream) == "E_SPAN"  # never ends
    assert refused(with_size(b"\xff\xff\xff\xff\x7f"), stream) == "E_SPAN"  # beyond the end
    assert refused(with_size(_varint(len(data))), stream) == "E_SPAN"
    for other in (0, 1, size - 1, size + 1):
        assert refused(with_size(_varint(other)), stream) in ("E_DECODED_SIZE", "E_INDEX")


def test_a_fault_names_its_place_in_the_stream(way, three_blocks):
    _, stream, data = three_blocks
    size, _ = _read_varint(memoryview(data), 1)
    for smaller in (3, 30):
        narrow = Stream(stream.count, smaller, stream.shape, signed=True)
        with pytest.raises(FormatError) as caught:
            CODER.from_bits(data, narrow)
        assert caught.value.code == "E_INDEX"
        assert 7 + 8 <= caught.value.offset < 7 + size
    with pytest.raises(FormatError) as caught:
        CODER.from_bits(data + b"\0", stream)
    assert caught.value.code == "E_DECODED_SIZE"
    assert len(data) - 8 <= caught.value.offset <= len(data) + 1


CASES = {
    "levels": laplace((10, 3, 3, 3), 2.0, trellis=90),
    "wide levels": laplace((300,), 1e6),
    "bits": ((np.random.default_rng(1).random(600) < 0.1).astype(np.uint8), Stream(600, 2, (20, 30))),
    "classes": (np.arange(300, dtype=np.uint8) ** 2 % 77, Stream(300, 77)),
    "wide classes": (np.arange(60, dtype=np.uint32) ** 3, Stream(60, 1 << 20)),
}


def verdict(data, stream):
    """The code of the error, or "other symbols" for bytes that these code to."""
    try:
        symbols = CODER.from_bits(data, stream)
    except FormatError as error:
        return error.code
    assert CODER.to_bits(symbols, stream) == data
    return "other symbols"


@pytest.mark.parametrize("name", CASES)
def test_cut_and_added(way, name):
    """Without its last bytes a stream may be that of symbols that differ in the end; but no zero may be added."""
    symbols, stream = CASES[name]
    data = CODER.to_bits(symbols, stream)
    for added in (b"\0", b"\0\0\0\0", b"\xff" * 9, data):
        assert refused(data + added, stream) == "E_DECODED_SIZE"
    for size in range(len(data)):
        found = verdict(data[:size], stream)
        assert found in ("E_DECODED_SIZE", "E_INDEX") or (found == "other symbols" and size >= len(data) - 8)


@pytest.mark.parametrize("name", CASES)
def test_changed_bytes_give_the_same_error_or_another_stream(name):
    """One byte changed, anywhere: refused by both ways with the same code, or what other symbols code to."""
    symbols, stream = CASES[name]
    data = CODER.to_bits(symbols, stream)
    random, found = np.random.default_rng(5), set()
    for _ in range(150):
        broken = bytearray(data)
        broken[random.integers(len(data))] ^= random.integers(1, 256)
        result = both(lambda wrong=bytes(broken): CODER.from_bits(wrong, stream))
        if isinstance(result, tuple):
            found.add(result[0])
        else:
            assert both(lambda result=result: CODER.to_bits(result, stream)) == bytes(broken)
    assert found <= {"E_DECODED_SIZE", "E_INDEX"}
    assert found


@given(st.binary(max_size=40), st.sampled_from(sorted(CASES)), st.integers(1, 300))
def test_any_bytes(data, name, count):
    """Both ways say the same of bytes that nobody wrote; what decodes is what its symbols code to."""
    stream = CASES[name][1]
    stream = Stream(count, stream.alphabet, (), stream.signed, stream.trellis)
    result = both(lambda: CODER.from_bits(data, stream))
    if not isinstance(result, tuple):
        assert CODER.to_bits(result, stream) == data


@pytest.mark.parametrize("threads", [1, 3])
def test_gives_up_between_blocks(way, monkeypatch, threads):
    monkeypatch.setattr(context_range, "BLOCK", 60)
    symbols, stream = laplace((20, 30), 2.0)  # ten blocks
    data = CODER.to_bits(symbols, stream)
    decoded = []
    decode = context_range._WAY.decode
    patched = type("Way", (), {"decode": staticmethod(lambda *given: (decoded.append(1), decode(*given)))})
    monkeypatch.setattr(context_range, "_WAY", patched)
    asked = itertools.count(1)
    assert np.array_equal(CODER.from_bits(data, stream, Work(threads, lambda: next(asked))), symbols)
    assert len(decoded) == 10
    assert next(asked) == 10 + 1 + 1  # once a block, and once for the mean
    for calls in range(1, 12):
        decoded.clear()
        asked = itertools.count(1)

        def late(calls=calls, asked=asked):
            if next(asked) >= calls:
                raise TimeoutError

        with pytest.raises(TimeoutError):
            CODER.from_bits(data, stream, Work(threads, late))
        assert len(decoded) == calls - 1


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_broken_block_is_told(way, three_blocks, threads):
    """Whichever thread is faster; and what waits is not decoded any more."""
    symbols, stream, data = three_blocks
    narrow = Stream(stream.count, int(symbols.max()), stream.shape, signed=True)
    first = next(at for at in range(0, 600, 180) if symbols[at : at + 180].max() == symbols.max())
    places = set()
    for _ in range(5):
        with pytest.raises(FormatError) as caught:
            CODER.from_bits(data, narrow, Work(threads))
        assert caught.value.code == "E_INDEX"
        places.add(caught.value.offset)
    assert len(places) == 1
    sizes = [_read_varint(memoryview(data), at)[0] for at in (1, 3, 5)]
    begin = 7 + sum(sizes[: first // 180])
    assert begin < places.pop() <= begin + [*sizes, 1 << 20][first // 180]


@given(st.integers(0, 2**35 - 1))
def test_numbers_of_seven_bits_a_byte(number):
    written = _varint(number)
    assert len(written) == max(-(-number.bit_length() // 7), 1)
    assert _read_varint(memoryview(b"?" + written + b"?"), 1) == (number, 1 + len(written))
    with pytest.raises(FormatError):
        _read_varint(memoryview(written[:-1]), 0)
