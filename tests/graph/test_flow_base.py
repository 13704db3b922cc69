"""What rules work with: cells by argument, counts, roles, barriers."""

import numpy as np
import torch

from featherweight.graph._flow_base import RULES, Count, Site, State, axis, pinned, replaced, rule
from featherweight.graph.cells import Cells
from featherweight.graph.ir import Graph, Meta, Node, Ref, Signature

WEIGHT, TURNED, RESULT = 1, 2, 3
INPUT_AND_WEIGHT = (Ref(0), Ref(WEIGHT))


def site(op="linear", args=INPUT_AND_WEIGHT, meta=(2, 4)):
    """A node behind a tensor (4, 3), an input (2, 3) and the tensor turned round."""
    float32 = torch.float32
    turned = Node("t", (Ref(WEIGHT),), meta=Meta((3, 4), float32))
    node = Node(op, args, meta=Meta(meta, float32), scope="a")
    graph = Graph(
        ("x",), (Signature((2, 3), float32),), ("w",), (turned, node), Ref(RESULT),
        sizes=(Meta((2, 3), float32),), tensor_metas=(Meta((4, 3), float32),),
    )  # fmt: skip
    cells = Cells()
    weight = (cells.fresh(4), cells.fresh(3))
    state = State(graph, cells, {0: pinned((2, 3)), WEIGHT: weight, TURNED: weight[::-1]})
    return Site(state, RESULT, node)


def test_an_axis_is_counted_from_the_front():
    assert (axis(-1, pinned((2, 3))), axis(1, pinned((2, 3)))) == (1, 1)


def test_dims_are_replaced_by_none_one_or_several():
    dims = pinned((2, 3))
    assert [len(ids) for ids in replaced(dims, -1)] == [2]
    assert [len(ids) for ids in replaced(dims, 0, np.zeros(5), np.zeros(6))] == [5, 6, 3]


def test_a_site_knows_arguments_shapes_and_its_place():
    here = site()
    assert here.given["bias"] is None
    assert here.shape(here.dims(Ref(WEIGHT))) == (4, 3)
    assert here.out_shape() == (2, 4)
    assert (here.place, Site(here.state, 2, here.state.graph.nodes[0]).place) == ("a", "the network itself")


def test_pins_say_operator_and_module():
    here = site()
    here.pin(here.dims(Ref(WEIGHT))[0], "the reason")
    assert [reason for _, reason in here.cells.reasons] == ["the reason (linear in a)"]


def test_roles_are_followed_back_to_the_tensor_by_dimension():
    here = site()
    here.role(Ref(TURNED), "in", "out")
    here.role(Ref(WEIGHT), "each", "each")  # the first that says so counts
    here.role(None, "each")
    assert here.state.roles == {("w", 1): "in", ("w", 0): "out"}


def test_integers_that_are_computed_pin_what_they_count():
    here = site("reshape", (Ref(WEIGHT), (Ref(0), 4)))
    rows, columns = here.dims(Ref(WEIGHT))
    here.count("shape", 1, columns)
    here.count("shape", 0, rows)
    assert [(item.parameter, item.position, item.ids.tolist()) for item in here.state.counts] == [
        ("shape", 1, columns.tolist())
    ]
    assert not here.cells.find(rows).any()


def test_a_barrier_pins_all_and_takes_back_what_its_rule_counted():
    here = site("reshape", (Ref(WEIGHT), (3, 4)), meta=(3, 4))
    other = Count(TURNED, "dims", 0, here.dims(Ref(WEIGHT))[0])
    here.state.counts.append(other)
    here.count("shape", 0, here.dims(Ref(WEIGHT))[0])
    result = here.barrier()
    assert here.shape(result) == (3, 4)
    assert not any(ids.any() for ids in result)
    assert not any(here.cells.find(ids).any() for ids in here.dims(Ref(WEIGHT)))
    assert here.state.barriers == [("reshape", "a")]
    assert here.state.counts == [other]


def test_a_barrier_that_touches_nothing_is_none():
    here = site("relu", (Ref(0),), meta=(2, 3))
    here.barrier()
    assert here.state.barriers == []


def test_a_rule_is_known_by_all_its_names(monkeypatch):
    monkeypatch.setattr("featherweight.graph._flow_base.RULES", table := dict(RULES))

    @rule("demo::one", "demo::two")
    def follow(here):
        return here.fixed()

    assert table["demo::one"] is table["demo::two"] is follow
    assert "demo::one" not in RULES
