import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featherweight.encodings import payload
from featherweight.encodings.dense import Dense
from featherweight.errors import EncodingError, FormatError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def there_and_back(encoding):
    written = payload.encode(encoding)
    read = payload.decode(encoding.shape, written.spec, written.data)
    assert payload.encode(read) == written
    return read


@pytest.mark.parametrize("stored", FLOATS)
@pytest.mark.parametrize("values", FLOATS)
def test_floats_are_kept_at_the_stored_precision(values, stored):
    weight = torch.randn(3, 7).to(values)
    if stored != values and stored.itemsize >= values.itemsize:
        with pytest.raises(EncodingError, match="cannot be stored"):
            Dense(weight, stored)
        return
    encoding = Dense(weight, stored)
    assert encoding.dtype == values
    assert torch.equal(encoding.to_tensor().double(), weight.to(stored).to(values).double())
    read = there_and_back(encoding)
    assert read.stored == stored
    assert torch.equal(read.to_tensor().double(), encoding.to_tensor().double())


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_kept_exactly(dtype):
    info = torch.iinfo(dtype)
    for numbers in ([0, 1, 100], [info.min, info.max, 0], [info.max], []):
        weight = torch.tensor(numbers, dtype=dtype)
        read = there_and_back(Dense(weight))
        assert read.dtype == dtype
        assert torch.equal(read.to_tensor(), weight)


@pytest.mark.parametrize(("number", "size"), [(200, 1), (-5, 1), (300, 2), (70_000, 4), (1 << 40, 8)])
def test_integers_take_the_fewest_bytes_that_hold_them(number, size):
    weight = torch.tensor([number, 0, 1])
    assert payload.coded_bytes(Dense(weight), []) <= 3 * size
    assert payload.inspect((3,), payload.encode(Dense(weight), []).spec).decoded_bytes == 24


def test_a_counter_in_a_module():
    weight = torch.tensor(1200)
    written = payload.encode(Dense(weight))
    assert len(written.data) == 2
    assert payload.decode((), written.spec, written.data).to_tensor() == weight


def test_booleans_take_a_bit():
    weight = torch.rand(1000) < 0.5
    written = payload.encode(Dense(weight))
    assert len(written.data) == 125
    assert torch.equal(payload.decode((1000,), written.spec, written.data).to_tensor(), weight)


def test_integers_ignore_what_they_are_stored_as():
    assert Dense(torch.tensor([3]), torch.int8).stored == torch.int64


@pytest.mark.parametrize(
    ("values", "stored"),
    [(torch.int64, torch.float32), (torch.float32, torch.int8), (torch.complex64, None), (torch.bool, torch.uint8)],
)
def test_types_that_do_not_go_together(values, stored):
    with pytest.raises(EncodingError, match="cannot be stored"):
        Dense(torch.zeros(2).to(values), stored)


def test_a_value_too_large_for_the_stored_type():
    with pytest.raises(EncodingError, match=r"too large for torch.float16 \(got 100000.0\)"):
        payload.encode(Dense(torch.tensor([1.0, 1e5]), torch.float16))


def test_planes_pay_for_numbers_of_like_size():
    weight = torch.rand(2000) + 1
    assert payload.coded_bytes(Dense(weight)) < 0.82 * 8000
    assert payload.encode(Dense(weight)).spec[1] & 16


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_no_number_is_kept_and_told(number, stored):
    encoding = Dense(torch.tensor([1.0, number]), stored)
    read = there_and_back(encoding)
    assert not encoding.finite
    assert not read.finite
    assert torch.equal(read.to_tensor().isnan(), encoding.values.isnan())
    assert torch.equal(read.to_tensor().isinf(), encoding.values.isinf())


def test_a_nan_that_no_writer_stores():
    with pytest.raises(FormatError, match="E_NONFINITE"):
        payload.decode((1,), (0, 1, 1, 2), b"\x01\x7c")  # a signalling NaN of float16 does not survive float32


@given(st.integers(0, 400))
def test_kinds_that_no_writer_gives(kind):
    try:
        layout = Dense.layout((3,), (kind,))
    except FormatError as error:
        assert error.code == "E_VERSION"
    else:
        assert layout.itemsize in {1, 2, 4, 8}
        assert sum(stream.count for stream in layout.streams) in {3, 6, 12, 24}


def test_training_sees_plain_weights():
    encoding = Dense(torch.randn(4), torch.float16)
    weight = torch.randn(4)
    assert torch.equal(encoding.project(weight), weight)
    assert torch.equal(encoding.gradient(weight), weight)
    changed = encoding.updated(weight)
    weight.zero_()
    assert changed.stored == torch.float16
    assert changed.to_tensor().abs().sum() > 0


def test_differentiable_in_the_values():
    values = torch.randn(5, requires_grad=True)
    Dense(values, torch.float16).to_tensor().sum().backward()
    assert torch.equal(values.grad, torch.ones(5))


def test_layout_independent_of_memory():
    weight = torch.randn(6, 4).t()
    assert torch.equal(there_and_back(Dense(weight)).to_tensor(), weight)


def test_forms_of_other_tensors():
    encoding = Dense(torch.zeros(3))
    for form in (1, 15, 32, 8 + 32 * 8):
        with pytest.raises(EncodingError, match="form"):
            encoding.pack(form)
    with pytest.raises(EncodingError, match="too large for the type of this form"):
        Dense(torch.tensor([300])).pack(4 + 32 * 8)


def test_state():
    encoding = Dense(torch.randn(3), torch.bfloat16)
    restored = Dense(torch.zeros(9), torch.bfloat16).restored(encoding.state())
    assert torch.equal(restored.to_tensor(), encoding.to_tensor())
    assert restored.describe((2,)) == "dense bfloat16"
