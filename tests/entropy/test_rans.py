import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.entropy import _rans_model as models
from featherweight.entropy import _rans_reference as reference
from featherweight.entropy import rans
from featherweight.entropy._bits import BitWriter
from featherweight.entropy._rans_reference import BLOCK, lanes
from featherweight.entropy.base import Stream, Work
from featherweight.entropy.rans import Rans
from featherweight.entropy.tables import entropy_bits, histogram
from featherweight.errors import EncodingError, FormatError

RANS = Rans()
ISAS = native.isas() if native is not None else []
needs_native = pytest.mark.skipif(native is None, reason="the native part is not built")

STREAMS = (
    st.integers(2, 1 << 20)
    .flatmap(lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), min_size=2, max_size=120)))
    .filter(lambda case: len(set(case[1])) > 1)
)


def levels(count, scale=4.0, seed=0, alphabet=None):
    """Zigzag levels of a Laplacian: about log2(5 scale) bits of entropy a symbol, scale in steps."""
    drawn = np.rint(np.random.default_rng(seed).laplace(0, scale, count)).astype(np.int64)
    symbols = np.where(drawn < 0, -2 * drawn - 1, 2 * drawn)
    alphabet = alphabet or int(symbols.max()) + 1
    return np.minimum(symbols, alphabet - 1).astype(np.min_scalar_type(alphabet - 1)), alphabet


def adversarial():
    """Streams at the ends of what frequencies, classes and lanes can be."""
    random = np.random.default_rng(7)
    yield "one in very many", np.eye(1, 70_000, 69_999, dtype=np.uint8)[0]
    yield "all but one", 1 - np.eye(1, 70_000, 0, dtype=np.uint8)[0]
    yield "one class of several symbols", random.integers(1024, 1280, 3000).astype(np.uint16)
    yield "two far apart", random.choice([0, (1 << 20) - 1], 1000).astype(np.uint32)
    yield "each once", np.arange(1 << 16, dtype=np.uint32)
    yield "256 equally often", np.tile(np.arange(256, dtype=np.uint8), 70)
    yield "257 equally often", np.tile(np.arange(257, dtype=np.uint16), 70)
    yield "powers of two", np.repeat(np.arange(17, dtype=np.uint8), 1 << np.arange(17))
    yield "powers of two, rare ones first", np.repeat(np.arange(17, dtype=np.uint8), 1 << np.arange(17)[::-1])
    yield "every other symbol", random.integers(0, 100, 5000).astype(np.uint8) * 2
    yield "a few far up", (random.integers(0, 5, 5000) + 250).astype(np.uint8)
    yield "sorted", np.sort(levels(40_000)[0])
    yield "a level of 20 bits", np.concatenate([levels(20_000)[0], [(1 << 20) - 1]]).astype(np.uint32)


ADVERSARIAL = dict(adversarial())


def check(symbols, alphabet):
    """The reference and the coder agree, in both directions; gives the bytes."""
    stream = Stream(len(symbols), alphabet)
    data = RANS.to_bits(symbols, stream)
    assert data == reference.encode(symbols)
    decoded = RANS.from_bits(data, stream)
    assert np.array_equal(decoded, symbols)
    assert np.array_equal(reference.decode(data, len(symbols), alphabet, lambda: None), symbols)
    return data


@given(STREAMS)
def test_round_trip(case):
    alphabet, numbers = case
    check(np.array(numbers, np.uint32), alphabet)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_streams(name):
    symbols = ADVERSARIAL[name]
    check(symbols, int(symbols.max()) + 1)
    check(symbols, 1 << 20)


@pytest.mark.parametrize(
    "count", [2, 3, 31, 32, 33, 1 << 14, (1 << 14) + 1, (1 << 15) + 5, 1 << 16, (1 << 17) - 1, (1 << 17) + 15]
)
def test_counts_around_the_lanes(count):
    symbols, alphabet = levels(count)
    symbols[:2] = 0, 1
    check(symbols, alphabet)


def test_lanes():
    assert [lanes(count) for count in (0, 1, 16383, 16384, 32767, 32768, 65536, 131072, 262143, 262144, 1 << 40)] == [
        *(1, 1, 1, 2, 2, 4, 8, 16, 16, 32, 32)
    ]


@pytest.mark.parametrize("count", [BLOCK, BLOCK + 1, 2 * BLOCK + 40_000])
def test_blocks(count):
    symbols, alphabet = levels(count)
    check(symbols, alphabet)


@pytest.mark.parametrize("symbols", [[], [3], [3, 3, 3]])
def test_streams_for_constant(symbols):
    with pytest.raises(EncodingError, match="two different"):
        RANS.to_bits(np.array(symbols, np.uint8), Stream(len(symbols), 4))
    with pytest.raises(EncodingError, match="constant"):
        RANS.size(np.array(symbols, np.uint8), Stream(len(symbols), 4))


def test_any_unsigned_type_and_layout():
    symbols, alphabet = levels(1000)
    data = RANS.to_bits(symbols, Stream(1000, alphabet))
    for dtype in (np.uint16, ">u2", np.uint32, ">u4", np.uint64):
        assert RANS.to_bits(symbols.astype(dtype), Stream(1000, alphabet)) == data
    assert RANS.to_bits(np.repeat(symbols, 3)[::3], Stream(1000, alphabet)) == data


def excess(symbols, alphabet):
    """How much larger the whole stream is than its zero-order entropy, as a share."""
    bits = entropy_bits(histogram(symbols, alphabet))
    return (8 * RANS.size(symbols, Stream(len(symbols), alphabet)) - bits) / bits


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0, 8.0])  # 2.4 to 5.4 bits a symbol
def test_within_half_a_percent_of_the_entropy(scale):
    assert excess(*levels(20_000, scale)) < 0.005
    assert excess(*levels(100_000, scale)) < 0.002
    assert excess(*levels(1_000_000, scale)) < 0.0015


def test_within_half_a_percent_where_classes_have_bits_of_their_own():
    """Some thousands of levels: more than there are classes."""
    symbols, alphabet = levels(200_000, 200.0)
    assert alphabet > 2000
    assert excess(symbols, alphabet) < 0.005


def test_gaussian_levels():
    drawn = np.rint(np.random.default_rng(3).normal(0, 6, 50_000)).astype(np.int64)
    symbols = np.where(drawn < 0, -2 * drawn - 1, 2 * drawn).astype(np.uint8)
    assert excess(symbols, int(symbols.max()) + 1) < 0.004


@needs_native
@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_give_the_same(isa):
    before = native.isa()
    try:
        native.use_isa(isa)
        for count in (50, 20_000, 40_000, 70_000, 140_000, BLOCK + 5, 3 * BLOCK + 5):
            symbols, alphabet = levels(count, seed=count)
            data = RANS.to_bits(symbols, Stream(count, alphabet))
            assert np.array_equal(RANS.from_bits(data, Stream(count, alphabet)), symbols)
            if count < BLOCK:
                assert data == reference.encode(symbols)
    finally:
        native.use_isa(before)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_give_the_same(threads):
    symbols, alphabet = levels(5 * BLOCK + 99)
    symbols[-1] = alphabet - 1
    stream = Stream(len(symbols), alphabet)
    data = rans_bytes(symbols, stream)
    assert np.array_equal(RANS.from_bits(data, stream, Work(threads)), symbols)


KEPT = {}


def rans_bytes(symbols, stream):
    """Coded once for all tests that decode it."""
    return KEPT.setdefault(stream, RANS.to_bits(symbols, stream))


def test_looks_at_the_clock_every_2_to_the_20_symbols():
    symbols, alphabet = levels(5 * BLOCK + 99)
    stream = Stream(len(symbols), alphabet)
    seen = []
    RANS.from_bits(rans_bytes(symbols, stream), stream, Work(2, lambda: seen.append(1)))
    assert len(seen) >= 2

    def late():
        seen.append(1)
        if len(seen) > 1:
            raise TimeoutError

    seen.clear()
    with pytest.raises(TimeoutError):
        RANS.from_bits(rans_bytes(symbols, stream), stream, Work(1, late))


def test_without_the_native_part(monkeypatch):
    symbols, alphabet = levels(20_000)
    stream = Stream(len(symbols), alphabet)
    data = RANS.to_bits(symbols, stream)
    monkeypatch.setattr(rans, "native", None)
    assert RANS.to_bits(symbols, stream) == data
    assert np.array_equal(RANS.from_bits(data, stream), symbols)
    with pytest.raises(EncodingError, match="two different"):
        RANS.to_bits(np.zeros(4, np.uint8), Stream(4, 2))


@needs_native
def test_each_forced_instruction_set_in_a_process_of_its_own():
    code = (
        "import numpy as np, hashlib; from featherweight.core.native import native;"
        "from featherweight.entropy.rans import Rans; from featherweight.entropy.base import Stream;"
        "s = (np.arange(300000, dtype=np.int64) ** 2 % 8191 % 23).astype(np.uint8);"
        "d = Rans().to_bits(s, Stream(len(s), 23));"
        "assert np.array_equal(Rans().from_bits(d, Stream(len(s), 23)), s);"
        "print(native.isa(), hashlib.sha256(d).hexdigest())"
    )
    said = {}
    for isa in ISAS:
        environment = {**os.environ, "FEATHERWEIGHT_ISA": isa, "OMP_NUM_THREADS": "1"}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        used, digest = run.stdout.split()
        said[used] = digest
    assert set(said) == set(ISAS)
    assert len(set(said.values())) == 1


def refusals(data, count, alphabet):
    """The codes with which the coder and the reference refuse."""
    codes = []
    for decode in (
        lambda: RANS.from_bits(data, Stream(count, alphabet)),
        lambda: reference.decode(data, count, alphabet, lambda: None),
    ):
        with pytest.raises(FormatError) as caught:
            decode()
        codes.append(caught.value.code)
    return codes


def refused(data, count, alphabet):
    codes = refusals(data, count, alphabet)
    assert codes[0] == codes[1]
    return codes[0]


SMALL, ALPHABET = levels(500, 20.0, seed=5)  # classes with bits of their own
CODED = RANS.to_bits(SMALL, Stream(500, ALPHABET))


def test_counts_that_lie():
    for count in (-1, 0, 1):
        with pytest.raises(FormatError) as caught:
            RANS.from_bits(CODED, Stream(count, ALPHABET))
        assert caught.value.code == "E_COUNT"
    for count in (8 * len(CODED) + (1 << 20), 1 << 40, 1 << 62, (1 << 63) - 1):
        assert refused(CODED, count, ALPHABET) == "E_COUNT"
    assert refused(CODED, 499, ALPHABET) == "E_ANS"  # a state does not end as it began
    assert refused(CODED, 501, ALPHABET) in ("E_ANS", "E_DECODED_SIZE")


def test_bytes_cut_and_added():
    for size in range(len(CODED)):
        code = refused(CODED[:size], 500, ALPHABET) if size else "E_COUNT"
        assert code in ("E_COUNT", "E_DECODED_SIZE", "E_ANS")
    assert refused(CODED + b"\0", 500, ALPHABET) == "E_DECODED_SIZE"


def test_an_alphabet_that_is_too_small():
    assert refused(CODED, 500, int(SMALL.max())) == "E_INDEX"
    assert refused(CODED, 500, 3) == "E_INDEX"


def verdict(decode, broken):
    try:
        return decode(broken).tolist()
    except FormatError as error:
        return error.code


def test_every_flipped_bit():
    """Refused with the same code as by the reference, or what another stream codes to (a bit of a symbol's own)."""
    symbols, alphabet = levels(40, 20.0, seed=5)
    stream, data, found = Stream(40, alphabet), RANS.to_bits(symbols, Stream(40, alphabet)), set()
    for place, bit in np.ndindex(len(data), 8):
        broken = bytearray(data)
        broken[place] ^= 1 << bit
        by_coder = verdict(lambda item: RANS.from_bits(item, stream), bytes(broken))
        assert by_coder == verdict(lambda item: reference.decode(item, 40, alphabet, lambda: None), bytes(broken))
        if isinstance(by_coder, str):
            found.add(by_coder)
        else:
            assert RANS.to_bits(np.array(by_coder, np.uint32), stream) == bytes(broken)
    assert {"E_ANS", "E_PADDING"} <= found <= {"E_ANS", "E_PADDING", "E_INDEX", "E_DECODED_SIZE", "E_COUNT"}


def test_an_index_that_lies():
    symbols, alphabet = levels(BLOCK + 50)
    data = RANS.to_bits(symbols, Stream(len(symbols), alphabet))
    table = table_bytes(symbols)
    size = int.from_bytes(data[table : table + 3], "little")

    def with_size(other):
        return data[:table] + other.to_bytes(3, "little") + data[table + 3 :]

    assert with_size(size) == data
    assert refused(with_size(size - 1), len(symbols), alphabet) in ("E_SPAN", "E_DECODED_SIZE")
    assert refused(with_size(size + 1), len(symbols), alphabet) == "E_SPAN"
    assert refused(with_size(100), len(symbols), alphabet) == "E_SPAN"
    assert refused(with_size((1 << 24) - 1), len(symbols), alphabet) == "E_SPAN"


def table_bytes(symbols):
    writer = BitWriter()
    models.write(models.choose(histogram(models.bins(symbols), models.BINS)), writer)
    return len(writer.finish())
