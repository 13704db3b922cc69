"""What people read of a log of surgery: each step on a line, layers and channels in the words of the field."""

import pytest

from featherweight.cli.log_text import layers_cut, lines_of
from featherweight.graph.log import Cut, Log, Removal, Replacement


def removal(*names, size=8, settings=()):
    """The first half of dimension 0 of these tensors stays."""
    return Removal({name: (Cut.of(0, size, range(size // 2)),) for name in names}, settings)


def told(*steps, **ranks):
    known = {name.replace("__", "."): rank for name, rank in ranks.items()}
    return list(lines_of(Log(steps).to_dict(), known))


def test_a_step_on_a_line_and_what_all_come_to():
    norm = [f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    assert told(
        removal("conv1.weight", *norm, "layer1.0.conv.weight", settings=(("layer1.0.conv", "groups", 2),)),
        removal("conv1.weight", size=4),
        Replacement((("bn", {"kind": "Identity"}), ("fc", {"kind": "Linear", "in_features": 2, "out_features": 2}))),
        bn__weight=1,
    ) == [
        "1  remove: 6 tensors and 1 number, conv1 8 -> 4 channels, layer1.0.conv 8 -> 4",
        "2  remove: 1 tensor, conv1 4 -> 2 channels",
        "3  replace: 2 modules, bn by Identity, fc by Linear",
        "in all: 3 steps; 2 layers cut, 16 -> 6 channels; 2 modules replaced",
    ]


def test_norms_are_no_layers_also_where_no_rank_is_known():
    plain = removal("bn.weight", "bn.running_mean", "ln.weight", "conv.weight").plain()
    assert layers_cut(plain, {"ln.weight": 1}) == {"conv": (8, 4)}
    columns = Removal({"fc.weight": (Cut.of(1, 8, [0]),), "attn.in_proj_weight": (Cut.of(0, 6, [0, 5]),)}).plain()
    assert layers_cut(columns, {}) == {"attn.in_proj_weight": (6, 2)}
    both = Removal({"fc.weight": (Cut.of(0, 4, [1]), Cut.of(1, 8, [0]))}).plain()
    assert layers_cut(both, {}) == {"fc": (4, 1)}


@pytest.mark.parametrize("count", [2, 3, 40, 2000])
def test_long_lists_end_within_a_terminal_of_100_columns_with_the_number_of_the_rest(count):
    (line, _) = told(removal(*(f"stage{number}.conv.weight" for number in range(count))))
    shown = line.count("stage")
    assert len(line) <= 100
    assert shown >= 2
    assert line.endswith(f"({count - shown:,} more)" if shown < count else "8 -> 4")
    (long, _) = told(removal("deep." * 40 + "conv.weight", "other.weight"))
    assert long.endswith("channels, ... (1 more)")  # one stands there however long it is


def test_steps_without_layers_and_no_steps():
    assert told(Removal({"positions": (Cut.of(1, 4, [0]),)}))[0] == "1  remove: 1 tensor"
    assert told() == ["no surgery: the structure is that of the class it came from"]
    assert told(*[removal("a.weight")] * 10)[0].startswith(" 1  remove")
