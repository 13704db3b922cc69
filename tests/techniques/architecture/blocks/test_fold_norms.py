import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import featherweight as fw
from featherweight.container.pack import load_bytes, save_bytes
from featherweight.core.task import Task
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import TechniqueError
from featherweight.graph import surgery
from featherweight.graph.fold import Folding
from featherweight.graph.log import Log, Replacement, keep_log, log_of
from featherweight.graph.trace import trace
from featherweight.networks.classic.resnet_cifar import resnet20
from featherweight.recipes.recipe import Step
from featherweight.techniques.architecture.blocks.fold_norms import FoldNorms
from featherweight.techniques.pruning.connection.magnitude import Magnitude
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.training.context import TaskContext


def lived(model, seed=0):
    """The model in evaluation mode, with statistics and scales as training leaves them: some scales below zero."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            count = module.num_features
            module.running_mean.copy_(torch.randn(count, generator=generator))
            module.running_var.copy_(torch.rand(count, generator=generator) + 0.2)
            if module.affine:
                with torch.no_grad():
                    module.weight.copy_(torch.randn(count, generator=generator))
                    module.bias.copy_(torch.randn(count, generator=generator))
    return model.eval()


def small():
    return lived(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(216, 5),
            nn.BatchNorm1d(5),
        )
    )


IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def folded(model, inputs=IMAGES, **settings):
    context = TaskContext(Task(model=model, example=inputs[:2]))
    return FoldNorms(**settings).apply(copy.deepcopy(model), context), context.details.get("folded")


def test_outputs_stay_and_the_norms_are_gone():
    model = small()
    made, record = folded(model, half=False)
    assert record == {"1": "0", "5": "4"}
    assert torch.allclose(made(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in made.modules())
    assert sorted(made.state_dict()) == ["0.bias", "0.weight", "4.bias", "4.weight"]


def test_a_residual_network_folds_whole_and_its_file_runs():
    model = lived(resnet20())
    images = torch.randn(2, 3, 32, 32)
    made, record = folded(model, images, half=False)
    assert len(record) == 19
    wanted = model(images).detach()
    assert torch.allclose(made(images), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    loaded = load_bytes(save_bytes(made, graph=trace(made, (images,))))
    assert torch.allclose(loaded(images), made(images), rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("places", [False, True])
def test_levels_stay_and_get_a_step_a_row(places):
    model = small()
    levels = torch.randint(-3, 4, (6, 1, 3, 3), generator=torch.Generator().manual_seed(2))
    step = Dense(torch.tensor([0.25]), torch.float16)
    kept = levels != 0
    attach(model, {"0.weight": Sparse(kept, Uniform(levels[kept], step)) if places else Uniform(levels, step)})
    made, _ = folded(model)
    encoding = encodings_of(made)["0.weight"]
    assert isinstance(encoding, Uniform)
    assert encoding.step.shape == (6,) and encoding.step.stored == torch.float16
    assert torch.equal(encoding.levels.abs(), levels.abs())
    assert torch.equal(encoding.to_tensor(), made[0].weight)
    negative = model[1].weight < 0
    assert negative.any() and torch.equal(encoding.levels[negative], -levels[negative].int())
    assert torch.allclose(made(IMAGES), model(IMAGES), rtol=0.01, atol=0.01)


def test_pruned_and_narrow_weights_stay_so_and_biases_are_narrow_when_asked():
    model = small()
    mask = torch.rand(5, 216, generator=torch.Generator().manual_seed(3)) < 0.3
    attach(
        model,
        {
            "0.weight": Dense(model[0].weight.detach(), torch.bfloat16),
            "4.weight": Sparse(mask, Dense(model[4].weight.detach()[mask], torch.float16)),
        },
    )
    kept = encodings_of(folded(model)[0])
    assert kept["0.weight"].stored == torch.bfloat16
    assert torch.equal(kept["4.weight"].mask, mask) and kept["4.weight"].inner.stored == torch.float16
    assert kept["0.bias"].stored == kept["4.bias"].stored == torch.float16
    assert set(encodings_of(folded(model, half=False)[0])) == {"0.weight", "4.weight"}


class Twice(nn.Module):
    """The convolution is read by the norm and by a sum; the second norm is used on two layers."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images):
        maps = self.one(images)
        maps = functional.relu(self.first(maps)) + maps
        return self.second(self.two(maps)) + self.second(self.three(maps))


def test_what_is_read_or_used_twice_stays():
    with pytest.raises(TechniqueError, match="no batch norm"):
        folded(lived(Twice()))


def test_weights_that_share_values_stay():
    model = small()
    attach(model, {"0.weight": Codebook.from_tensor(model[0].weight.detach().sign())})
    made, record = folded(model)
    assert record == {"5": "4"}
    assert isinstance(encodings_of(made)["0.weight"], Codebook)
    assert isinstance(made[1], nn.BatchNorm2d)
    assert torch.allclose(made(IMAGES), model(IMAGES), rtol=0.01, atol=0.01)


def test_a_norm_over_another_axis_stays():
    steps = lived(nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7)))  # (n, 7 steps, 5) to (n, 7 steps, 7 features)
    with pytest.raises(TechniqueError, match="no batch norm"):
        folded(steps, torch.randn(3, 7, 5))


def test_without_norms_it_refuses():
    with pytest.raises(TechniqueError, match="no batch norm"):
        folded(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))


def test_a_norm_without_scale_and_shift_folds():
    model = lived(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, affine=False)))
    made, _ = folded(model, half=False)
    assert torch.allclose(made(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)


def test_a_row_without_effect_keeps_a_step():
    model = small()
    with torch.no_grad():
        model[1].weight[2] = 0
    attach(
        model,
        {"0.weight": Uniform(torch.ones(6, 1, 3, 3, dtype=torch.int32), Dense(torch.tensor([0.5]), torch.float16))},
    )
    encoding = encodings_of(folded(model)[0])["0.weight"]
    assert not encoding.levels[2].any() and bool((encoding.step.to_tensor() > 0).all())


class Biased(nn.Conv2d):
    """A class of the user's own, which no log can tell."""


def mixed(bias, layer=nn.Conv2d):
    return nn.Sequential(
        layer(1, 6, 3, bias=bias), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def pruned(model):
    known = surgery.anatomy(model, (IMAGES,))
    return surgery.remove(model, known, known.group("0").atoms[:2])


@pytest.mark.parametrize("traced", [False, True], ids=["weights", "graph"])
@pytest.mark.parametrize("bias", [False, True])
def test_pruned_and_folded_it_comes_back_in_the_class_of_its_user(bias, traced, tmp_path):
    made, _ = folded(pruned(lived(mixed(bias))), half=False)
    fw.save(made, tmp_path / "made.fwt", example=IMAGES if traced else None)
    into, rebuilt = lived(mixed(bias), seed=5), fw.rebuild(mixed(bias), tmp_path / "made.fwt").eval()
    fw.load(tmp_path / "made.fwt", into=into)
    again = fw.rebuild(mixed(bias), log_of(made))
    again.load_state_dict(made.state_dict())
    for model in (into, rebuilt, again.eval()):
        assert torch.equal(model(IMAGES), made(IMAGES))
        assert log_of(model) == log_of(made)
        assert isinstance(model[1], nn.Identity)
    assert log_of(fw.load(tmp_path / "made.fwt", into=rebuilt)) == log_of(made)  # it is that already


def test_a_file_says_nothing_of_folded_norms_that_its_tensors_tell():
    made, _ = folded(lived(mixed(False)))
    assert [type(step) for step in log_of(made).steps] == [Folding]
    data = save_bytes(made)
    keep_log(made, Log())
    assert save_bytes(made) == data
    assert torch.equal(load_bytes(data, into=lived(mixed(False))).eval()(IMAGES), made(IMAGES))
    told, _ = folded(lived(mixed(True)))  # a norm in a graph that is not there may be one that is not used
    assert [type(step) for step in log_of(told).steps] == [Replacement]
    with pytest.raises(fw.errors.UsageError, match="lacks the tensor"):
        load_bytes(data, into=nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)))


def test_a_layer_of_a_class_of_its_own_folds_and_no_log_tells():
    model = lived(mixed(False, Biased))
    made, record = folded(model, half=False)
    assert record == {"1": "0", "4": "3"}
    assert not log_of(made)
    assert torch.allclose(made(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)


def test_a_run_that_was_interrupted_goes_on_behind_the_folded_norms(tmp_path, monkeypatch):
    recipe = fw.Recipe(
        "test",
        (
            Step("pruning.filter.norm", Norm(ratio=0.3, repair="none", epochs=0)),
            Step("architecture.blocks.fold_norms", FoldNorms()),
            Step("pruning.connection.magnitude", Magnitude(density=0.5, epochs=0)),
        ),
    )
    task = Task(model=lived(mixed(False)), example=IMAGES[:2], name="small")
    straight = fw.compress(task.model, recipe, TaskContext(task), run_dir=tmp_path / "straight")

    def interrupted(self, model, context):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Magnitude, "apply", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fw.compress(task.model, recipe, TaskContext(task), run_dir=tmp_path / "run")
    monkeypatch.setattr(FoldNorms, "apply", interrupted)  # it is not done again
    resumed = fw.compress(task.model, recipe, TaskContext(task), run_dir=tmp_path / "run")
    assert log_of(resumed.model) == log_of(straight.model)
    assert (tmp_path / "run/result.fwt").read_bytes() == (tmp_path / "straight/result.fwt").read_bytes()
