"""What is known of overloads: side effects, questions about data, names, the one form of arguments."""

import pytest
import torch

from featherweight.errors import FormatError, UsageError
from featherweight.graph import ops
from featherweight.graph._record_calls import called, foreign_arguments, foreign_name, listed_arguments
from featherweight.graph.ir import Graph, Node, Ref, Signature
from featherweight.graph.plain import from_plain, to_plain

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("function", "packet", "overload", "in_place"),
    [
        (aten.relu_.default, "relu", "default", True),
        (aten.add_.Tensor, "add", "Tensor", True),
        (aten.zero_.default, "fill", "Scalar", True),
        (aten.copy_.default, "copy", "default", True),
        (aten.masked_fill_.Scalar, "masked_fill", "Scalar", True),
        (aten.random_.default, "random", "default", True),
        (aten.resize_.default, "resize", "default", True),
        (aten.__and__.Tensor, "__and__", "Tensor", False),
        (aten.add.out, "add", "out", False),
        (aten.add.Tensor, "add", "Tensor", False),
    ],
)
def test_operators_that_write_have_a_function(function, packet, overload, in_place):
    known = called(function)
    assert (known.packet, known.overload, known.in_place) == (packet, overload, in_place)
    assert bool(known.written) == (in_place or overload == "out")


def test_questions_about_data_and_views_are_told_apart():
    assert called(aten.item.default).reads_data
    assert called(aten._local_scalar_dense.default).reads_data
    assert called(aten.equal.default).reads_data
    assert called(aten.nonzero.default).shaped_by_data
    assert not called(aten.eq.Tensor).reads_data
    assert called(aten.select.int).views
    assert not called(aten.relu.default).views
    assert not called(aten.relu_.default).views


def test_arguments_are_brought_into_one_form():
    batch_norm = ops.lookup("batch_norm")
    given = called(aten.batch_norm.default).given((1, 2, 3, 4, 5, False, 0.1, 1e-5, True), {})
    assert listed_arguments(batch_norm, given) == (1, 2, 3, 4, 5)
    assert listed_arguments(batch_norm, {"input": 1}) is None
    assert listed_arguments(ops.lookup("sum"), {"self": 1, "dim": [0, 1], "keepdim": False}) == (1, (0, 1))
    assert listed_arguments(ops.lookup("leaky_relu"), {"self": 1, "negative_slope": 1}) == (1, 1.0)


def test_other_operators_have_plain_arguments_by_the_names_of_their_schema():
    known = called(aten.bincount.default)
    name = foreign_name(known)
    assert name == "aten::bincount.default"
    args = foreign_arguments(ops.foreign(name), known.given((Ref(0),), {"minlength": 3}))
    assert Node(name, args).arguments() == {"self": Ref(0), "weights": None, "minlength": 3}
    random = called(aten.rand.default)
    args = foreign_arguments(
        ops.foreign("aten::rand.default"), random.given(([2, 3],), {"device": torch.device("cpu")})
    )
    assert Node("aten::rand.default", args).arguments() == {"size": (2, 3), "dtype": None}


def test_unknown_operators_are_refused():
    for name in ("aten::no_such.default", "nobody::add.Tensor", "aten::add.NoSuch", "add.Tensor::"):
        with pytest.raises(UsageError, match="knows no operator"):
            ops.foreign(name)


def test_files_refuse_every_operator_outside_of_the_list():
    for name, args in (("aten::bincount.default", (Ref(0),)), ("opaque::Block", ((Ref(0),),))):
        node = Node(name, args)
        assert node.arguments()
        graph = Graph(("x",), (Signature((2,), torch.int64),), (), (node,), Ref(1))
        with pytest.raises(FormatError, match="E_GRAPH: an operator that is not in the list"):
            from_plain([[["x", [2], "int64"]], [], [name], [[0, Ref(0)]], Ref(1)])
        with pytest.raises(FormatError, match="E_GRAPH: an operator that is not in the list"):
            to_plain(graph)


def test_opaque_nodes_are_not_run():
    with pytest.raises(UsageError, match="cannot be run"):
        ops.foreign("opaque::Block").call([1])
