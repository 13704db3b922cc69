"""Nothing changes: neither the model nor a bit of a checkpoint, whatever the bits are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from featherweight.container import pack
from featherweight.encodings import payload
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.errors import FormatError, TechniqueError
from featherweight.frontends.safetensors_files import open_checkpoint
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.stream import compress_checkpoint
from featherweight.techniques.precision.exact.lossless import Lossless

INTEGERS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32}


def _bits(tensor):
    return tensor.contiguous().view(INTEGERS.get(tensor.dtype, tensor.dtype))


def test_the_model_stays_as_it_is(digits):
    model, before = digits.dense(), digits.dense().state_dict()
    after = Lossless().apply(model, digits.context()).state_dict()
    assert encodings_of(model) == {}
    assert all(torch.equal(_bits(after[name]), _bits(value)) for name, value in before.items())


def test_it_does_not_go_with_what_changes_values(digits):
    model = digits.dense()
    attach(model, {"0.weight": Codebook.of(model[0].weight, torch.tensor([-0.1, 0.1]))})
    with pytest.raises(TechniqueError, match=r"0\.weight.*Codebook"):
        Lossless().apply(model, digits.context())


@pytest.mark.parametrize("dtype", INTEGERS)
@given(st.data())
def test_any_bits_of_any_float_come_back(dtype, data):
    width = 8 * dtype.itemsize
    edge = st.sampled_from([0, 1, 1 << (width - 1), (1 << (width - 1)) - 1, 0x7F80 << (width - 16), 0x7C01, 0xFFC1])
    numbers = data.draw(st.lists(st.one_of(edge, st.integers(0, (1 << width) - 1)), max_size=80))
    signed = [number - (1 << width) if number >> (width - 1) else number for number in numbers]
    values = torch.tensor(signed, dtype=INTEGERS[dtype]).view(dtype)
    encoding = Dense(values)
    for form in (*encoding.forms(), encoding.forms()[-1] + 512):  # the last one belongs to larger tensors
        read = Dense.unpack((len(values),), encoding.pack(form))
        assert torch.equal(_bits(read.to_tensor()), _bits(values))
    written = payload.encode(encoding)
    assert torch.equal(_bits(payload.decode((len(values),), written.spec, written.data).to_tensor()), _bits(values))


def test_all_values_of_sixteen_bits_through_a_file(tmp_path):
    everything = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    tensors = {
        "half": everything.view(torch.float16),
        "brain": everything.clone().view(torch.bfloat16).reshape(256, 256),
        "single": (everything.to(torch.int32) * 65537).view(torch.float32),
        "counter": torch.tensor(7),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    compress_checkpoint(checkpoint, Recipe.read("lossless"), tmp_path / "m.fwt", tmp_path / "run")
    with pack.open_file(tmp_path / "m.fwt", nonfinite="allow") as reader:
        for name, tensor in tensors.items():
            read = reader.tensor(name)
            assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(_bits(read), _bits(tensor))
    with pytest.raises(FormatError, match="E_NONFINITE"):
        pack.open_file(tmp_path / "m.fwt")


def test_weights_of_like_size_lose_most_of_their_exponents():
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 0.02
    for dtype, most in ((torch.float32, 0.84), (torch.bfloat16, 0.68), (torch.float16, 0.86)):
        written = payload.encode(Dense(values.to(dtype)))
        assert len(written.data) < most * dtype.itemsize * len(values)
        assert written.spec[1] & 512
