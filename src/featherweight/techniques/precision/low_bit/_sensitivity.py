"""How much the loss feels an error of each weight, from examples without labels.

Of a model's own answer, drawn from what it predicts, the squared gradient of the log-likelihood is in expectation the
curvature of the loss (Fisher information): 1/2 h (w - q)^2 is about what an error costs, in nats. It needs no labels,
and because the drawn answers are independent the squared gradient of a batch is the sum over its examples. What gives
no class scores, shape (n, classes), is taken for a Gaussian of variance 1.

Of linear and 2-d convolution layers also the second moments of the inputs, E[x x^T], and the mean squared gradient of
each output: errors of weights of one row add up in the output before the loss feels them. Sources: catalogue B19, B14.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from featherweight.core.examples import Batch
from featherweight.errors import TechniqueError

_PLACES, _PLACES_A_COLUMN = 1024, 4  # of a layer's input that are looked at in each batch, evenly spread
_IMAGES = 8  # of a batch that these places are taken from, at least


@dataclass
class Sensitivity:
    """Sums over the examples seen: all of one example or, for moments, of one place of the input.

    `fisher`: by parameter, its shape. `moments`: by weight, (groups, columns, columns); `means`: (groups, columns).
    `outputs`: by weight, (rows,), the squared gradient of each output, summed over its places. `norms`: the batch norm
    that reads what a layer gives, by weight and by name.
    """

    fisher: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    examples: int = 0

    def finished(self) -> "Sensitivity":
        """The sums as means."""
        for sums in (self.fisher, self.outputs):
            for total in sums.values():
                total /= max(self.examples, 1)
        for name, count in self.places.items():
            self.moments[name] /= count
            self.means[name] /= count
        return self


def measured(model: nn.Module, batches: Iterable[Batch], generator: torch.Generator, *, inputs: bool) -> Sensitivity:
    """The sensitivity of all trainable weights over `batches`; with `inputs`, moments, means and outputs too.

    The model is run in evaluation mode; modes and gradients are as before afterwards.

    Raises: TechniqueError without a batch, or for a model that gives no floating-point tensor.
    """
    found = Sensitivity()
    modes = {module: module.training for module in model.modules()}
    parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
    kept = {name: item.grad for name, item in parameters.items()}
    handles = _watch(model, found) if inputs else []
    model.eval()
    try:
        for batch in batches:
            for item in parameters.values():
                item.grad = None
            with torch.enable_grad():
                answer = _first(model(*batch.inputs))
                _drawn_loss(answer, generator).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            found.examples += len(answer)
            for name, item in parameters.items():
                if item.grad is not None:
                    _add(found.fisher, name, item.grad.detach().square())
    finally:
        for handle in handles:
            handle.remove()
        for name, item in parameters.items():
            item.grad = kept[name]
        for module, mode in modes.items():
            module.training = mode
    if not found.examples:
        raise TechniqueError("there are no calibration examples", value=0, fix="Give data, or sensitivity 'none'.")
    return found.finished()


def _drawn_loss(answer: Tensor, generator: torch.Generator) -> Tensor:
    """Minus the log-likelihood of answers drawn from what the model predicts, summed over the examples."""
    if answer.dim() == 2 and answer.shape[1] > 1:
        chances = answer.detach().float().softmax(dim=1).cpu()
        drawn = torch.multinomial(chances, 1, generator=generator)[:, 0].to(answer.device)
        return functional.cross_entropy(answer, drawn, reduction="sum")
    noise = torch.randn(answer.shape, generator=generator).to(answer)
    return (answer * noise).sum()


def _first(output: object) -> Tensor:
    """The first floating-point tensor of an output."""
    if isinstance(output, Tensor) and output.is_floating_point():
        return output
    for item in output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ():
        if isinstance(item, Tensor) and item.is_floating_point():
            return item
    raise TechniqueError(
        "the model gives no floating-point tensor", value=type(output).__name__, fix="Use sensitivity 'none'."
    )


def _watch(model: nn.Module, found: Sensitivity) -> list[torch.utils.hooks.RemovableHandle]:
    given: dict[int, tuple[str, Tensor]] = {}  # what a layer gave last; held, so that its number stays its own
    handles = []
    for layer, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            look = _look_at_layer(f"{layer}.weight" if layer else "weight", found, given)
            handles.append(module.register_forward_hook(look))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(_look_at_norm(layer, found, given)))
    return handles


def _look_at_layer(
    name: str, found: Sensitivity, given: dict[int, tuple[str, Tensor]]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen = _seen(module, inputs[0].detach())
        found.places[name] = found.places.get(name, 0) + seen.shape[1]
        _add(found.moments, name, seen.transpose(1, 2) @ seen)
        _add(found.means, name, seen.sum(dim=1))
        given.clear()
        given[id(output)] = (name, output)
        if output.requires_grad:
            rows = 1 if isinstance(module, nn.Conv2d) else output.dim() - 1
            others = tuple(axis for axis in range(output.dim()) if axis != rows)
            output.register_hook(  # type: ignore[no-untyped-call]  # torch has no type for it
                lambda gradient: _add(found.outputs, name, gradient.detach().square().sum(others))
            )

    return look


def _look_at_norm(
    norm: str, found: Sensitivity, given: dict[int, tuple[str, Tensor]]
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        name, _ = given.get(id(inputs[0]), ("", None))
        if name:
            found.norms[name] = norm

    return look


def _seen(module: nn.Module, inputs: Tensor) -> Tensor:
    """What a row of weights is multiplied with, at some or all places: (groups, places, columns)."""
    if not isinstance(module, nn.Conv2d):
        return _spread(inputs.reshape(-1, inputs.shape[-1]), inputs.shape[-1])[None].float()
    columns = module.weight[0].numel()
    if tuple(module.kernel_size) == (1, 1):
        flat = inputs[:, :, :: module.stride[0], :: module.stride[1]].movedim(1, -1).reshape(-1, inputs.shape[1])
        flat = _spread(flat, columns)
        return flat.reshape(len(flat), module.groups, -1).transpose(0, 1).float()
    reach = [(size - 1) * gap + 1 for size, gap in zip(module.kernel_size, module.dilation, strict=True)]
    area = inputs.shape[2] * inputs.shape[3]
    few = inputs[:: max(1, min(len(inputs) // _IMAGES, len(inputs) * area // (_PLACES + _PLACES_A_COLUMN * columns)))]
    padded = functional.pad(few, [reach[1] // 2] * 2 + [reach[0] // 2] * 2)
    parts = functional.unfold(padded, module.kernel_size, dilation=module.dilation, stride=module.stride)
    rows = parts.reshape(len(few), module.groups, columns, -1).permute(0, 3, 1, 2).reshape(-1, module.groups, columns)
    return _spread(rows, columns).transpose(0, 1).float()


def _spread(rows: Tensor, columns: int) -> Tensor:
    """The rows, or as many of them as `columns` inputs need, evenly spread."""
    limit = _PLACES + _PLACES_A_COLUMN * columns
    if len(rows) <= limit:
        return rows
    return rows[torch.arange(limit, device=rows.device) * len(rows) // limit]


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    if name in sums:
        sums[name] += value
    else:
        sums[name] = value.clone()
