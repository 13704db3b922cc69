"""What single calls become."""

import pytest
import torch

from featherweight.graph._rewrites import Call, Refused, rewrite
from featherweight.graph.ir import Meta

X = torch.zeros(2, 3)
KNOWN = {"x": Meta((2, 3), torch.float32), "row": Meta((3,), torch.float32), "ints": Meta((2, 3), torch.int64)}


def become(packet, overload="default", example=X, strided=False, **given):
    given = {key.rstrip("_"): value for key, value in given.items()}
    return rewrite(Call(packet, overload, given, example, strided), KNOWN.get, lambda value: value == "buffer")


@pytest.mark.parametrize(
    ("packet", "given"),
    [
        ("dropout", {"input": "x", "p": 0.5, "train": False}),
        ("dropout", {"input": "x", "p": 0.0, "train": True}),
        ("clone", {"self_": "x"}),
        ("contiguous", {"self_": "x"}),
        ("lift_fresh_copy", {"self_": "x"}),
        ("slice", {"self_": "x", "dim": 1, "start": 0, "end": 2**63 - 1}),
        ("slice", {"self_": "x"}),
        ("permute", {"self_": "x", "dims": [0, 1]}),
        ("view", {"self_": "x", "size": [2, 3]}),
        ("to", {"self_": "x", "dtype": torch.float32}),
    ],
)
def test_what_changes_nothing_gives_its_argument(packet, given):
    assert become(packet, **given) == "x"


def test_detach_stays_where_gradient_may_flow():
    assert become("detach", self_="buffer") == "buffer"
    assert become("detach", self_="x").packet == "detach"


def test_copies_stay_where_memory_is_looked_at():
    assert become("contiguous", self_="x", strided=True).packet == "contiguous"


def test_every_cast_is_one_operator():
    for packet in ("to", "_to_copy", "type_as"):
        call = become(packet, self_="ints")
        assert (call.packet, call.overload, call.given) == ("to", "dtype", {"self": "ints", "dtype": torch.float32})


def test_views_are_reshapes_and_slices_have_one_form():
    call = become("view", self_="row", size=[1, -1], example=torch.zeros(1, 3))
    assert (call.packet, call.given) == ("reshape", {"self": "row", "shape": [1, -1]})
    call = become("slice", "Tensor", self_="x", dim=0, start=0, end=1, example=torch.zeros(1, 3))
    assert call.given["start"] is None and call.given["end"] == 1


def test_overwriting_gives_the_new_values_spread_over_the_old_shape():
    assert become("copy", self_="x", src="x") == "x"
    spread = become("copy", self_="x", src="row")
    assert (spread.packet, spread.given) == ("expand_as", {"self": "row", "other": "x"})
    assert isinstance(become("copy", self_="x", src="ints"), Refused)


@pytest.mark.parametrize(
    ("packet", "overload", "given", "reason"),
    [
        ("dropout", "default", {"input": "x", "p": 0.5, "train": True}, "random"),
        ("batch_norm", "default", {"input": "x", "running_mean": "m", "training": True}, "statistics of the batch"),
        ("lstm", "input", {"input": "x", "train": True, "dropout": 0.5}, "random dropout"),
        ("scaled_dot_product_attention", "default", {"query": "x", "dropout_p": 0.1}, "random dropout"),
    ],
)
def test_what_no_graph_holds_is_refused_with_the_reason(packet, overload, given, reason):
    refused = become(packet, overload, **given)
    assert isinstance(refused, Refused) and reason in refused.reason


def test_batch_norm_without_statistics_may_use_the_batch():
    assert isinstance(become("batch_norm", input="x", running_mean=None, training=True), Call)


def test_randomised_relu_is_a_leaky_one_in_evaluation():
    call = become("rrelu", self_="x", lower=0.1, upper=0.3, training=False)
    assert (call.packet, call.given) == ("leaky_relu", {"self": "x", "negative_slope": 0.2})
    assert become("rrelu", self_="x", training=True).packet == "rrelu"  # which is in no list


def test_factories_name_their_type():
    assert become("zeros", size=[2, 3]).given["dtype"] == torch.float32
    assert become("empty", "memory_format", size=[2, 3]).packet == "zeros"
