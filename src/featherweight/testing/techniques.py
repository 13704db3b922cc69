"""The battery for techniques: what every `techniques.base.Technique` promises, as checks that any test runner can call.

    for check in CHECKS.values():
        check(MyTechnique)

The networks are small and of several kinds, and trained for a moment. A technique may refuse one of them with
TechniqueError, in words; the checks pass over it. It must take at least one.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache

import torch
from torch import Tensor, nn

from featherweight.core.config import from_dict, to_dict
from featherweight.core.context import Finetuning
from featherweight.core.task import Task, Training
from featherweight.encodings.attach import encodings_of
from featherweight.errors import TechniqueError
from featherweight.techniques.base import Technique
from featherweight.testing._expect import expect
from featherweight.training.context import TaskContext

Check = Callable[[type[Technique]], None]

_CLASSES, _SIDE = 3, 8


class _Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.rnn, self.head = kind(_SIDE, 12, batch_first=True), nn.Linear(12, _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        states, _ = self.rnn(images[:, 0])
        logits: Tensor = self.head(states[:, -1])
        return logits


class _Residual(nn.Module):
    """Two residual blocks between layers that have nothing between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.Conv2d(6, 6, 1), nn.ReLU())
        self.blocks = nn.Sequential(_Block(6), _Block(6))
        self.head = nn.Linear(6, _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(images)).mean((2, 3)))
        return logits


class _Block(nn.Module):
    """x + f(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.conv(x)))


def zoo() -> dict[str, nn.Module]:
    """Fresh small networks by name, each for images (n, 1, 8, 8) and three classes; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "mlp": nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, _CLASSES)),
            "conv": nn.Sequential(
                nn.Conv2d(1, 6, 3, bias=False),
                nn.BatchNorm2d(6),
                nn.ReLU(),
                nn.Conv2d(6, 6, 3, groups=2),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(24, _CLASSES),
            ),
            "lstm": _Recurrent(nn.LSTM),
            "gru": _Recurrent(nn.GRU),
            "residual": _Residual(),
        }


def context(seed: int = 0) -> TaskContext:
    """A context over 192 images of three kinds of stripes, with train, validation and calibration data."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.arange(192) % _CLASSES
    rows = torch.arange(_SIDE).float()
    waves = [torch.sin(rows[:, None] * a + rows[None] * b) for a, b in ((1.5, 0.0), (0.0, 1.5), (1.0, 1.0))]
    images = torch.stack(waves)[labels][:, None] + 0.5 * torch.randn(192, 1, _SIDE, _SIDE, generator=generator)
    task = Task(
        model=lambda: zoo()["mlp"],
        example=images[:2],
        train=(images[:128], labels[:128]),
        validation=(images[128:], labels[128:]),
        training=Training(learning_rate=5e-3, batch_size=16),
        name="stripes",
    )
    return TaskContext(task, seed=seed)


def network(name: str) -> nn.Module:
    """A copy of a network of the zoo, trained for a moment."""
    return copy.deepcopy(_trained()[name])


def brief(kind: type[Technique]) -> Technique:
    """The technique with its default settings, but hardly any training: the checks look at structure."""
    short = {field.name: 0.5 for field in dataclasses.fields(kind) if field.name == "epochs"}
    return from_dict(kind, short)


def applied(kind: type[Technique], model: nn.Module, where: str) -> nn.Module | None:
    """The model changed with brief settings, or None when the technique refuses it in words."""
    try:
        return brief(kind).apply(model, context())
    except TechniqueError as error:
        expect(len(error.what) > 10, "says why it refuses", where=where, value=str(error))
        return None


def changed(kind: type[Technique], name: str) -> nn.Module | None:
    """A network of the zoo with the technique applied; None when it is refused. Each call gives a copy."""
    return copy.deepcopy(_changed(kind, name))


def check_settings(kind: type[Technique]) -> None:
    """Settings are a frozen dataclass of documented fields with defaults, and come back from plain values."""
    name = kind.__name__
    settings: Technique = kind()
    expect(dataclasses.is_dataclass(settings), "a dataclass", where=name)
    expect(bool(kind.survey), "names its reference", where=name)
    expect(bool(kind.applies_to), "says what it applies to", where=name)
    own = vars(kind).get("__doc__") or ""  # without one, a dataclass makes it up from its signature
    expect(len(own) > 40 and not own.startswith(f"{name}("), "has a docstring", where=name)
    expect(from_dict(kind, to_dict(settings)) == settings, "comes back from plain values", where=name)
    bases = [base for base in kind.__mro__ if issubclass(base, Technique) and base is not Technique]
    source = "\n".join(inspect.getsource(base) for base in bases)
    for field in dataclasses.fields(kind):
        lines = [line for line in source.splitlines() if line.strip().startswith(f"{field.name}:")]
        expect(bool(lines) and "#" in lines[0], "each field has its comment", where=name, value=field.name)
    try:
        setattr(settings, next((field.name for field in dataclasses.fields(kind)), "setting"), None)
    except dataclasses.FrozenInstanceError:
        return
    expect(kept=False, promise="is frozen", where=name)


def check_strength(kind: type[Technique]) -> None:
    """The strength is a number among the settings, and its gentle value is allowed and not what is the default."""
    if kind.strength is None:
        return
    settings: Technique = kind()
    asked = getattr(settings, kind.strength, None)
    expect(isinstance(asked, int | float), "the strength is a number", where=kind.__name__, value=asked)
    gentle = dataclasses.replace(
        settings, **{kind.strength: int(kind.gentle) if isinstance(asked, int) else kind.gentle}
    )
    expect(gentle != settings, "gentler than the default", where=kind.__name__, value=kind.gentle)


def check_applies(kind: type[Technique]) -> None:
    """The model still runs, with outputs of the same shape, and every encoding holds exactly the weights."""
    for name, before, after in _runs(kind):
        where = f"{kind.__name__} on {name}"
        wanted, output = _output(before), _output(after)
        expect(wanted.shape == output.shape, "gives the same kind of output", where=where, value=output.shape)
        expect(bool(torch.isfinite(output).all()), "runs", where=where)
        tensors = after.state_dict()
        for key, encoding in encodings_of(after).items():
            expect(key in tensors, "encodes tensors of the model", where=where, value=key)
            expect(torch.equal(encoding.to_tensor(), tensors[key]), "keeps the weights exactly", where=where, value=key)


def check_mode(kind: type[Technique]) -> None:
    """Training or evaluation mode of the modules and what is trainable are left as they were; no gradient is left."""
    for name, before, _ in _runs(kind):
        where = f"{kind.__name__} on {name}"
        after = _changed(kind, name) or before  # itself: a copy has no gradients
        modes = {path: module.training for path, module in before.named_modules()}
        kept = all(module.training == modes[_nearest(path, modes)] for path, module in after.named_modules())
        expect(kept, "keeps the mode", where=where)
        wanted = {key: parameter.requires_grad for key, parameter in before.named_parameters()}
        given = {key: parameter.requires_grad for key, parameter in after.named_parameters() if key in wanted}
        expect(all(wanted[key] == free for key, free in given.items()), "keeps what is trainable", where=where)
        expect(all(parameter.grad is None for parameter in after.parameters()), "leaves no gradient", where=where)


def check_repeats(kind: type[Technique]) -> None:
    """The same model, settings and seed give the same bits."""
    for name in _trained():
        where = f"{kind.__name__} on {name}"
        once, again = changed(kind, name), applied(kind, network(name), where)
        if once is not None and again is not None:
            first, second = once.state_dict(), again.state_dict()
            same = first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
            expect(same, "same seed, same weights", where=where)


def check_copies(kind: type[Technique]) -> None:
    """A deep copy has the same encodings, of its own."""
    for name, _, after in _runs(kind):
        where = f"{kind.__name__} on {name}"
        twin = copy.deepcopy(after)
        mine, others = encodings_of(after), encodings_of(twin)
        expect(mine.keys() == others.keys(), "copies keep encodings", where=where, value=sorted(others))
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        held = encodings_of(after)
        same = all(torch.equal(encoding.to_tensor(), held[key].to_tensor()) for key, encoding in mine.items())
        expect(same, "a copy is independent", where=where)


def check_trains_on(kind: type[Technique]) -> None:
    """Further training keeps what the encodings fix: zeros stay zero and equal values equal."""
    for name, _, after in _runs(kind):
        where = f"{kind.__name__} on {name}"
        before = encodings_of(after)
        context().finetune(after, Finetuning(epochs=1, learning_rate=1e-2, weight_decay=1e-2))
        for key, encoding in encodings_of(after).items():
            weight = after.state_dict()[key]
            expect(
                torch.equal(encoding.project(weight), weight), "training keeps the structure", where=where, value=key
            )
            fewer = encoding.nonzeros <= before[key].nonzeros or before[key].nonzeros == weight.numel()
            shared = len(torch.unique(before[key].to_tensor())) > 1 or len(torch.unique(weight)) == 1
            expect(fewer and shared, "training revives nothing", where=where, value=key)


def check_pair(first: type[Technique], second: type[Technique], networks: Iterable[str] | None = None) -> None:
    """`second` after `first`: it refuses in words, or the result runs and its encodings hold the weights.

    `networks` are names of the zoo; all of it by default.
    """
    for name in zoo() if networks is None else networks:
        where = f"{second.__name__} after {first.__name__} on {name}"
        model = changed(first, name)
        model = None if model is None else applied(second, model, where)
        if model is None:
            continue
        expect(bool(torch.isfinite(_output(model)).all()), "runs", where=where)
        tensors = model.state_dict()
        wrong = [key for key, item in encodings_of(model).items() if not torch.equal(item.to_tensor(), tensors[key])]
        expect(not wrong, "keeps the weights exactly", where=where, value=wrong)


CHECKS: dict[str, Check] = {
    "settings": check_settings,
    "strength": check_strength,
    "applies": check_applies,
    "mode": check_mode,
    "repeats": check_repeats,
    "copies": check_copies,
    "trains_on": check_trains_on,
}


@cache
def _trained() -> dict[str, nn.Module]:
    networks = zoo()
    for model in networks.values():
        context().finetune(model, Finetuning(epochs=3, learning_rate=5e-3))
    return networks


def _nearest(path: str, known: Collection[str]) -> str:
    """The path itself, or that of the nearest module around it that is known: new modules are as what they are in."""
    while path not in known:
        path = path.rpartition(".")[0]
    return path


def _output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        output: Tensor = model.eval()(*context().example)
    return output


@cache
def _changed(kind: type[Technique], name: str) -> nn.Module | None:
    return applied(kind, network(name), f"{kind.__name__} on {name}")


def _runs(kind: type[Technique]) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Name, network before and network after, for all that the technique takes."""
    taken = 0
    for name in _trained():
        after = changed(kind, name)
        if after is not None:
            taken += 1
            yield name, network(name), after
    expect(taken > 0, "takes at least one kind of network", where=kind.__name__)
