import torch
from torch.nn import functional

from featherweight.core.task import Task, Training
from featherweight.training.losses import cross_entropy, loss_of, score_of, top1


def test_top1_scores_each_example() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert top1(logits, torch.tensor([1, 1, 1])).tolist() == [1.0, 0.0, 1.0]


def test_defaults_come_from_the_task() -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    task = Task(model=torch.nn.Identity(), example=logits, training=Training(label_smoothing=0.2))
    assert torch.equal(loss_of(task)(logits, target), functional.cross_entropy(logits, target, label_smoothing=0.2))
    assert not torch.equal(loss_of(task)(logits, target), cross_entropy()(logits, target))
    assert score_of(task) is top1


def test_the_tasks_own_come_first() -> None:
    def loss(output, target):
        return output.sum()

    def score(output, target):
        return target.float()

    task = Task(model=torch.nn.Identity(), example=None, loss=loss, score=score)
    assert loss_of(task) is loss
    assert score_of(task) is score
