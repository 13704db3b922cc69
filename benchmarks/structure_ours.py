"""featherweight on the networks of the zoo, for bench_structure.py: half of the channels go, everywhere possible.

    python benchmarks/structure_ours.py [NAME ...] > ours.json

A row: `ok`; `error` and `stage` where it is not; `seconds` of the CPU to find the groups, choose and cut, median of 3
fresh models (filters by l2 norm, in place, as the peer; without the check of the result that the peer does not have);
`parameters` before, `left` after; `removed` = 1 - left / parameters; `touched` = share of the parameters in tensors
that became smaller; `prunable` = share in tensors that some group cuts (of heads and widths, one goes at a time);
`equal`, the largest difference between the cut network and the masked one, over the largest output, in double precision
where single precision does not settle it (detectors choose among boxes whose scores nearly tie); `barriers`, the
operators that hold channels; `asked` and `got` for the budgets in parameters, multiply-adds and bytes.

`ok` means: forward and backward run, outputs have their shapes and no NaN, masked equals cut (1e-4 of the largest
output in single precision), and a file saved and taken up by a fresh instance of the class gives the same outputs.
"""

import json
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import featherweight
import structure_isolated as isolated
import structure_zoo as zoo
from featherweight.core.context import Context
from featherweight.graph import surgery
from featherweight.graph.masked import Masked
from featherweight.graph.module import tensors_of
from featherweight.graph.program import tensors_in
from featherweight.techniques.pruning._budget import Budget, Chosen, candidates, choose
from featherweight.techniques.pruning.filter.norm import Norm

RATIO = 0.5
ROUNDS = 3
EQUAL = 1e-4  # of the largest output, single precision
UNITS = ("parameters", "macs", "bytes")


def exported(name: str) -> isolated.Row:
    """Whether plain torch.onnx.export takes the whole network (`before`) and the cut one (`ok`)."""
    warnings.simplefilter("ignore")
    entry = zoo.find(name)
    model, inputs = entry.build(), entry.example()
    try:
        torch.onnx.export(model, inputs, dynamo=True, verbose=False)
    except Exception as error:  # noqa: BLE001  # whatever it raises is its answer
        return {"ok": False, "before": False, "error": isolated.explained(error)}
    known = surgery.anatomy(model, inputs, entry.kept(model))
    cut = surgery.remove(model, known, chosen_by(model, known, Budget(ratio=RATIO)).atoms)
    try:
        torch.onnx.export(cut, inputs, dynamo=True, verbose=False)
    except Exception as error:  # noqa: BLE001  # the same
        return {"ok": False, "before": True, "error": isolated.explained(error)}
    return {"ok": True, "before": True}


def measured(name: str) -> isolated.Row:
    """The row of one network; runs in a process of its own."""
    entry = zoo.find(name)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model, inputs = entry.build(), entry.example()
    keep = entry.kept(model)
    before = sum(item.numel() for item in model.parameters())
    row: isolated.Row = {"ok": False, "stage": "groups", "parameters": before}
    try:
        known = surgery.anatomy(model, inputs, keep)
        row["stage"] = "choose"
        chosen = chosen_by(model, known, Budget(ratio=RATIO))
        row["stage"] = "cut"
        cut = surgery.remove(model, known, chosen.atoms, verify=False)
        row |= _sizes(model, cut) | {"prunable": _prunable(model, known)}
        row["barriers"] = sorted({op for op, _ in known.structure.flow.barriers})
        row["whole"] = len(chosen.left_whole)
        row["stage"] = "masked equals cut"
        row["equal"] = _difference(entry, model, cut, known, chosen, inputs)
        row["stage"] = "backward"
        sum(item.sum() for item in entry.output(cut(*inputs))).backward()
        row["stage"] = "save and rebuild"
        _rebuilt(entry, cut, inputs)
        row["stage"] = "budgets"
        row |= _budgets(model, known)
        times = [_timed(entry) for _ in range(ROUNDS)]
    except Exception as error:  # noqa: BLE001  # whatever stops it is the row's answer
        return {**row, "error": isolated.explained(error)}
    return {**row, "ok": True, "stage": "", "seconds": statistics.median(times)}


def chosen_by(model: nn.Module, known: surgery.Anatomy, budget: Budget) -> Chosen:
    """The channels that the l2 norm of filters chooses."""
    groups = candidates(model, known)
    nobody: Any = None
    context: Context = nobody  # norms look at weights alone
    scores = Norm(norm="l2").scores(model, known, groups, context)
    return choose(model, known, list(zip(groups, scores, strict=True)), budget)


def _timed(entry: zoo.Entry) -> float:
    model, inputs = entry.build(), entry.example()
    keep = entry.kept(model)
    start = time.process_time()
    known = surgery.anatomy(model, inputs, keep)
    surgery.remove(model, known, chosen_by(model, known, Budget(ratio=RATIO)).atoms, verify=False, in_place=True)
    return time.process_time() - start


def _sizes(model: nn.Module, cut: nn.Module) -> isolated.Row:
    sizes = {name: item.numel() for name, item in model.named_parameters()}
    left = {name: item.numel() for name, item in cut.named_parameters()}
    before, after = sum(sizes.values()), sum(left.values())
    touched = sum(size for name, size in sizes.items() if left.get(name) != size)
    return {"left": after, "removed": round(1 - after / before, 4), "touched": round(touched / before, 4)}


def _prunable(model: nn.Module, known: surgery.Anatomy) -> float:
    named = dict(model.named_parameters(remove_duplicate=False))
    slots = (slot for group in known.groups if len(group.atoms) > 1 for slot in group.slots)
    covered = {id(named[slot.tensor]) for slot in slots if slot.tensor in named}  # tied tensors have several names
    sizes = {id(item): item.numel() for item in named.values()}
    return round(sum(size for item, size in sizes.items() if item in covered) / sum(sizes.values()), 4)


def _difference(
    entry: zoo.Entry, model: nn.Module, cut: nn.Module, known: surgery.Anatomy, chosen: Chosen, inputs: zoo.Inputs
) -> float:
    """Raises: ValueError when the cut network differs from the masked one."""
    worst = _distances(entry, model, cut, known, chosen, inputs)
    if worst > EQUAL:
        exact, doubled = entry.build().double(), tuple(_double(item) for item in inputs)
        known = surgery.anatomy(exact, doubled, entry.kept(exact))
        chosen = chosen_by(exact, known, Budget(ratio=RATIO))
        worst = _distances(
            entry, exact, surgery.remove(exact, known, chosen.atoms, verify=False), known, chosen, doubled
        )
    if not worst <= EQUAL:
        raise ValueError(f"the cut network differs from the masked one by {worst:.1e} of the largest output")
    return worst


def _distances(
    entry: zoo.Entry, model: nn.Module, cut: nn.Module, known: surgery.Anatomy, chosen: Chosen, inputs: zoo.Inputs
) -> float:
    tensors = tensors_of(known.structure.flow.graph, model)
    masked = Masked(known.structure, tensors).run(list(tensors_in(inputs)), known.gone(chosen.atoms))
    with torch.no_grad():
        found = list(entry.output(cut(*inputs)))
    expected = [item for item in tensors_in(masked) if item.is_floating_point()]
    return max((_distance(a, b) for a, b in zip(found, expected, strict=False)), default=0.0)


def _double(item: Any) -> Any:
    return item.double() if isinstance(item, Tensor) and item.is_floating_point() else item


def _distance(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        raise ValueError(f"an output has the shape {tuple(found.shape)}, masked {tuple(expected.shape)}")
    scale = max(float(expected.abs().max()), 1e-6)
    return float((found - expected).abs().max()) / scale


def _rebuilt(entry: zoo.Entry, cut: nn.Module, inputs: zoo.Inputs) -> None:
    """Raises: ValueError when a fresh instance that took up the file computes something else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut.fwt"
        featherweight.save(cut, path)
        fresh = featherweight.rebuild(entry.build(), path).eval()
    with torch.no_grad():
        same = [
            torch.equal(a, b) for a, b in zip(entry.output(cut(*inputs)), entry.output(fresh(*inputs)), strict=True)
        ]
    if type(fresh) is not type(cut) or not all(same):
        raise ValueError("a fresh instance that took up the file computes something else")


def _budgets(model: nn.Module, known: surgery.Anatomy) -> isolated.Row:
    """What a budget of half gives, by unit."""
    reached = {unit: chosen_by(model, known, Budget(ratio=RATIO, unit=unit)).reached for unit in UNITS}  # type: ignore[arg-type]
    return {f"reached_{unit}": round(share, 4) for unit, share in reached.items()}


def main() -> int:
    """All networks, or those named, one after another; JSON on standard output."""
    names = sys.argv[1:] or [entry.name for entry in zoo.zoo()]
    rows = []
    for name in names:
        rows.append(isolated.run(measured, name))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
