"""CIFAR ResNet-20 with half of its multiply-adds: every criterion for channels, ours and Torch-Pruning's, side by side.

    python benchmarks/structure_cifar.py [--only NAME ...] [--list] [--quick] [--seed 0] [--json FILE]

All methods begin with the same network (published weights, trained for --dense-epochs on CIFAR-10 as JPEG), remove 50 %
of the multiply-adds (our own count, for both) and train for the same --epochs in all, by the same loop, rate, crops,
order and seed. What a method trains before or between its cuts, sparsity training included, is taken off that sum. All
training is in bfloat16 autocast, which takes half the time; weights and optimizer stay fp32. The score is top-1 on all
test images, which nothing is chosen on. `cut` is the score behind the cut and before training. A row that is in the
--json file already is not measured again. --quick looks at 1,024 images: it shows that everything runs, and no more.

Data: $FEATHERWEIGHT_DATA (cifar10, ../models; see README there). Needs: pip install 'featherweight[bench]'.
"""

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

import classic_tasks as tasks
import featherweight as fw
from featherweight.core import catalog
from featherweight.core.config import from_dict
from featherweight.core.context import FinetuneReport, Finetuning
from featherweight.data.views import Subset
from featherweight.graph.surgery import anatomy
from featherweight.profiling.params import Parameters
from featherweight.techniques.base import SOCKET, Technique
from featherweight.training.capture import recalibrate
from featherweight.training.context import TaskContext
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of

RATIO = 0.5  # of the multiply-adds
TARGET = 0.5  # points of top-1 that our best must be above the peer's best
RATE = 1e-3  # Adam, falling to 0 by a cosine
STEPS = 400  # in which the peer's channels go, at most
Row = dict[str, Any]


class Spent(TaskContext):
    """A context that counts the epochs that are trained through it."""

    epochs = 0.0

    def finetune(self, model: nn.Module, settings: Finetuning, **more: Any) -> FinetuneReport:
        """See Context.finetune."""
        self.epochs += settings.epochs
        return super().finetune(model, settings, **more)


@dataclass(frozen=True)
class Method:
    """One row of the table: `cut(model, context, epochs)` gives the smaller network of a run of so many epochs."""

    name: str
    peer: bool
    cut: Callable[[nn.Module, Spent, float], nn.Module]


# ours ----------------------------------------------------------------------------------------------------------------


def ours(name: str, technique: str, **settings: Any) -> Method:
    """A technique by its catalogue name; `interval` and fields that end in `_epochs` are shares of the training."""

    def cut(model: nn.Module, context: Spent, epochs: float) -> nn.Module:
        scaled = {key: value * epochs if key.endswith("_epochs") else value for key, value in settings.items()}
        if "interval" in scaled:
            steps = epochs * len(context.task.examples("train")) / context.training.batch_size
            scaled["interval"] = max(1, round(scaled["interval"] * steps))
        kind = catalog.load(SOCKET, technique, Technique)
        common = {kind.strength or "ratio": RATIO, "of": "macs", "epochs": 0.0, "learning_rate": 1.0}
        chosen = from_dict(kind, common | scaled)
        return chosen.apply(model, context)

    return Method(name, peer=False, cut=cut)


def our_methods() -> Iterator[Method]:
    """All criteria of ours that are in the catalogue."""
    both = ("local", "global")
    for scope in both:
        for norm in ("l1", "l2"):
            yield ours(f"norm {norm}, {scope}", "pruning.filter.norm", norm=norm, scope=scope)
        yield ours(f"norm l2 with readers, {scope}", "pruning.filter.norm", norm="l2", readers=True, scope=scope)
        yield ours(f"geometric median, {scope}", "pruning.filter.geometric_median", scope=scope)
        yield ours(f"taylor gate, at once, {scope}", "pruning.filter.taylor", schedule="one_shot", scope=scope)
        activation = {"criterion": "activation", "schedule": "one_shot", "examples": 512}
        yield ours(f"taylor activation, at once, {scope}", "pruning.filter.taylor", scope=scope, **activation)
        yield ours(f"collaborative, {scope}", "pruning.channel.collaborative", scope=scope, examples=512)
        yield ours(f"stability, {scope}", "pruning.filter.stability", scope=scope, penalty_epochs=1 / 3)
    few = {"count": 16, "interval": 0.03}
    yield ours("taylor gate, a few at a time", "pruning.filter.taylor", **few)
    yield ours("taylor gate, inner layers, a few at a time", "pruning.filter.taylor", keep=STREAMS, **few)
    yield ours(
        "taylor activation, a few at a time", "pruning.filter.taylor", criterion="activation", examples=256, **few
    )
    for penalty in (1e-4, 1e-3):
        slim = {"penalty": penalty, "sparsity_rate": 1.0, "sparsity_epochs": 1 / 3}
        yield ours(f"network slimming, {penalty:g}", "pruning.channel.network_slimming", **slim)
    for kind in ("pruning.channel.lasso", "pruning.filter.thinet"):
        name = kind.rpartition(".")[2]
        yield ours(name, kind)
        yield ours(f"{name}, inner layers", kind, keep=STREAMS)
        yield ours(f"{name}, inner layers, shallow 1.5", kind, keep=STREAMS, shallow=1.5)
        yield ours(f"{name}, inner layers, global, worth 1", kind, keep=STREAMS, scope="global", worth=1.0)
    refit = {"repair": "least_squares", "scope": "global"}
    for kind, more in (("pruning.filter.taylor", {"schedule": "one_shot"}), ("pruning.channel.collaborative", {})):
        name = kind.rpartition(".")[2]
        yield ours(f"{name}, least squares", kind, **refit, **more)
        for worth in (1.0, 2.0):
            named = f"{name}, inner layers, worth {worth:g}, least squares"
            yield ours(named, kind, keep=STREAMS, worth=worth, **refit, **more)
    yield ours(
        "taylor gate, inner layers, a few at a time, worth 1", "pruning.filter.taylor", keep=STREAMS, worth=1.0, **few
    )


def other_methods() -> Iterator[Method]:
    """What removes no channels: blocks, and layers of low rank."""
    yield ours("block removal", "pruning.layer.block_removal")
    yield ours("depth search", "pruning.layer.depth_search")
    low = "representation.low_rank"
    yield ours("asymmetric, in the plane", f"{low}.asymmetric", form="spatial")
    yield ours("asymmetric, by channel", f"{low}.asymmetric", form="channel")
    yield ours("svd, in the plane", f"{low}.svd", form="spatial")
    yield ours("svd, by channel", f"{low}.svd", form="channel")
    yield ours("tucker", f"{low}.tucker")
    yield ours("cp", f"{low}.cp")
    yield ours("denton", f"{low}.denton")


STREAMS = ("conv1", "*.conv2")  # whose outputs are added up


# the peer's ----------------------------------------------------------------------------------------------------------


def theirs(name: str, importance: Callable[[], Any], *, together: bool, sparse: float = 0.0) -> Method:
    """An importance of Torch-Pruning: small steps until the multiply-adds are met, batch-norm statistics anew.

    `together`: one ranking for the whole network. `sparse`: l1 penalty on batch-norm scales in a third of the epochs,
    as its BNScalePruner adds to gradients.
    """

    def cut(model: nn.Module, context: Spent, epochs: float) -> nn.Module:
        if sparse:
            settings = Finetuning(epochs=epochs / 3, learning_rate=RATE)
            context.finetune(model, settings, extra_loss=lambda trained: sparse * _scales(trained))
        weighed = importance()
        if isinstance(weighed, torch_pruning.importance.GroupTaylorImportance):
            _gradients(model, context)
        wanted = (1 - RATIO) * _macs(model, context)
        pruner = torch_pruning.pruner.BasePruner(
            model.eval(),
            context.example[0],
            importance=weighed,
            global_pruning=together,
            pruning_ratio=0.95,
            max_pruning_ratio=0.95,
            iterative_steps=STEPS,
            ignored_layers=[model.linear],
        )
        for _ in range(STEPS):
            if _macs(model, context) <= wanted:
                break
            pruner.step()
        for parameter in model.parameters():
            parameter.grad = None
        recalibrate(model, context.batches("calibration", 256))
        return model

    return Method(f"torch-pruning: {name}, {'global' if together else 'local'}", peer=True, cut=cut)


def their_methods() -> Iterator[Method]:
    """Torch-Pruning's criteria, each with one share for all layers and with one ranking for the network."""
    kinds = torch_pruning.importance
    for together in (False, True):
        yield theirs("random", kinds.RandomImportance, together=together)
        yield theirs("magnitude l1", lambda: kinds.MagnitudeImportance(p=1), together=together)
        yield theirs("magnitude l2", lambda: kinds.MagnitudeImportance(p=2), together=together)
        yield theirs("group norm", lambda: kinds.GroupMagnitudeImportance(p=2), together=together)
        yield theirs("batch-norm scale", kinds.BNScaleImportance, together=together)
        yield theirs("batch-norm scale, trained sparse", kinds.BNScaleImportance, together=together, sparse=1e-4)
        yield theirs("taylor", kinds.GroupTaylorImportance, together=together)
        yield theirs("lamp", kinds.LAMPImportance, together=together)
        yield theirs("geometric median", kinds.FPGMImportance, together=together)


def all_methods() -> list[Method]:
    """Every row of the table."""
    return [*our_methods(), *other_methods(), *their_methods()]


def _scales(model: nn.Module) -> Tensor:
    norms = [module.weight.abs().sum() for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return torch.stack(norms).sum()


def _gradients(model: nn.Module, context: Spent) -> None:
    """Gradients of 1,024 training examples, as ours look at."""
    model.eval()
    for batch in context.batches("train", 1024):
        context.loss(model(*batch.inputs), batch.target).backward()


# one row -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """The task, the network that all begin with, and how long each is trained."""

    task: fw.Task
    dense: nn.Module
    epochs: float
    seed: int

    def row(self, method: Method) -> Row:
        """Cuts, trains and measures."""
        torch.manual_seed(self.seed)
        context, start = Spent(self.task, seed=self.seed), time.perf_counter()
        model = method.cut(copy.deepcopy(self.dense), context, self.epochs)
        cut, pruned = self.score(model), time.perf_counter()
        left = self.epochs - context.epochs
        if left < 0:
            raise ValueError(f"{method.name} trained {context.epochs} of {self.epochs} epochs before the end")
        Spent(self.task, seed=self.seed).finetune(model, Finetuning(epochs=left, learning_rate=RATE))
        return {
            "method": method.name,
            "peer": method.peer,
            "top1": self.score(model),
            "cut": cut,
            "macs": _macs(model, context) / _macs(self.dense, context),
            "parameters": Parameters().measure(model).value / Parameters().measure(self.dense).value,
            "epochs_before": context.epochs,
            "seconds_cut": pruned - start,
            "seconds": time.perf_counter() - start,
        }

    def score(self, model: nn.Module) -> float:
        """Top-1 on the test images, in per cent."""
        test = self.task.examples("test")
        return 100 * evaluate(model, test, score_of(self.task), where="test", device=torch.device("cpu"))


def _macs(model: nn.Module, context: TaskContext) -> float:
    """Multiply-adds of one image, from a recorded graph: milliseconds, as the peer's loop asks at every step."""
    known = anatomy(model, context.example)
    return float(known.cost.macs(known.gone([])))


def prepared(arguments: argparse.Namespace) -> Bench:
    """The task, and the dense network trained on its images."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    task = replace(tasks.resnet20(arguments.seed), training=fw.Training(learning_rate=RATE, batch_size=128))
    epochs, before = arguments.epochs, arguments.dense_epochs
    if arguments.quick:
        whole = {name: task.examples(name) for name in ("train", "validation", "calibration", "test")}
        parts = {name: Subset(item, torch.arange(min(len(item), 1024))) for name, item in whole.items()}
        task, epochs, before = replace(task, **parts), 3.0, 0.0
    dense = task.build()
    if before:
        TaskContext(task, seed=arguments.seed).finetune(dense, Finetuning(epochs=before, learning_rate=RATE))
    return Bench(task, dense, epochs, arguments.seed)


def main() -> int:
    """Measures, prints a table, and says whether the target was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="parts of method names")
    parser.add_argument("--list", action="store_true", help="names the methods")
    parser.add_argument("--quick", action="store_true", help="1,024 images: whether everything runs")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--dense-epochs", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where rows are kept; those that are there are not measured again")
    arguments = parser.parse_args()
    chosen = [item for item in all_methods() if not arguments.only or any(part in item.name for part in arguments.only)]
    if arguments.list:
        print("\n".join(item.name for item in chosen))
        return 0
    kept = arguments.json
    found: dict[str, Any] = json.loads(kept.read_text()) if kept and kept.exists() else {"rows": []}
    bench = prepared(arguments)
    found.setdefault("dense", bench.score(bench.dense))
    print(f"dense {found['dense']:.2f} %", flush=True)
    for method in chosen:
        if method.name not in {row["method"] for row in found["rows"]}:
            found["rows"].append(bench.row(method))
            _show(found["rows"][-1])
            if kept:
                kept.write_text(json.dumps(found, indent=1))
    return _verdict(found["rows"])


def _show(row: Row) -> None:
    print(
        f"{row['method']:52} {row['top1']:6.2f} %  cut {row['cut']:6.2f} %  macs {row['macs']:.3f}  "
        f"parameters {row['parameters']:.3f}  {row['seconds_cut']:6.1f} + {row['seconds'] - row['seconds_cut']:6.1f} s",
        flush=True,
    )


def _verdict(rows: list[Row]) -> int:
    ours, peers = ([row for row in rows if row["peer"] == peer] for peer in (False, True))
    if not ours or not peers:
        return 0
    mine, other = (max(part, key=lambda row: float(row["top1"])) for part in (ours, peers))
    lead = mine["top1"] - other["top1"]
    met = lead >= TARGET
    print(f"best of ours ({mine['method']}) {lead:+.2f} points to the peer's ({other['method']}); ", end="")
    print(f"target +{TARGET}: {'met' if met else 'NOT met'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
