"""The budget that blocks are taken out for."""

from tests.techniques.pruning.layer.conftest import deep, toy

from featherweight.techniques.pruning.layer.block_removal import BlockRemoval


def test_only_what_brings_nearer_may_go():
    model = deep(width=4, wide=16)
    choices = BlockRemoval(ratio=0.3, of="parameters").choices(model, toy(model))
    small, large = 2 * (16 * 9 + 2 * 4), 2 * (256 * 9 + 2 * 16)
    assert choices.savings == (small,) * 3 + (large,) * 3
    assert choices.target == 0.3 * sum(parameter.numel() for parameter in model.parameters())
    assert choices.nearer([]) == [0, 1, 2, 3, 4, 5]
    assert set(choices.nearer([3])) <= {0, 1, 2}, "a second large one goes too far"
    assert choices.saved([0, 4]) == small + large


def test_multiply_adds_are_those_that_really_go():
    model = deep()
    context = toy(model)
    choices = BlockRemoval(ratio=0.5, of="macs").choices(model, context)
    technique = BlockRemoval(ratio=0.5, of="macs", repair="none", examples=16)
    technique.apply(model, context)
    gone = [number for number, block in enumerate(choices.blocks) if block.path in context.details["removed"]]
    assert abs(context.details["reached"] - choices.saved(gone) / choices.whole) < 1e-12
