"""The graph as data: numbering, lookups, users."""

import torch
from torch import nn

from featherweight.graph.ir import Meta, Ref, leaves, map_refs
from featherweight.graph.trace import trace


def small():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    return trace(model, torch.randn(2, 4))


def test_values_are_numbered_inputs_tensors_nodes():
    graph = small()
    assert graph.inputs == ("input",)
    assert graph.tensors == ("0.weight", "0.bias", "2.weight")
    assert [node.op for node in graph.nodes] == ["linear", "relu", "linear"]
    assert graph.nodes[0].args == (Ref(0), Ref(1), Ref(2))
    assert graph.first_node == 4 and graph.outputs == Ref(6)


def test_a_ref_leads_to_node_tensor_or_meta():
    graph = small()
    assert graph.node(Ref(4)) is graph.nodes[0] and graph.node(Ref(3)) is None
    assert graph.tensor_name(Ref(3)) == "2.weight"
    assert graph.tensor_name(Ref(0)) is None and graph.tensor_name(Ref(4)) is None
    assert graph.meta(Ref(0)) == Meta((2, 4), torch.float32)
    assert graph.meta(Ref(2)) == Meta((3,), torch.float32)
    assert graph.meta(Ref(6)) == Meta((2, 2), torch.float32)


def test_users_are_the_nodes_that_read_a_value():
    assert small().users() == {0: [4], 1: [4], 2: [4], 4: [5], 3: [6], 5: [6]}


def test_arguments_come_by_name_with_defaults():
    arguments = small().nodes[2].arguments()
    assert arguments == {"input": Ref(5), "weight": Ref(3), "bias": None}


def test_trees_of_refs():
    tree = {"a": (Ref(1), [Ref(2), None]), "b": 3}
    assert [ref.index for ref in leaves(tree)] == [1, 2]
    assert map_refs(tree, lambda ref: ref.index * 10) == {"a": (10, [20, None]), "b": 3}
