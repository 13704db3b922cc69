"""The closed list: every operator exists, is pure by its schema, and cannot be told to draw, write or run away."""

import pytest
import torch

from featherweight.errors import FormatError
from featherweight.graph import ops

SEEDED = {"scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu"}  # only with dropout, which is fixed
ATEN = [name for name in ops.names() if isinstance(ops.lookup(name).call, torch._ops.OpOverload)]
KINDS = {"tensor", "int", "float", "bool", "number", "str", "dtype", "tensors"}


def test_every_operator_is_a_pure_function_by_its_schema():
    assert {name: faults for name in ATEN if (faults := list(_faults(name)))} == {}


def _faults(name):
    op = ops.lookup(name)
    schema, tags = op.call._schema, set(op.call.tags)
    if schema.is_mutable or any(item.alias_info is not None and item.alias_info.is_write for item in schema.arguments):
        yield "writes to an argument"
    if torch.Tag.data_dependent_output in tags:
        yield "gives numbers out of tensors"
    if torch.Tag.nondeterministic_seeded in tags and name not in SEEDED:
        yield "draws random numbers"
    if not {parameter.kind for parameter in op.parameters} <= KINDS:
        yield "takes something that a file cannot hold"
    if not op.results or not set(op.results) <= {"tensor", "tensors", "int"}:
        yield "gives something that a graph cannot hold"


def test_nothing_in_the_list_returns_memory_that_was_never_written():
    assert not [name for name in ops.names() if "empty" in name or "strided" in name or "resize" in name]


def test_nothing_in_the_list_is_random():
    words = ("rand", "dropout", "bernoulli", "normal_", "multinomial", "rrelu", "fractional")
    assert not [name for name in ops.names() if any(word in name for word in words)]


def test_the_list_is_broad_and_has_no_name_twice():
    names = ops.names()
    assert len(set(names)) == len(names) >= 250
    assert all(ops.is_allowed(name) for name in names)
    assert not ops.is_allowed("relu_") and not ops.is_allowed("os.system")
    with pytest.raises(KeyError):
        ops.lookup("from_file")


def test_the_first_overload_of_a_packet_has_the_short_name():
    """Pinned: these names are in files."""
    assert ops.name_of("add", "Tensor") == "add"
    assert ops.name_of("add", "Scalar") == "add.Scalar"
    assert ops.name_of("conv2d", "default") == "conv2d"
    assert ops.name_of("conv2d", "padding") == "conv2d.padding"
    assert ops.name_of("max", "default") == "max.default"
    assert ops.name_of("add_", "Tensor") is None


def test_machine_details_are_no_parameters():
    for name, dropped in (("zeros", "device"), ("to", "non_blocking"), ("layer_norm", "cudnn_enable")):
        assert dropped not in {parameter.name for parameter in ops.lookup(name).parameters}
    assert ops.lookup("zeros").factory and not ops.lookup("zeros_like").factory


def test_defaults_are_filled_in():
    conv = ops.lookup("conv2d")
    assert conv.arguments(("x", "w"))["stride"] == (1, 1)
    assert ops.lookup("batch_norm").arguments(("x",) + (None,) * 4)["eps"] == 1e-5
    assert ops.lookup("arange").arguments((3,)) == {"end": 3, "dtype": torch.int64}


def test_batch_norm_never_writes_to_its_statistics():
    fixed = dict(ops.lookup("batch_norm").fixed)
    assert fixed["training"]({"running_mean": "given"}) is False
    assert fixed["training"]({"running_mean": None}) is True
    assert dict(ops.lookup("lstm").fixed) == {"dropout": 0.0, "train": False}


@pytest.mark.parametrize(
    ("name", "args", "result"),
    [
        ("int_add", (2, 3), 5),
        ("int_sub", (2, 3), -1),
        ("int_mul", (2, 3), 6),
        ("int_floordiv", (7, 2), 3),
        ("int_mod", (7, 4), 3),
        ("int_neg", (7,), -7),
        ("int_max", (7, 4), 7),
        ("int_min", (7, 4), 4),
        ("getitem", ([5, 6], 1), 6),
    ],
)
def test_arithmetic_on_sizes(name, args, result):
    assert ops.lookup(name).call(*args) == result


def test_sizes_do_not_grow_beyond_64_bits():
    with pytest.raises(FormatError, match="64 bits"):
        ops.lookup("int_mul").call(2**40, 2**40)
