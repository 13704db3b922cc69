"""What is saved comes back, whatever it is: properties over types, shapes, encodings, names, extras and graphs.

FEATHERWEIGHT_EXAMPLES sets the examples a property (default 20).
"""

import copy
import math
import os
import struct
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featherweight.container.names import fault
from featherweight.container.pack import load_bytes, save_bytes
from featherweight.container.reader import Reader
from featherweight.container.source import MemorySource
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.constant import Constant
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.raw import Raw
from featherweight.errors import FormatError, UsageError
from featherweight.frontends.safetensors import RESERVED, holder_of
from featherweight.graph.plain import Ref, from_plain

modest = settings(max_examples=int(os.environ.get("FEATHERWEIGHT_EXAMPLES", "20")))

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
NARROW = [torch.float8_e4m3fn, torch.float8_e5m2]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]

shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)
full_shapes = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 2**31)
names = st.text(min_size=1, max_size=12).filter(lambda name: fault(name) is None and RESERVED not in name.split("."))
plain_names = st.text("abcdefgh_0123", min_size=1, max_size=6)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random_floats(shape, dtype, seed):
    return torch.randn(shape, generator=generator(seed)).to(dtype)


def random_integers(shape, dtype, seed):
    information = torch.iinfo(dtype)
    low, high = max(information.min, -(2**40)), min(information.max, 2**40)
    return torch.randint(low, high, shape, generator=generator(seed), dtype=torch.int64).to(dtype)


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def same(left, right):
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(bits(left), bits(right))


def held(tensors):
    """A model that holds these tensors and encodings."""
    values = {name: item.to_tensor() if isinstance(item, Encoding) else item for name, item in tensors.items()}
    model = holder_of({name: value.detach().clone() for name, value in values.items()})
    attach(model, {name: item for name, item in tensors.items() if isinstance(item, Encoding)})
    return model


def check(model, **options):
    """Saves and loads a model, compares all tensors bit by bit, and that saving again gives the same bytes."""
    data = save_bytes(model, **options)
    again = load_bytes(data, nonfinite=options.get("nonfinite", "reject"))
    wanted, found = model.state_dict(), again.state_dict()
    assert list(found) == list(wanted)
    for name in wanted:
        assert same(found[name], wanted[name]), name
    assert save_bytes(again, **options) == data
    return again


# plain tensors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS + NARROW, ids=str)
@modest
@given(shape=shapes, seed=seeds)
def test_floating_tensors(dtype, shape, seed):
    check(held({"a": random_floats(shape, dtype, seed)}))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@modest
@given(shape=shapes, seed=seeds)
def test_integer_tensors(dtype, shape, seed):
    check(held({"a": random_integers(shape, dtype, seed)}))


@modest
@given(shape=shapes, seed=seeds)
def test_boolean_tensors(shape, seed):
    check(held({"a": random_floats(shape, torch.float32, seed) > 0}))


@modest
@given(shape=shapes, value=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_tensors_of_one_value(shape, value):
    check(held({"a": torch.full(shape, value)}))


@modest
@given(value=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_scalars(value):
    check(held({"a": torch.tensor(value)}))


@modest
@given(words=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_any_bits_of_float32_with_nonfinite_allowed(words):
    raw = bytearray(struct.pack(f"<{len(words)}I", *words))
    check(held({"a": torch.frombuffer(raw, dtype=torch.float32).clone()}), nonfinite="allow")


@modest
@given(
    shape=full_shapes, seed=seeds, value=st.sampled_from([math.nan, math.inf, -math.inf]), dtype=st.sampled_from(FLOATS)
)
def test_a_number_that_is_not_finite_is_refused_by_both_sides(shape, seed, value, dtype):
    tensor = random_floats(shape, dtype, seed)
    tensor.view(-1)[seed % tensor.numel()] = value
    model = held({"fine": torch.ones(2), "spoilt": tensor})
    with pytest.raises(UsageError, match=r"spoilt: the tensor holds NaN or infinity"):
        save_bytes(model)
    data = save_bytes(model, nonfinite="allow")
    with pytest.raises(FormatError) as caught:
        load_bytes(data)
    assert caught.value.code == "E_NONFINITE"


@modest
@given(shape=full_shapes, seed=seeds)
def test_tensors_that_are_views(shape, seed):
    whole = random_floats((*shape, 4), torch.float32, seed)
    model = held({"kept": torch.ones(1)})
    model.view = nn.Parameter(whole.transpose(0, -1)[..., ::2] if len(shape) > 1 else whole[..., 1:3])
    data = save_bytes(model)
    assert same(load_bytes(data).state_dict()["view"], model.view)


# encodings -------------------------------------------------------------------------------------------------------


def random_mask(shape, seed, density):
    return torch.rand(shape, generator=generator(seed + 1)) < density


@modest
@given(shape=shapes, seed=seeds, stored=st.sampled_from([torch.float16, torch.bfloat16]))
def test_dense_in_a_narrower_type(shape, seed, stored):
    model = check(held({"a": Dense(random_floats(shape, torch.float32, seed), stored)}))
    assert encodings_of(model)["a"].stored == stored


@modest
@given(shape=full_shapes, seed=seeds, density=st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0]))
def test_sparse(shape, seed, density):
    weight = random_floats(shape, torch.float32, seed)
    mask = random_mask(shape, seed, density)
    model = check(held({"a": Sparse.of(weight, mask)}))
    assert torch.equal(encodings_of(model)["a"].mask, mask)


@modest
@given(seed=seeds, size=st.integers(1, 3000), density=st.floats(0, 0.02))
def test_very_sparse(seed, size, density):
    check(held({"a": Sparse.of(random_floats((size,), torch.float32, seed), random_mask((size,), seed, density))}))


@modest
@given(shape=full_shapes, seed=seeds, count=st.integers(1, 300))
def test_codebook(shape, seed, count):
    weight = random_floats(shape, torch.float32, seed)
    model = check(held({"a": Codebook.of(weight, random_floats((count,), torch.float32, seed + 1))}))
    assert encodings_of(model)["a"].centroids.shape == (count,)


@modest
@given(shape=full_shapes, seed=seeds, count=st.integers(1, 40), stored=st.sampled_from([torch.float16, torch.bfloat16]))
def test_codebook_of_narrow_values(shape, seed, count, stored):
    centroids = Dense(random_floats((count,), stored, seed).float(), stored)
    check(held({"a": Codebook.of(random_floats(shape, torch.float32, seed), centroids)}))


@modest
@given(shape=full_shapes, seed=seeds, count=st.integers(1, 33), density=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_sparse_over_codebook(shape, seed, count, density):
    weight, mask = random_floats(shape, torch.float32, seed), random_mask(shape, seed, density)
    shared = Codebook.of(weight[mask], random_floats((count,), torch.float32, seed + 2))
    model = check(held({"a": Sparse(mask, shared)}))
    assert isinstance(encodings_of(model)["a"].inner, Codebook)


@modest
@given(seed=seeds, entries=st.integers(1, 8), count=st.integers(1, 400))
def test_all_weights_on_one_of_many_values(seed, entries, count):
    centroids = random_floats((entries,), torch.float32, seed)
    check(held({"a": Codebook(torch.full((count,), seed % entries), centroids)}))


@modest
@given(shape=full_shapes, seed=seeds, coders=st.sets(st.sampled_from([Constant, Raw, Huffman])))
def test_any_choice_of_coders(shape, seed, coders):
    weight = random_floats(shape, torch.float32, seed)
    model = held({"a": Codebook.of(weight, torch.linspace(-1, 1, 5)), "b": weight})
    data = save_bytes(model, coders=[coder() for coder in coders])
    assert len(data) >= len(save_bytes(model))
    assert all(same(value, model.state_dict()[name]) for name, value in load_bytes(data).state_dict().items())


@modest
@given(shape=full_shapes, seed=seeds)
def test_values_trained_further_are_what_is_saved(shape, seed):
    model = held({"a": Codebook.of(random_floats(shape, torch.float32, seed), torch.linspace(-2, 2, 3))})
    model.a.data.mul_(0.5)
    check(model)


# names, ties, extras ---------------------------------------------------------------------------------------------


@modest
@given(st.dictionaries(names, shapes, max_size=5), seeds)
def test_any_names(found, seed):
    check(held({name: random_floats(shape, torch.float32, seed) for name, shape in found.items()}))


@modest
@given(st.text(max_size=6).filter(lambda name: fault(name) is not None))
def test_bad_names_are_refused_when_saving(name):
    model = nn.Module()
    model._parameters[name] = nn.Parameter(torch.ones(1))
    with pytest.raises(UsageError, match=r"cannot be kept|normalisation|surrogates"):
        save_bytes(model)


@modest
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), seeds)
def test_tied_tensors_are_kept_once(owners, seed):
    tensors = [random_floats((5,), torch.float32, seed + index) for index in range(4)]
    model = holder_of({f"t{place}": tensors[owner] for place, owner in enumerate(owners)})
    data = save_bytes(model)
    with Reader(MemorySource(data)) as reader:
        assert len(reader.tensors) == len(set(owners))
        assert len(reader.tensors) + len(reader.aliases) == len(owners)
    again = load_bytes(data)
    for place, owner in enumerate(owners):
        assert same(again.state_dict()[f"t{place}"], tensors[owner])
    assert save_bytes(again) == data


@modest
@given(st.dictionaries(names, st.binary(max_size=50), max_size=6))
def test_any_extras(extras):
    data = save_bytes(held({"a": torch.ones(2)}), extras=extras)
    with Reader(MemorySource(data)) as reader:
        assert dict(reader.extras) == extras
        assert list(reader.extras) == list(extras)


@modest
@given(st.integers(65_500, 65_600), st.integers(0, 3))
def test_sections_around_the_size_from_which_they_are_aligned(size, before):
    extras = {"pad": b"x" * before, "big": bytes(size), "last": b"y"}
    data = save_bytes(nn.Module(), extras=extras)
    with Reader(MemorySource(data)) as reader:
        reader.verify()
        assert dict(reader.extras) == extras
        assert (reader.sections[1].start % 64 == 0) or size < 65_536


# files as a whole ------------------------------------------------------------------------------------------------


@modest
@given(st.dictionaries(plain_names, full_shapes, min_size=1, max_size=4), seeds)
def test_lengths_and_checksums_are_what_the_page_says(found, seed):
    data = save_bytes(held({name: random_floats(shape, torch.float32, seed) for name, shape in found.items()}))
    length, decoded, whole, header, own = struct.unpack_from("<IQQII", data, 12)
    assert (whole, own, header) == (len(data), zlib.crc32(data[:36]), zlib.crc32(data[40 : 40 + length]))
    assert decoded == sum(4 * math.prod(shape) for shape in found.values())


@modest
@given(st.dictionaries(plain_names, full_shapes, min_size=1, max_size=4), seeds)
def test_single_tensors_equal_the_loaded_model(found, seed):
    data = save_bytes(held({name: random_floats(shape, torch.float32, seed) for name, shape in found.items()}))
    model = load_bytes(data).state_dict()
    with Reader(MemorySource(data)) as reader:
        for name in reversed(list(found)):
            assert same(reader.tensor(name), model[name])


@modest
@given(seed=seeds, place=st.integers(0, 10**9))
def test_any_flipped_bit_is_noticed(seed, place):
    data = bytearray(save_bytes(held({"a": random_floats((3, 3), torch.float32, seed)}), extras={"e": b"x"}))
    data[place // 8 % len(data)] ^= 1 << place % 8
    with pytest.raises(FormatError):
        load_bytes(bytes(data))


@modest
@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), seeds)
def test_graphs(inputs, outputs, bias, seed):
    layer = nn.Linear(inputs, outputs, bias=bias)
    used = ["weight", "bias"][: 1 + bias]
    node = [0, Ref(0), *(Ref(1 + place) for place in range(len(used)))]
    graph = from_plain([[["x", [None, inputs]]], len(used), ["linear"], [node], Ref(1 + len(used))], used)
    data = save_bytes(layer, graph=graph)
    again = load_bytes(data)
    example = random_floats((3, inputs), torch.float32, seed)
    assert torch.equal(again(example), layer(example))
    assert again.graph == graph
    assert save_bytes(again) == data
    assert save_bytes(copy.deepcopy(again)) == data


@modest
@given(st.permutations(["a", "b", "c"]), seeds)
def test_graphs_that_use_tensors_in_another_order(order, seed):
    model = held({name: random_floats((2,), torch.float32, seed + place) for place, name in enumerate("abc")})
    nodes = [[0, Ref(0), Ref(1)], [0, Ref(4), Ref(2)], [0, Ref(5), Ref(3)]]
    graph = from_plain([[["x", [2]]], 3, ["add"], nodes, Ref(6)], list(order))
    again = load_bytes(save_bytes(model, graph=graph))
    assert list(again.state_dict()) == list(order)
    assert torch.equal(
        again(torch.zeros(2)),
        ((model.state_dict()[order[0]] + model.state_dict()[order[1]]) + model.state_dict()[order[2]]),
    )


@modest
@given(st.dictionaries(plain_names, full_shapes, min_size=1, max_size=4), seeds)
def test_loading_into_a_model(found, seed):
    tensors = {name: random_floats(shape, torch.float32, seed) for name, shape in found.items()}
    target = holder_of({name: torch.zeros_like(value) for name, value in tensors.items()})
    assert load_bytes(save_bytes(held(tensors)), into=target) is target
    assert all(same(target.state_dict()[name], value) for name, value in tensors.items())
