"""Searches which blocks stay: every candidate is judged on validation data, with its batch-norm statistics renewed.

Where all sets of blocks that meet the budget are few, all are judged. Otherwise they are searched: by evolution, as E.
Real et al. 2019 (AAAI, "Regularized evolution for image classifier architecture search") search architectures, here
with the best sets as parents; or along a beam, of which width 1 is greedy removal. Sets once judged are not judged
again, also when a run is taken up.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from featherweight.core.context import Context
from featherweight.errors import ConfigError
from featherweight.techniques.pruning.layer._depth import Choices, DepthPruning
from featherweight.techniques.pruning.layer._judge import trial
from featherweight.techniques.pruning.layer._subsets import Gone, Search


@dataclass(frozen=True, kw_only=True)
class DepthSearch(DepthPruning):
    """Removes the set of blocks without which validation accuracy stays highest, found by search."""

    survey: ClassVar[str] = "Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search"

    evaluations: int = 64  # sets of blocks that are judged at most, >= 2
    method: Literal["auto", "beam", "evolution"] = "auto"  # "auto": all sets where they are few enough, else evolution
    width: int = 4  # sets that a beam goes on from, or parents of an evolution, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("evaluations", 2), ("width", 1)):
            if getattr(self, name) < least:
                raise ConfigError("too few", where=name, value=getattr(self, name), fix=f"Use {least} or more.")

    def choose(self, model: nn.Module, choices: Choices, context: Context) -> Collection[int]:
        """The best set found. Records "judged": [paths that are left out, score] for each set, best first."""
        batches = list(context.batches("calibration", self.examples))

        def score(gone: Gone) -> float:
            with trial(model, choices.parts(gone), batches):
                return context.evaluate(model)

        with context.progress.bar("sets of blocks", self.evaluations) as bar:

            def measure(gone: Gone) -> float:
                key = f"without {' '.join(choices.paths(gone))}"
                value = float(context.remember(key, lambda: score(gone)))
                bar.advance()
                return value

            search = Search(choices, measure, self.evaluations, context.generator("depth"))
            best = self._search(search)
        ranked = sorted(search.found.items(), key=lambda item: -item[1])
        context.record("judged", [[choices.paths(gone), value] for gone, value in ranked])
        return best

    def _search(self, search: Search) -> Gone:
        every = search.every() if self.method == "auto" else None
        if every is not None:
            for gone in every:
                search.judge(gone)
            return search.best()
        return search.beam(self.width) if self.method == "beam" else search.evolve(self.width)
