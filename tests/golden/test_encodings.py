"""The exact bytes of every encoding: written once, readable for ever. A change here is a change of the file format."""

import pytest
import torch

from featherweight.encodings import payload
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.huffman import Huffman

CODERS = (Huffman(),)
"""Beside constant and raw, which always take part. Coders to come may be smaller."""


def _ramp(*shape):
    """Numbers that are exact in 16 bits, the same on every machine."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 37 % 101 - 50) / 16).reshape(shape)


def _layer():
    """Places, shared values and 16-bit centroids of a layer with dead rows and columns."""
    weight = _ramp(24, 40)
    mask = (weight.abs() > 1) & (torch.arange(24)[:, None] % 3 > 0) & (torch.arange(40) % 5 > 2)
    return Sparse(mask, Codebook.of(weight[mask], Dense(torch.tensor([-2.5, -1.5, 1.5, 2.5]), torch.float16)))


def _strange(bits):
    """Floats of these bits: NaNs with a payload, infinities, zeros with a sign and denormals among them."""
    return bits.to(torch.int32).view(torch.float32)


ENCODINGS = {
    "float32": lambda: Dense(_ramp(3)),
    "float16": lambda: Dense(_ramp(2, 2), torch.float16),
    "bfloat16": lambda: Dense(_ramp(4), torch.bfloat16),
    "float64": lambda: Dense(_ramp(2).double()),
    "float8": lambda: Dense(_ramp(4), torch.float8_e4m3fn),
    "planes": lambda: Dense(_ramp(64), torch.float16),
    "integer planes": lambda: Dense((_ramp(64) * 16).to(torch.int16) + 300),
    "counter": lambda: Dense(torch.tensor(1200)),
    "integers": lambda: Dense(torch.tensor([-1, 70_000])),
    "booleans": lambda: Dense(torch.tensor([True, False, True])),
    "nothing": lambda: Dense(torch.zeros(0, 3)),
    "codebook": lambda: Codebook(torch.tensor([[0, 1, 1], [2, 0, 1]]), torch.tensor([0.5, -1.0, 2.0])),
    "one value": lambda: Codebook(torch.zeros(9, 9, dtype=torch.uint8), torch.tensor([0.25])),
    "bitmap": lambda: Sparse.of(_ramp(3, 6), _ramp(3, 6) > -1),
    "index": lambda: Sparse.of(_ramp(300), torch.arange(300) % 29 == 7),
    "all zero": lambda: Sparse.of(_ramp(50, 50), torch.zeros(50, 50, dtype=torch.bool)),
    "deep compression": _layer,
    "levels": lambda: Uniform(torch.tensor([[0, 1, -1, 2], [3, 0, 0, -7]]), torch.tensor([0.25])),
    "levels of rows": lambda: Uniform(torch.tensor([[5, -5], [1, 0]]), Dense(torch.tensor([0.5, 2.0]), torch.bfloat16)),
    "dependent levels": lambda: Uniform(torch.tensor([[1, -1, 1, 1, 2], [0, 3, 1, -1, 0]]), torch.tensor([0.5]), True),
    "levels of a type": lambda: Uniform(torch.tensor([1, -2, 0]), torch.tensor([0.1], dtype=torch.float16)),
    "all zero levels": lambda: Uniform(torch.zeros(7, 9, dtype=torch.int32), torch.tensor([1.0])),
}

WRITTEN = {
    "float32": ((0, 0, 1, 12), "000048c0000050bf0000c03f"),
    "float16": ((0, 1, 1, 8), "40c280ba003e00c1"),
    "bfloat16": ((0, 2, 1, 8), "48c050bfc03f20c0"),
    "float64": ((0, 99, 2, 10), "2388880b55829c0980f4"),
    "float8": ((0, 10, 1, 4), "c4b53cc2"),
    "planes": (
        (0, 17, 2, 34, 2, 52),
        "6587ec3f41fe1f907ec3f41ff102224f2f1d4f823006170ca6c05a235bc4d3e18b002d82ffb2f99e69a069a5fa199f3dcd45fc25e0f117a0b6849d1dc1fe936c6909d81fd25dcf11cd05bb25e4ef17fe4da924276070",
    ),
    "integer planes": (
        (0, 214, 1, 64, 2, 9),
        "fa1f4404294e0e3358183dfd2247072c5111365b1b4000254a0a2f5414395e1e4303284d0d3257173cfc2146062b5010355a1a3fff2449092e5313385d1d4202037fefffffffbff7ff",
    ),
    "counter": ((0, 262, 1, 2), "b004"),
    "integers": ((0, 263, 1, 8), "ffffffff70110100"),
    "booleans": ((0, 297, 1, 1), "a0"),
    "nothing": ((0, 0, 0, 0), ""),
    "codebook": ((2, 3, 1, 2, 0, 0, 2, 10), "16102383e4307f83ec437140"),
    "one value": ((2, 1, 0, 0, 0, 0, 1, 4), "0000803e"),
    "bitmap": (
        (1, 0, 11, 0, 1, 3, 0, 16, 0, 1, 0, 1, 1, 11, 2, 10),
        "6dad80000050c04008e0308820d800142783d7303ea7ccd4e440",
    ),
    "index": ((1, 5, 11, 0, 2, 5, 0, 0, 2, 27), "222214dff82382f808d7302be095a61fa1793fd36c499e39854156724ce8c360"),
    "all zero": ((1, 1, 0, 0, 0, 0, 0, 0, 0, 0), ""),
    "deep compression": (
        (1, 98, 168, 0, 1, 3, 1, 5, 2, 33, 2, 4, 1, 42, 0, 17, 0, 1, 1, 4),
        "6db6db18c6318c6302d4aa805575542aaa54002a550000eaaa0555d000aaa40002a55402abaaa155508e4d8e4d8e639363936398e0d8d8f4d836363d36393936393639393639363938363836363d8e0d8d8f4d00c1be3e41",
    ),
    "levels": ((3, 0, 14, 1, 4, 0, 0, 1, 4), "0214600d0000803e"),
    "levels of rows": ((3, 2, 11, 1, 2, 0, 2, 1, 4), "a920003f0040"),
    "dependent levels": ((3, 1, 7, 1, 4, 0, 0, 1, 4), "452832200000003f"),
    "levels of a type": ((3, 0, 4, 1, 1, 0, 33, 1, 2), "b0662e"),
    "all zero levels": ((3, 0, 1, 0, 0, 0, 0, 1, 4), "0000803f"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_exact_bytes(name):
    encoding = ENCODINGS[name]()
    spec, data = WRITTEN[name]
    written = payload.encode(encoding, CODERS)
    assert written.spec == spec
    assert written.data.hex() == data
    read = payload.decode(encoding.shape, spec, bytes.fromhex(data))
    assert _bits(read.to_tensor()) == _bits(encoding.to_tensor())
    assert read.dtype == encoding.dtype


def _bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


LARGE = {
    "turned": lambda: Dense(_ramp(64), torch.float16),
    "turned bfloat16": lambda: Dense(_ramp(64).bfloat16()),
    "turned float32": lambda: Dense(_strange(torch.tensor([0x7FC00001, -0x3FFFFF, 0x7F800000, -0x80000000, 1] * 16))),
}
"""In forms that writers take for more values than are good to read here; so they are asked to."""

WRITTEN_LARGE = {
    "turned": (
        (0, 529, 2, 30, 2, 50),
        "25507c860f9183e4ea2c419ecd329d45282466b94ea295123359e75312802d815f3ee5d7e6156594e534fe2a2d2439b85de84bb2951ee0f334930d63fcb7287d305e3d25dd75e3e30fde93851fa2d960",
    ),
    "turned bfloat16": (
        (0, 594, 1, 64, 2, 23),
        "91a180418110e1c06041107941b0290028b14078114061c1e011804081a090c170490108f1805851008161a0310120c1207021306901d0190038918088e160512d81e8d2492d3cb94d3e594e9e59a72e534fd6534f2cd0",
    ),
    "turned float32": (
        (0, 528, 2, 22, 0, 1, 2, 13, 2, 14),
        "05ec6b1ac6b1ac6b1ac6b1ac6b1ac6b1ac6b1ac6b180002381ffc6318c6318c6318c63182380fef9ce739ce739ce739ce700",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_exact_bytes_of_the_forms_of_large_tensors(name):
    encoding, (spec, data) = LARGE[name](), WRITTEN_LARGE[name]
    assert payload.encode(encoding, CODERS, like=spec).data.hex() == data
    read = payload.decode(encoding.shape, spec, bytes.fromhex(data))
    assert _bits(read.to_tensor()) == _bits(encoding.to_tensor())
