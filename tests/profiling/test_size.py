"""Encoded size: the bytes that the encodings' payload really has."""

import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import encode
from featherweight.encodings.sparse import Sparse
from featherweight.profiling.size import EncodedSize, dense_bytes, encoding_words


@pytest.fixture
def compressed():
    """A linear layer, 90 % pruned, sixteen shared values; and a bias as it was."""
    model = nn.Sequential(nn.Linear(100, 50))
    weight = model[0].weight
    mask = weight.abs() > weight.abs().flatten().kthvalue(4500).values
    inner = Codebook.of(weight.detach()[mask], torch.linspace(-0.1, 0.1, 16))
    attach(model, {"0.weight": Sparse(mask, inner)})
    return model, Sparse(mask, inner)


def test_the_bytes_are_those_of_the_payload(compressed):
    model, encoding = compressed
    bias = len(encode(Dense(model[0].bias.detach())).data)
    assert EncodedSize().measure(model).parts == {"0": len(encode(encoding).data) + bias}
    assert EncodedSize().measure(model).value < 1000


def test_counters_of_training_are_not_in_the_file():
    normal = nn.BatchNorm1d(64)
    plain = EncodedSize().measure(normal).value
    normal.num_batches_tracked.fill_(2**40)
    assert EncodedSize().measure(normal).value == plain


def test_a_type_without_encoding_counts_as_it_lies_in_memory():
    model = nn.Module()
    model.register_buffer("wave", torch.zeros(3, dtype=torch.complex64))
    assert EncodedSize().measure(model).value == 24


def test_words_go_from_the_outside_in(compressed):
    words = encoding_words(compressed[1]).split(" > ")
    assert words[0].startswith("sparse")
    assert words[1:] == ["codebook 16", "dense float32"]


def test_the_reference_is_32_bits():
    assert dense_bytes(266_610) == 1_066_440
