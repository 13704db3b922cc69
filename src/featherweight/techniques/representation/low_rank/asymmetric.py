"""Replaces convolutions and linear layers by thinner ones that answer alike behind the ReLU, from shallow to deep.

X. Zhang, J. Zou, X. Ming, K. He, J. Sun 2015 (CVPR, "Efficient and accurate approximations of nonlinear convolutional
networks"); X. Zhang, J. Zou, K. He, J. Sun 2016 (TPAMI, "Accelerating very deep convolutional networks for
classification and detection"). A layer of d outputs becomes one of d' and one of a single place; with the plane split
too (their "asymmetric (3d)") a column of d'' , a row of d' and one of a single place. Each is fitted to the original's
answers on what the layer reads in the network as cut so far, so that errors do not add up. No labels, no training.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import ConfigError
from featherweight.numerics.factor import Ladder, matrix_ladder, of_spatial, tucker_ladder
from featherweight.techniques.representation.low_rank._answers import Fit, Study, Thin, thinned
from featherweight.techniques.representation.low_rank._find import Found, Layer, find
from featherweight.techniques.representation.low_rank._following import Behind, behind
from featherweight.techniques.representation.low_rank._parts import (
    CONVOLUTIONS,
    Convolution,
    Measure,
    Part,
    Places,
    Ranks,
    chain,
    convolution,
    linear,
)
from featherweight.techniques.representation.low_rank._replace import put, replace
from featherweight.techniques.representation.low_rank._settings import LowRank, gains_of, plain, reasons


@dataclass(frozen=True, kw_only=True)
class Asymmetric(LowRank):
    """Replaces layers by thinner ones that answer alike behind the ReLU. Zhang et al. 2015 and 2016.

    Ranks maximise the product of the energies of all layers' answers (and of their kernels in the plane) within the
    budget. A layer whose outputs meet no ReLU is fitted without one. Batch norms behind layers stay, and are seen
    through; folding them first makes the network faster still.
    """

    survey: ClassVar[str] = "Zhang et al. 2016, Accelerating Very Deep Convolutional Networks"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear")
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (*CONVOLUTIONS, nn.Linear)

    # the network's multiply-adds or parameters; each layer's ratio of ranks, or energy
    of: Literal["macs", "parameters", "ratio", "energy"] = "macs"  # of answers
    epochs: float = 0.0  # of fine-tuning afterwards, >= 0
    form: Literal["channel", "spatial"] = "spatial"  # "spatial": kernels of two axes are split in the plane, too
    asymmetric: bool = True  # fit on what the cut network reads; False: on what the original reads
    examples: int = 512  # of calibration data, 2 or more; all windows of one layer that are drawn lie in memory
    positions: int = 10  # of each map, drawn at random, 1 or more
    rounds: int = 25  # of the alternating solution at each of the penalties 0.01 and 1; 0: do not look at the ReLU

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("macs", "parameters", "ratio", "energy"):
            raise ConfigError("is not for answers", where="of", value=self.of, fix="Use 'macs'.")
        for name, least in (("examples", 2), ("positions", 1), ("rounds", 0)):
            if getattr(self, name) < least:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix=f"Use {least} or more.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with layers replaced from shallow to deep and noted in its log, then fine-tuned if asked.

        Records "ranks" (by layer: of outputs, and of the plane), "whole" (layers left as they were: why), "gains" (of
        each replaced layer: storage and computation, as factors), "relu" (layers that were fitted through one) and, for
        a budget, "kept" (the share of it that is left).

        Raises: TechniqueError when the model has no layer of the kinds, or encodings hold the weights of one;
        ConfigError for a pattern that fits nothing.
        """
        found = find(model, context, self.kinds, self.layers)
        study = Study(context, self.examples, self.positions)
        after = behind(model, context, [layer.path for layer in found.layers])
        energies = {layer.path: study.energies(model, layer.path, after[layer.path]) for layer in found.layers}
        parts = {layer.path: self._parts(layer, self.measure, energies[layer.path]) for layer in found.layers}
        ranks = self.chosen(parts, model, context)
        taken = {path: own for path, own in ranks.items() if any(item is not None for item in own)}
        taken = {path: [_possible(found.by_path[path].module, own[0])] for path, own in taken.items()}
        context.record("ranks", plain(taken))
        context.record("whole", found.whole | reasons(ranks))
        context.record("relu", [path for path in taken if after[path].relu])
        context.record("gains", {path: self._gains(found.by_path[path], taken[path], energies[path]) for path in taken})
        if not taken:
            return model
        self._replace(model, found, {path: own[0] or () for path, own in taken.items()}, after, study)
        return self.trained_on(model, context)

    def _replace(
        self, model: nn.Module, found: Found, ranks: Mapping[str, Ranks], after: Mapping[str, Behind], study: Study
    ) -> None:
        """Fits one layer after the other, each in the network that has the thin layers before it."""
        original = copy.deepcopy(model)
        modules: dict[str, nn.Module] = {}
        for path, own in ranks.items():
            layer = found.by_path[path].module
            answers = study.answers(model if self.asymmetric else original, original, path)
            thin = thinned(layer, answers, after[path], own, Fit(self.rounds))
            modules[path] = _chain(layer, thin)
            put(model, {path: modules[path]})
        put(model, {path: found.by_path[path].module for path in modules})
        replace(model, modules, study.context)

    def _parts(self, layer: Layer, measure: Measure, energies: Tensor) -> list[Part]:
        module = layer.module
        if isinstance(module, nn.Linear):
            steps = 1 if measure == "parameters" else torch.Size(layer.outputs).numel() // module.out_features
            return [_by_outputs(energies, module.weight, steps)]
        conv = cast(Convolution, module)
        if conv.groups > 1:
            return []
        places = Places.of(layer.inputs, layer.outputs, len(conv.kernel_size), measure)
        if self.form == "channel" or conv.weight.dim() != 4 or conv.weight[0, 0].numel() == 1:
            return [_by_outputs(energies, conv.weight, places.last)]
        return [_by_plane(energies, conv.weight, places)]

    def _gains(self, layer: Layer, ranks: Sequence[Ranks | None], energies: Tensor) -> dict[str, float]:
        measures: tuple[Measure, ...] = ("parameters", "macs")
        return gains_of({measure: self._parts(layer, measure, energies) for measure in measures}, ranks)


def _possible(module: nn.Module, ranks: Ranks | None) -> Ranks:
    """No more ranks in the plane than few outputs leave."""
    outer, *inner = ranks or (1,)
    wide = module.get_parameter("weight").shape[-1]
    return (outer, *(min(rank, outer * wide) for rank in inner))


def _by_outputs(energies: Tensor, weight: Tensor, steps: int) -> Part:
    """Ranks d' of the outputs: d' (columns + d) in place of d columns."""
    columns, whole = weight[0].numel(), float(weight.numel() * steps)
    unit = float((columns + len(weight)) * steps)
    full = min(len(weight), columns)
    return Part(
        full=(full,),
        whole=whole,
        cost=lambda ranks: unit * ranks[0],
        ladder=lambda multiple: matrix_ladder(energies[:full], unit, whole, multiple),
        automatic=lambda: (full,),
    )


def _by_plane(energies: Tensor, weight: Tensor, places: Places) -> Part:
    """Ranks (d', d''): columns c to d'', rows d'' to d', one place d' to d."""
    outputs, inputs, tall, wide = weight.shape
    units = (float(outputs * places.last), float(inputs * tall * places.when(1)), float(wide * places.last))
    whole = float(weight.numel() * places.last)
    full = min(outputs, inputs * tall * wide), min(inputs * tall, outputs * wide)

    def cost(ranks: Ranks) -> float:
        return units[0] * ranks[0] + units[1] * ranks[1] + units[2] * ranks[0] * ranks[1]

    def ladder(multiple: int) -> Ladder:
        plane = torch.linalg.svdvals(of_spatial(weight.detach()).double()).square()
        return tucker_ladder((energies[: full[0]], plane), units, whole, multiple, wide)

    return Part(full=full, whole=whole, cost=cost, ladder=ladder, automatic=lambda: full)


def _chain(layer: nn.Module, thin: Thin) -> nn.Module:
    last = thin.weights[-1]
    if isinstance(layer, nn.Linear):
        return chain([linear(layer, thin.weights[0]), linear(layer, last, thin.bias)], layer)
    conv = cast(Convolution, layer)
    count = len(conv.kernel_size)
    back = convolution(conv, last.reshape(*last.shape, *(1,) * count), bias=thin.bias)
    if len(thin.weights) == 2:
        return chain([convolution(conv, thin.weights[0], range(count)), back], conv)
    columns, rows, _ = thin.weights
    return chain([convolution(conv, columns, (0,)), convolution(conv, rows, (1,)), back], conv)
