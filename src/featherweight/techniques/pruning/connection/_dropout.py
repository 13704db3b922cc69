"""Less dropout while a pruned network is retrained: it has less capacity to overfit.

Han et al. 2015, section 3.2: D_r = D_o sqrt(C_ir / C_io), with the connections C of the layer before pruning (o) and
while retraining (r).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from featherweight.techniques._selection import Weight


@dataclass(frozen=True)
class Dropout:
    """A dropout of the model, its probability before pruning, and the weights whose connections it stands for."""

    module: nn.Module
    attribute: str
    probability: float
    names: tuple[str, ...]

    def adjust(self, share: Mapping[str, tuple[float, int]]) -> None:
        """Sets the probability; `share` by weight: connections left of those before pruning (0..1), and their number.

        It is not set back after retraining: the capacity stays small, and a later step scales from where this left it.
        """
        left = sum(share[name][0] * share[name][1] for name in self.names)
        ratio = left / sum(share[name][1] for name in self.names)
        setattr(self.module, self.attribute, self.probability * min(1.0, ratio) ** 0.5)


def dropouts_of(model: nn.Module, weights: Sequence[Weight]) -> list[Dropout]:
    """The dropouts of a model, each with the pruned layer that stands before it in the order of the modules.

    A dropout before all pruned layers goes with the first. Recurrent modules drop out between their own layers.
    """
    by_layer: dict[str, list[str]] = {}
    for weight in weights:
        by_layer.setdefault(weight.layer, []).append(weight.name)
    current = tuple(next(iter(by_layer.values())))
    found = []
    for layer, module in model.named_modules():
        current = tuple(by_layer.get(layer, current))
        if isinstance(module, _DropoutNd) and module.p > 0:
            found.append(Dropout(module, "p", module.p, current))
        if isinstance(module, nn.RNNBase) and module.dropout > 0 and layer in by_layer:
            found.append(Dropout(module, "dropout", module.dropout, current))
    return found
