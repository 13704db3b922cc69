import numpy as np
import pytest
import torch

from featherweight.encodings import payload
from featherweight.encodings._spec import parse
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import Payload
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.base import Stream, Work
from featherweight.entropy.constant import Constant
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.raw import Raw
from featherweight.errors import EncodingError, FormatError
from featherweight.training.constraints import Constraint


@pytest.fixture
def nested():
    """A layer of Deep Compression: places, shared values, 16-bit centroids."""
    weight = torch.randn(40, 60)
    mask = weight.abs() > 1.2
    return Sparse(mask, Codebook.of(weight[mask], Dense(torch.linspace(-3, 3, 8), torch.float16)))


def test_a_spec_is_flat_and_depth_first():
    mask = torch.tensor([[True, False, True, True]])
    encoding = Sparse(mask, Codebook(torch.tensor([0, 1, 0]), torch.tensor([1.0, -1.0])))
    written = payload.encode(encoding, [Raw()])
    sparse, codebook, dense = written.spec[:6], written.spec[6:10], written.spec[10:]
    assert sparse == (1, 0, 3, 0, 0, 1)  # bitmap, three kept, no fillings; constant, one byte
    assert codebook == (2, 2, 1, 1)  # two values; raw, one byte
    assert dense == (0, 0, 1, 8)  # float32; raw, eight bytes
    assert written.data == bytes([0b10110000, 0b01000000]) + np.array([1, -1], "<f4").tobytes()


def test_the_plan_tells_what_comes(nested):
    written = payload.encode(nested)
    plan = payload.inspect(nested.shape, written.spec)
    assert plan.length == len(written.data) == payload.coded_bytes(nested)
    assert plan.decoded_bytes == 40 * 60 * 4
    assert plan.depth == 3
    assert plan.symbol_bytes < 40 * 60
    assert payload.describe(nested.shape, written.spec).split(" > ")[1:] == ["codebook 8", "dense float16"]


def test_the_smallest_of_the_coders_is_taken_stream_by_stream():
    equal = Dense(torch.zeros(1000))
    random = Dense(torch.randint(-(2**31), 2**31, (1000,), dtype=torch.int64).int())
    skewed = Codebook(torch.from_numpy(np.random.default_rng(0).geometric(0.7, 1000) - 1), torch.randn(30))
    assert payload.encode(equal, [Huffman()]).spec[2:4] == (Constant.code, 1)
    assert payload.encode(random, [Huffman()]).spec[2] == Raw.code
    assert payload.encode(skewed, [Huffman()]).spec[2] == Huffman.code
    assert payload.encode(skewed, [Raw()]).spec[2] == Raw.code
    assert payload.encode(equal, [Huffman()]).spec[2] == Constant.code


@pytest.mark.parametrize("coders", [None, (), (Raw(),), (Huffman(),), (Constant(),), (Huffman(), Raw())])
def test_writing_what_was_read_gives_the_same_bytes(nested, coders):
    written = payload.encode(nested, coders)
    read = payload.decode(nested.shape, written.spec, written.data)
    assert payload.encode(read, coders) == written
    assert payload.encode(read.updated(read.to_tensor()), coders) == written  # as a loaded and saved model does
    assert payload.coded_bytes(read, coders) == len(written.data)


def test_choices_that_are_not_the_smallest_are_read_and_repeated(nested):
    raw = payload.encode(nested, [Raw()])
    read = payload.decode(nested.shape, raw.spec, raw.data)
    assert payload.encode(read) != raw
    assert payload.encode(read, like=raw.spec) == raw
    spec = list(payload.encode(nested).spec)
    packed = nested.pack(3)  # a form that is not chosen
    spec[1:4] = packed.fields
    coded = [Raw().to_bits(stream, Stream(len(stream), 8)) for stream in packed.streams]
    head = payload.encode(nested)
    inner = payload.encode(nested.inner)
    mine = Payload((1, *packed.fields, Raw.code, len(coded[0]), *inner.spec), coded[0] + inner.data)
    read = payload.decode(nested.shape, mine.spec, mine.data)
    assert torch.equal(read.to_tensor(), nested.to_tensor())
    assert payload.encode(read) == head
    assert payload.encode(read, like=mine.spec) == mine


def test_a_spec_of_something_else_cannot_be_repeated(nested):
    written = payload.encode(nested)
    for other in (Dense(nested.to_tensor()), Sparse.of(torch.randn(40, 60), nested.mask)):
        with pytest.raises(EncodingError, match="of another"):
            payload.encode(other, like=written.spec)
    fewer = nested.mask.clone()
    fewer[nested.mask.nonzero()[0].unbind()] = False
    with pytest.raises(EncodingError, match="of another"):
        payload.encode(Sparse(fewer, Codebook(nested.inner.indices[1:], nested.inner.centroids)), like=written.spec)
    with pytest.raises(EncodingError, match="of another"):
        payload.encode(nested, like=(1, 99))


def test_nesting_has_a_bottom():
    encoding = Dense(torch.ones(3))
    for _ in range(3):
        encoding = Sparse(torch.tensor([True, True, True]), encoding)
    written = payload.encode(encoding)
    assert payload.inspect((3,), written.spec).depth == 4
    deeper = Sparse(torch.tensor([True, True, True]), encoding)
    with pytest.raises(EncodingError, match="deeper than 4"):
        payload.encode(deeper)
    with pytest.raises(FormatError, match="deeper than 4"):
        payload.inspect((3,), (1, 0, 3, 0, 0, 1, *written.spec))


def refused(shape, spec, data=b""):
    with pytest.raises(FormatError) as caught:
        payload.inspect(shape, spec)
        payload.decode(shape, spec, data)
    return caught.value


def test_specs_that_are_none():
    good = (0, 0, 1, 12)
    assert payload.inspect((3,), good).length == 12
    assert refused((3,), ()).code == "E_COUNT"
    assert refused((3,), good[:-1]).code == "E_COUNT"
    assert refused((3,), (*good, 0)).code == "E_TRAILING"
    assert refused((3,), (99, *good[1:])).code == "E_VERSION"
    assert refused((3,), (0, 0, 99, 12)).code == "E_VERSION"
    assert refused((3,), (0, 0, 1, -1)).code == "E_OVERFLOW"
    assert refused((3,), (0, 0, 1, True)).code == "E_OVERFLOW"
    assert refused((3,), (0, 0, 1, 1 << 53)).code == "E_OVERFLOW"
    assert refused((-3,), good).code == "E_OVERFLOW"
    assert refused((1 << 30, 1 << 30), good).code == "E_OVERFLOW"


def test_bytes_that_do_not_fit():
    good = (0, 0, 1, 12)
    assert payload.decode((3,), good, bytes(12)).shape == (3,)
    assert refused((3,), good, bytes(11)).code == "E_SPAN"
    assert refused((3,), good, bytes(13)).code == "E_SPAN"
    assert refused((3,), (0, 0, 1, 13), bytes(13)).code == "E_DECODED_SIZE"
    assert refused((4,), good, bytes(12)).code == "E_COUNT"


def test_errors_tell_where_they_are(nested):
    written = payload.encode(nested, [Raw()])
    lengths = written.spec[5], written.spec[9]
    broken = bytearray(written.data)
    broken[sum(lengths) - 1] |= 1  # padding of the second stream
    count = nested.inner.indices.numel()
    assert (count * 3) % 8, "the case needs padding"
    error = refused(nested.shape, written.spec, bytes(broken))
    assert (error.code, error.offset) == ("E_PADDING", sum(lengths) - 1)


def test_a_bomb_is_told_before_it_goes_off():
    """A few bytes that promise a terabyte: the plan says so, and costs nothing."""
    plan = payload.inspect((1 << 19, 1 << 19), (1, 1, 0, 0, 0, 0, 0, 0, 0, 0))
    assert plan.decoded_bytes == 1 << 40
    assert plan.length == 0


def test_what_no_reader_could_read_is_not_written():
    with pytest.raises(EncodingError, match="too large"):
        payload.encode(Sparse(torch.tensor([True]), Dense(torch.tensor([1e6]), torch.float16)))


@pytest.mark.parametrize("seed", range(3))
def test_mutants_are_refused_or_are_what_a_writer_gives(nested, seed):
    """Long streams are left to the conformance battery; this is one real layer with many changes."""
    generator = np.random.default_rng(seed)
    written = payload.encode(nested)
    survivors = 0
    for _ in range(600):
        spec, data = list(written.spec), bytearray(written.data)
        for _ in range(int(generator.integers(1, 4))):
            if generator.random() < 0.5:
                place = int(generator.integers(0, len(spec)))
                spec[place] = int(
                    generator.choice([0, 1, 2, 3, 255, 1 << 20, spec[place] + 1, max(spec[place] - 1, 0)])
                )
            else:
                data[int(generator.integers(0, len(data)))] = int(generator.integers(0, 256))
        try:
            read = payload.decode(nested.shape, spec, bytes(data))
        except FormatError:
            continue
        survivors += 1
        assert payload.encode(read, like=spec) == Payload(tuple(spec), bytes(data))
    assert survivors < 600


def test_encodings_are_constraints(nested):
    assert isinstance(nested, Constraint)
    assert isinstance(Dense(torch.zeros(1)), Constraint)


# giving up --------------------------------------------------------------------------------------------------------

PIECE = 1 << 20  # weights, at most, between two looks at a deadline
MANY = 2 * PIECE + 777


class Patience:
    """Counts how often it is asked whether work may go on, and says no to the question number `calls`."""

    def __init__(self, calls=None):
        self.calls, self.asked = calls, 0

    def __call__(self):
        self.asked += 1
        if self.asked == self.calls:
            raise TimeoutError(self.asked)


def asks(work):
    """How often `work` asks whether it may go on; the first question can end it, the last, and one between."""
    patience = Patience()
    work(Work(1, patience))
    for calls in {min(1, patience.asked), patience.asked // 2, patience.asked} - {0}:
        with pytest.raises(TimeoutError):
            work(Work(1, Patience(calls)))
    return patience.asked


@pytest.mark.parametrize("coder", [Constant(), Raw(), Huffman()])
@pytest.mark.parametrize("alphabet", [2, 256, 1000])
def test_coders_can_be_given_up_inside_a_stream(coder, alphabet):
    symbols = np.zeros(MANY, np.uint16)
    if not isinstance(coder, Constant):
        symbols[::3] = alphabet - 1
    stream = Stream(MANY, alphabet)
    data = coder.to_bits(symbols, stream)
    copied = not (isinstance(coder, Raw) and alphabet == 256)  # bytes that are their own symbols take no time
    assert asks(lambda work: coder.from_bits(data, stream, work)) >= copied * MANY / PIECE


def scattered(shape):
    weight = torch.zeros(shape)
    weight[::7, ::3] = 1.5
    return Sparse.from_tensor(weight)


@pytest.mark.parametrize(
    ("encoding", "form", "often"),
    [
        (Dense(torch.ones(MANY)), None, 0),  # the bytes are the weights
        (Dense(torch.ones(MANY)), 16, 3),
        (Dense(torch.ones(MANY), torch.float16), None, 6),
        (Codebook(torch.ones(MANY, dtype=torch.uint8), torch.ones(2)), None, 3),
        (Codebook(torch.ones(MANY, dtype=torch.int64), torch.ones(40_000)), None, 3),
        (scattered((1, MANY)), 0, 3),
        (scattered((1100, 2000)), 3, 1),  # few symbols tell of many weights
        (scattered((1100, 2000)), 3 + 32, 4),
        (scattered((1100, 2000)), 3 + 64, 4),
        (scattered((1100, 2000)), 3 + 32 + 64, 4),
        (Sparse(torch.ones(MANY, dtype=torch.bool), Dense(torch.ones(MANY), torch.bfloat16)), 1, 3),
    ],
)
def test_encodings_can_be_given_up_inside_a_tensor(encoding, form, often):
    packed, pieces = encoding.pack(form), MANY / PIECE
    assert asks(lambda work: type(encoding).unpack(encoding.shape, packed, work)) >= often
    read = type(encoding).unpack(encoding.shape, packed)
    assert torch.equal(read.to_tensor(), encoding.to_tensor())
    assert torch.equal(read.decoded(), encoding.to_tensor())
    as_it_is = isinstance(encoding, Dense) and encoding.stored == encoding.dtype  # there is nothing left to do
    assert asks(read.decoded) >= (0 if as_it_is else pieces)
    assert read.is_finite()  # which reading may have found out, and tells once
    assert asks(read.is_finite) >= (pieces if isinstance(encoding, Dense) else 1)


def test_giving_up_tells_where(nested):
    """The offset is that of the stream, or of the first of the encoding, that was being read."""
    written = payload.encode(nested)
    lengths = [length for node in parse(nested.shape, written.spec).walk() for _, length in node.streams]
    begins = {sum(lengths[:number]) for number in range(len(lengths))}
    places = set()
    calls = asks_late = 0
    while asks_late == calls:
        calls += 1
        asked = Patience(calls)

        def late(asked=asked):
            try:
                asked()
            except TimeoutError as error:
                raise FormatError("E_DEADLINE", "too late") from error

        try:
            payload.decode(nested.shape, written.spec, written.data, Work(1, late))
        except FormatError as error:
            asks_late += 1
            places.add(error.offset)
    assert places == begins
