import copy

import pytest
import torch
from tests.techniques.pruning.conftest import NETWORKS
from torch import nn

from featherweight.core.examples import Batch
from featherweight.errors import TaskError, TechniqueError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning._scores import Gate, filters, gates, gates_of, influences, scales


class Gated(nn.Module):
    """What the module gives, times a gate for each channel."""

    def __init__(self, inner, channels):
        super().__init__()
        self.inner, self.gate = inner, nn.Parameter(torch.ones(channels))

    def forward(self, x):
        out = self.inner(x)
        return out * (self.gate.view(-1, *(1,) * (out.dim() - 2)) if out.dim() > 2 else self.gate)


def looked(model, images):
    known = anatomy(model, images.inputs[:2])
    return known, list(known.groups)


def test_gates_stand_behind_the_norm_or_behind_the_layer(images):
    known, groups = looked(images.fresh("plain"), images)
    found = {gate.weight: gate for gate in gates(known)}
    assert found["0.weight"].parts == {("1.weight", 0), ("1.bias", 0)}
    assert found["0.weight"].scale == "1.weight"
    assert found["8.weight"] == Gate("8.weight", frozenset({("8.weight", 0), ("8.bias", 0)}))
    assert [len(gates_of(group, gates(known))) for group in groups] == [1, 1, 1]


def test_a_norm_that_is_not_right_behind_is_no_gate(images):
    known, _ = looked(images.fresh("concat"), images)
    assert {gate.scale for gate in gates(known)} == {None}


def test_a_stream_has_a_gate_in_each_layer_that_writes_it(images):
    known, _ = looked(images.fresh("residual"), images)
    stream = known.group("conv1")
    assert {gate.weight for gate in gates_of(stream, gates(known))} == {"conv1.weight", "a2.weight", "b2.weight"}


@pytest.mark.parametrize(("layer", "group"), [("1", "0"), ("4", "3"), ("8", "8")])
def test_they_equal_real_gates(images, layer, group):
    model = images.trained("plain").eval()
    context = images.context()
    known, _ = looked(model, images)
    chosen = known.group(group)
    rows = influences(model, known, [chosen], context, examples=40, together=8)[0]
    gated = copy.deepcopy(model)
    gated[int(layer)] = Gated(gated[int(layer)], len(chosen))
    expected = []
    for start in range(0, 40, 8):
        loss = nn.functional.cross_entropy(gated(images.inputs[start : start + 8]), images.labels[start : start + 8])
        expected.append(torch.autograd.grad(loss, gated[int(layer)].gate)[0].double())
    assert torch.allclose(rows, torch.stack(expected), rtol=1e-4, atol=1e-7)


def test_single_examples_add_up_to_batches(images):
    model = images.trained("lstm")
    known, groups = looked(model, images)
    alone = influences(model, known, groups, images.context(), examples=64, together=1)
    batch = influences(model, known, groups, images.context(), examples=64, together=None)
    for one, all_of_them in zip(alone, batch, strict=True):
        assert one.shape[0] == 64
        assert all_of_them.shape[0] == 1
        assert torch.allclose(one.mean(0), all_of_them[0], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_model_is_left_as_it_was(images, name):
    model = images.fresh(name)
    first = next(iter(model.parameters()))
    first.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    known, groups = looked(model, images)
    rows = influences(model, known, groups, images.context(), examples=16, together=None)
    assert all(bool(values.abs().sum() > 0) for values in rows)
    assert not first.requires_grad
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_gradients_that_are_not_numbers_are_told(images):
    model = images.fresh("plain")
    with torch.no_grad():
        model[8].weight[0, 0] = float("nan")
    known, groups = looked(model, images)
    with pytest.raises(TechniqueError, match="not finite"):
        influences(model, known, groups, images.context(), examples=16, together=None)


def test_without_training_data_there_are_none(images):
    model = images.fresh("plain")
    known, groups = looked(model, images)
    context = images.context()
    context.task = type(context.task)(model=model, example=images.inputs[:2], validation=context.task.validation)
    with pytest.raises(TaskError, match="train"):
        influences(model, known, groups, context, examples=16, together=None)


def test_the_loss_is_the_task_s(images):
    model = images.fresh("plain")
    known, groups = looked(model, images)
    context = images.context()
    usual = influences(model, known, groups, context, examples=32, together=None)[0]
    context.loss = lambda output, target: 3 * nn.functional.cross_entropy(output, target)
    assert torch.allclose(influences(model, known, groups, context, examples=32, together=None)[0], 3 * usual)


def test_nested_inputs_are_cut_into_examples(images):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(64, 8), nn.Linear(8, 10)

        def forward(self, parts):
            return self.head(torch.relu(self.inner(parts["a"].flatten(1))))

    model, context = Two(), images.context()
    x, y = images.inputs[:6], images.labels[:6]
    context.batches = lambda split, limit: iter([Batch(({"a": x},), y)])
    known = anatomy(model, ({"a": x[:2]},))
    assert influences(model, known, known.groups, context, examples=6, together=1)[0].shape == (6, 8)


def test_filters_are_the_rows_of_all_layers(images):
    model = images.fresh("residual")
    known, _ = looked(model, images)
    rows = filters(model, known.group("conv1"))
    layers = (model.conv1.weight, model.a2.weight, model.b2.weight[8:24])
    assert torch.equal(rows, torch.cat([weight.detach().flatten(1) for weight in layers], dim=1).double())
    units = filters(lstm := images.fresh("lstm"), looked(lstm, images)[0].group("rnn"))
    assert units.shape == (32, 4 * (8 + 32 + 32 + 32))


def test_scales_are_means_of_magnitudes(images):
    model = images.fresh("residual")
    with torch.no_grad():
        model.bn1.weight.fill_(-0.5)
        model.an2.weight.fill_(1.0)
        model.bn_b2.weight.fill_(3.0)
    known, _ = looked(model, images)
    assert torch.allclose(scales(model, known, [known.group("conv1")])[0], torch.full((16,), 1.5).double())
    plain = images.fresh("attention")
    known, groups = looked(plain, images)
    assert all(bool((values == 0).all()) for values in scales(plain, known, groups))
