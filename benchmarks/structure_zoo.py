"""The zoo: the networks whose channels bench_structure.py takes out, all built without weights and without a network.

    python benchmarks/structure_zoo.py --list [--family FAMILY]

Vision and language networks of `transformers` in small configurations, featherweight's own, a set of hand-written ones
with odd wiring, and torchvision's where it is installed. Every network has its own seed. What an initialisation leaves
constant (biases, scales of norms, running statistics) is moved a little, so that no channel is like another and a
channel that goes missing shows.

Needs: pip install 'featherweight[bench]'.
"""

import argparse
import importlib.util
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import structure_language
import structure_tricky
import structure_vision
from featherweight.networks.classic.alexnet import AlexNet
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.networks.classic.resnet_cifar import resnet20, resnet56
from featherweight.networks.classic.vgg import VGG, Shape
from structure_shrink import IMAGE, WORDS, shrunk
from structure_vision import Case

BATCH = 2
STEPS = 12  # words of a sequence

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Entry:
    """A network of the zoo: `build()` gives a fresh one in evaluation mode, always with the same weights."""

    name: str
    family: str
    build: Callable[[], nn.Module]
    example: Callable[[], Inputs]  # positional inputs, batch in front
    keep: tuple[str, ...] = ()  # paths, * allowed, of the heads: their outputs are the network's and must stay
    output: Callable[[Any], tuple[Tensor, ...]] = lambda found: tuple(tensors(found))  # floating tensors in order

    def kept(self, model: nn.Module) -> tuple[str, ...]:
        """The paths of the last layers of the heads in `model`: layers whose outputs are the network's."""
        names = [name for name, _ in model.named_modules() if any(fnmatch(name, item) for item in self.keep)]
        lasts = [_last_layer(name, model.get_submodule(name)) for name in names]
        return tuple(dict.fromkeys(name for name in lasts if name is not None))


HEADS = (  # how transformers' classes call the layers that give the answer
    *("classifier", "*.classifier", "cls_classifier", "distillation_classifier", "score", "lm_head", "logits_proj"),
    *("sequence_summary.summary", "pred_layer", "output_projection", "fc", "head", "head.conv_final", "*final_layer"),
    *("*class_embed", "*class_embed.[0-9]", "*bbox_embed", "*bbox_embed.[0-9]", "*class_labels_classifier"),
    *("*bbox_predictor", "*class_predictor", "*enc_score_head", "*enc_bbox_head", "mask_head.output_conv"),
    *("class_head", "decode_head.predictor", "decoder.head", "decoder.project", "metric_head.conditional_log_binomial"),
)


def zoo() -> list[Entry]:
    """All networks that the libraries at hand know of; whether each can be built shows when it is."""
    cases = [*structure_vision.cases(), *structure_language.cases()]
    return [*map(_entry, cases), *_own(), *_tricky(), *_torchvision()]


def find(name: str) -> Entry:
    """The entry of this name. Raises: KeyError."""
    return {entry.name: entry for entry in zoo()}[name]


def tensors(found: Any) -> Iterator[Tensor]:
    """The floating tensors in nested tuples, lists and mappings, in order."""
    if isinstance(found, Tensor):
        if found.is_floating_point():
            yield found
    elif isinstance(found, Mapping):
        for item in found.values():
            yield from tensors(item)
    elif isinstance(found, list | tuple):
        for item in found:
            yield from tensors(item)


class Answer(nn.Module):
    """A network with only the fields of its output that are the answer, without the hidden states beside them."""

    def __init__(self, model: nn.Module, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.fields = model, fields

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        found = self.model(*inputs)
        return tuple(found[name] for name in self.fields if found.get(name) is not None)


class Pooled(nn.Module):
    """A backbone with a classifier on the means of its maps (batch, channels, h, w) or steps (batch, steps, width)."""

    def __init__(self, model: nn.Module, inputs: Inputs, classes: int = 10) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            width = self._means(inputs).shape[1]
        self.classifier = nn.Linear(width, classes)

    def forward(self, *inputs: Any) -> Tensor:
        logits: Tensor = self.classifier(self._means(inputs))
        return logits

    def _means(self, inputs: Inputs) -> Tensor:
        found = self.model(*inputs)
        maps = found["feature_maps"] if "feature_maps" in found else (found["last_hidden_state"],)
        return torch.cat([item.mean((2, 3)) if item.dim() == 4 else item.mean(1) for item in maps], 1)


def _entry(case: Case) -> Entry:
    keep = ("classifier",) if case.pooled else tuple(f"model.{head}" for head in HEADS) if case.answers else HEADS
    return Entry(case.name, case.family, _seeded(case.name, partial(_from_case, case)), EXAMPLES[case.example], keep)


def _from_case(case: Case) -> nn.Module:
    model = getattr(transformers, case.class_name)(shrunk(case.kind, case.changes)).eval()
    if case.pooled:
        return Pooled(model, EXAMPLES[case.example]())
    return Answer(model, case.answers) if case.answers else model


def _seeded(name: str, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def seeded() -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(zlib.crc32(name.encode()))
            return stirred(build().eval())

    return seeded


@torch.no_grad()
def stirred(model: nn.Module) -> nn.Module:
    """The model, with what its initialisation left constant moved by about a tenth."""
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.numel() > 1 and parameter.min() == parameter.max():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


def _last_layer(path: str, module: nn.Module) -> str | None:
    layers = [name for name, item in module.named_modules() if isinstance(item, nn.Linear | nn.Conv2d)]
    return None if not layers else ".".join(part for part in (path, layers[-1]) if part)


def _drawn(make: Callable[[], Inputs]) -> Callable[[], Inputs]:
    """The same inputs at every call."""

    def drawn() -> Inputs:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return make()

    return drawn


def _words() -> Tensor:
    return torch.randint(3, WORDS, (BATCH, STEPS))


EXAMPLES: dict[str, Callable[[], Inputs]] = {
    "image": _drawn(lambda: (torch.randn(BATCH, 3, IMAGE, IMAGE),)),
    "image 32": _drawn(lambda: (torch.randn(BATCH, 3, 32, 32),)),
    "words": _drawn(lambda: (_words(),)),
    "patches": _drawn(
        lambda: (torch.randn(BATCH, 16, 768), torch.ones(BATCH, 16).long(), torch.tensor([[4, 4]] * BATCH))
    ),
    "image and task": _drawn(lambda: (torch.randn(BATCH, 3, IMAGE, IMAGE), _words()[:, :8])),
    "video": _drawn(lambda: (torch.randn(BATCH, 2, 3, IMAGE, IMAGE),)),
}


def _own() -> list[Entry]:
    """featherweight's own networks; AlexNet alone is not small, it has one size."""
    digits = _drawn(lambda: (torch.randn(BATCH, 1, 28, 28),))
    small, large = EXAMPLES["image 32"], _drawn(lambda: (torch.randn(BATCH, 3, 227, 227),))
    shape = Shape(size=32, width=0.5, classes=10, hidden=128, batch_norm=True)
    rows: list[tuple[str, Callable[[], nn.Module], Callable[[], Inputs], str]] = [
        ("lenet-300-100", LeNet300100, digits, "fc3"),
        ("lenet-5", LeNet5, digits, "fc2"),
        ("resnet-20", resnet20, small, "linear"),
        ("resnet-56", resnet56, small, "linear"),
        ("vgg-16", partial(VGG, 16, shape), small, "classifier"),
        ("alexnet", AlexNet, large, "fc8"),
        ("lstm", LstmClassifier, digits, "fc"),
        ("lstm-two-layers", partial(LstmClassifier, 28, 64, 10, 2), digits, "fc"),
    ]
    return [Entry(f"own/{name}", "own", _seeded(name, build), inputs, (head,)) for name, build, inputs, head in rows]


def _tricky() -> list[Entry]:
    return [
        Entry(f"tricky/{item.name}", "tricky", _seeded(item.name, item.build), _drawn(item.example), item.keep)
        for item in structure_tricky.ALL
    ]


TORCHVISION = {"classification": None, "segmentation": "segmentation", "detection": "detection"}


def _torchvision() -> list[Entry]:
    """torchvision's models in their own sizes; [] where it is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        return []
    from torchvision import models

    found: list[Entry] = []
    for family, place in TORCHVISION.items():
        for name in models.list_models(module=getattr(models, place) if place else models):
            build = partial(models.get_model, name, weights=None, weights_backbone=None)
            build = partial(models.get_model, name, weights=None) if place is None else build
            size = 299 if name == "inception_v3" else 224
            example = _drawn(partial(_images, size, as_list=place == "detection"))
            keep = ("fc", "head", "heads.head", "classifier", "aux_classifier", "*cls_score", "*bbox_pred")
            found.append(Entry(f"torchvision/{name}", family, _seeded(name, build), example, keep))
    return found


def _images(size: int, *, as_list: bool) -> Inputs:
    images = torch.randn(BATCH, 3, size, size)
    return (list(images),) if as_list else (images,)


def main() -> int:
    """Lists the zoo: what each network costs, or why it cannot be built."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="build each network, run it once and say what it costs")
    parser.add_argument("--family")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed = 0
    for entry in zoo():
        if options.family in (None, entry.family):
            line, good = _described(entry) if options.list else ("", True)
            failed += not good
            print(f"{entry.name:32} {entry.family:14} {line}", flush=True)
    for name, reason in structure_vision.LEFT_OUT.items():
        print(f"{name:32} left out       {reason}")
    return 1 if failed else 0


def _described(entry: Entry) -> tuple[str, bool]:
    try:
        model, inputs = entry.build(), entry.example()
        start = time.perf_counter()
        with torch.no_grad():
            found = entry.output(model(*inputs))
    except Exception as error:  # noqa: BLE001  # whatever a library raises: one bad network must not end the list
        return f"cannot be built: {type(error).__name__}: {' '.join(str(error).split())[:160]}", False
    seconds = time.perf_counter() - start
    size = sum(item.numel() for item in model.parameters())
    shapes = ", ".join("x".join(map(str, item.shape)) for item in found)
    kept = ", ".join(entry.kept(model))
    return f"{size:>12,} parameters {seconds:6.3f} s  -> {shapes}  keeps {kept or 'nothing'}", True


if __name__ == "__main__":
    sys.exit(main())
