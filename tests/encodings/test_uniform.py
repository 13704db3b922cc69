import pytest
import torch
from torch import nn

from featherweight.encodings import payload
from featherweight.encodings._levels import MAX_LEVEL
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.base import Work
from featherweight.errors import EncodingError, FormatError
from featherweight.numerics import trellis
from featherweight.training.constraints import constraints_of

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def some_levels(*shape, largest=9):
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randint(-largest, largest + 1, shape, generator=generator, dtype=torch.int32)


def there_and_back(encoding):
    written = payload.encode(encoding)
    read = payload.decode(encoding.shape, written.spec, written.data)
    assert torch.equal(read.to_tensor(), encoding.to_tensor())
    assert read.dtype == encoding.dtype
    assert torch.equal(read.levels, encoding.levels)
    assert payload.encode(read) == written
    return read


@pytest.mark.parametrize("dependent", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (7,), (1, 9), (9, 1), (4, 3, 5, 5)])
def test_any_shape(shape, dependent):
    there_and_back(Uniform(some_levels(*shape), torch.tensor([0.3]), dependent))
    if shape and shape[0] > 1:
        there_and_back(Uniform(some_levels(*shape), torch.rand(shape[0]) + 0.1, dependent))


@pytest.mark.parametrize("kind", TYPES)
def test_a_weight_is_its_level_times_the_step_of_its_row(kind):
    levels, step = some_levels(4, 6, 3), torch.tensor([0.1, 1.7, 0.03, 2.9]).to(kind)
    kept = there_and_back(Uniform(levels, step)).to_tensor()
    wide = torch.float64 if kind == torch.float64 else torch.float32
    wanted = (levels.to(wide) * step.to(wide)[:, None, None]).to(kind)
    assert torch.equal(kept, wanted)


def test_dependent_levels_stand_on_two_grids():
    kept = Uniform(torch.tensor([[1, 1, 1, 1, 0], [1, -1, 2, 1, -3]]), torch.tensor([0.5]), True).to_tensor()
    assert kept.tolist() == [[1.0, 1.0, 0.5, 1.0, 0.0], [1.0, -1.0, 1.5, 1.0, -2.5]]


def test_each_row_begins_the_trellis_anew():
    levels = some_levels(5, 33)
    whole = Uniform(levels, torch.tensor([0.5]), True).to_tensor()
    for place in range(5):
        alone = Uniform(levels[place : place + 1], torch.tensor([0.5]), True).to_tensor()
        assert torch.equal(whole[place : place + 1], alone)
    flat = Uniform(levels.reshape(-1), torch.tensor([0.5]), True).to_tensor()
    assert not torch.equal(flat.reshape(5, 33), whole)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_steps_may_be_kept_in_fewer_bits(stored):
    steps = torch.tensor([0.1, 0.7])
    encoding = there_and_back(Uniform(some_levels(2, 5), Dense(steps, stored)))
    assert torch.equal(encoding.step.to_tensor(), steps.to(stored).float())
    assert encoding.step.stored == stored


def test_steps_may_be_any_encoding():
    steps = Codebook(torch.tensor([0, 1, 0]), torch.tensor([0.5, 2.0]))
    assert there_and_back(Uniform(torch.ones(3, 2, dtype=torch.int32), steps)).to_tensor()[1].tolist() == [2, 2]


@pytest.mark.parametrize("largest", [0, 1, 127, 128, 40_000, MAX_LEVEL])
def test_small_and_large_levels(largest):
    levels = torch.tensor([largest, -largest, 0, 1 if largest else 0], dtype=torch.int32)
    there_and_back(Uniform(levels, torch.tensor([0.5])))
    there_and_back(Uniform(levels, torch.tensor([0.5]), True))


@pytest.mark.parametrize(
    ("levels", "step", "match"),
    [
        (torch.zeros(3), torch.ones(1), "integers"),
        (torch.tensor([True]), torch.ones(1), "integers"),
        (torch.tensor([MAX_LEVEL + 1]), torch.ones(1), "at most"),
        (torch.tensor([-MAX_LEVEL - 1]), torch.ones(1), "at most"),
        (torch.zeros(3, 2, dtype=torch.int32), torch.ones(2), "shape"),
        (torch.zeros(3, 2, dtype=torch.int32), torch.ones(3, 1), "shape"),
        (torch.tensor([1]), torch.tensor([0.0]), "above 0"),
        (torch.tensor([1]), torch.tensor([-1.0]), "above 0"),
        (torch.tensor([1]), torch.tensor([float("nan")]), "above 0"),
        (torch.tensor([1]), torch.tensor([float("inf")]), "above 0"),
        (torch.tensor([1]), Dense(torch.tensor([1e-30]), torch.float16), "above 0"),
        (torch.tensor([1]), torch.tensor([1]), "floats"),
        (torch.tensor([1]), torch.tensor([1.0]).to(torch.float8_e4m3fn), "16 bits"),
    ],
)
def test_what_is_not_uniform(levels, step, match):
    with pytest.raises(EncodingError, match=match):
        Uniform(levels, step)


def test_each_weight_takes_its_nearest_level():
    weight, steps = torch.randn(30, 50), torch.rand(30) + 0.05
    encoding = Uniform.of(weight, steps)
    assert ((encoding.to_tensor() - weight).abs() <= steps[:, None] / 2 * (1 + 1e-6)).all()
    assert Uniform.of(torch.tensor([0.5, 1.5]), torch.tensor([1.0])).levels.tolist() == [0, 2]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_weights_that_no_level_reaches(wrong):
    with pytest.raises(EncodingError, match="steps, or no number"):
        Uniform.of(torch.tensor([0.5, wrong]), torch.tensor([0.1]))


@pytest.mark.parametrize("kind", TYPES)
def test_from_a_tensor_exactly_where_there_is_a_step(kind):
    weight = (torch.arange(-20, 30) * 0.375).to(kind)
    encoding = Uniform.from_tensor(weight)
    assert torch.equal(encoding.to_tensor(), weight)
    assert encoding.step.to_tensor().item() == 0.375
    with pytest.raises(EncodingError, match="floating"):
        Uniform.from_tensor(torch.tensor([1]))


def test_from_any_other_tensor_to_20_bits():
    weight = torch.randn(500)
    away = (Uniform.from_tensor(weight).to_tensor() - weight).abs().max()
    assert away < 1e-5 * weight.abs().max()


def test_the_gradient_of_a_step_is_a_finite_difference():
    levels = some_levels(3, 7)
    upstream = torch.randn(3, 7, dtype=torch.float64)
    for dependent in (False, True):
        steps = (torch.rand(3, dtype=torch.float64) + 0.5).requires_grad_()

        def loss(steps, dependent=dependent):
            return (Uniform(levels, steps, dependent).to_tensor() * upstream).sin().sum()

        loss(steps).backward()
        for row in range(3):
            move = torch.zeros(3, dtype=torch.float64)
            move[row] = 1e-6
            difference = (loss(steps.detach() + move) - loss(steps.detach() - move)) / 2e-6
            assert torch.allclose(steps.grad[row], difference, atol=1e-6)


def test_a_gradient_step_of_the_weights_is_one_of_the_step():
    encoding = Uniform(some_levels(2, 6), torch.tensor([0.5, 0.2]))
    gradient = torch.randn(2, 6)
    spread = encoding.gradient(gradient)
    wanted = (gradient * encoding.levels).sum(1, keepdim=True) * encoding.levels
    assert torch.allclose(spread, wanted)


@pytest.mark.parametrize("dependent", [False, True])
def test_projection_is_least_squares(dependent):
    encoding = Uniform(some_levels(3, 40), torch.tensor([0.5, 0.2, 1.0]), dependent)
    weight = torch.randn(3, 40)
    multiples = encoding.multiples.double()
    steps = (weight.double() * multiples).sum(1) / multiples.square().sum(1)
    assert torch.allclose(encoding.project(weight), (steps[:, None] * multiples).float(), rtol=1e-6)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dependent", [False, True])
def test_what_it_keeps_is_a_fixed_point_bit_for_bit(kind, dependent):
    """Rounded products alone would let the step drift by a float now and then."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(30):
        steps = (torch.rand(8, generator=generator) + 0.01).to(kind)
        others = (torch.rand(8, generator=generator) + 0.01).to(kind)
        levels = torch.randint(-60, 61, (8, 11), generator=generator)
        kept = Uniform(levels, steps, dependent).to_tensor()
        other = Uniform(levels, others, dependent)
        assert torch.equal(other.project(kept), kept)
        assert torch.equal(other.updated(kept).to_tensor(), kept)


@pytest.mark.parametrize("kind", TYPES)
def test_a_step_that_gives_the_weights_is_kept(kind):
    """In few bits several steps may round to the same weights; a file must not depend on who looked in between."""
    generator = torch.Generator().manual_seed(6)
    for _ in range(50):
        step = (torch.rand(1, generator=generator) + 0.01).to(torch.bfloat16).to(kind)
        encoding = Uniform(torch.randint(-9, 10, (20,), generator=generator), step)
        assert torch.equal(encoding.updated(encoding.to_tensor()).step.to_tensor(), step)


def test_a_step_that_training_turns_takes_the_signs_of_its_levels_along():
    encoding = Uniform(torch.tensor([[1, -2], [3, 1]]), torch.tensor([0.5, 0.5]))
    changed = encoding.updated(torch.tensor([[-1.0, 2.0], [1.5, 0.5]]))
    assert changed.levels.tolist() == [[-1, 2], [3, 1]]
    assert changed.step.to_tensor().tolist() == [1.0, 0.5]


def test_a_row_that_training_empties_becomes_zeros():
    encoding = Uniform(torch.tensor([[1, -2], [3, 1]]), torch.tensor([0.5, 0.25]))
    changed = encoding.updated(torch.tensor([[0.0, 0.0], [1.5, 0.5]]))
    assert changed.levels.tolist() == [[0, 0], [3, 1]]
    assert changed.to_tensor().tolist() == [[0, 0], [1.5, 0.5]]
    tiny = Uniform(torch.tensor([1, 2]), Dense(torch.tensor([0.5]), torch.float16))
    assert tiny.updated(torch.tensor([1e-9, 2e-9])).to_tensor().tolist() == [0, 0]


def test_a_row_without_levels_keeps_its_step():
    encoding = Uniform(torch.tensor([[0, 0], [3, 1]]), torch.tensor([0.5, 0.25]))
    assert encoding.updated(torch.randn(2, 2)).step.to_tensor()[0] == 0.5


@pytest.mark.parametrize("dependent", [False, True])
def test_training_moves_the_steps_and_nothing_else(dependent):
    model = nn.Linear(6, 4)
    attach(model, {"weight": Uniform(some_levels(4, 6), torch.rand(4) + 0.1, dependent)})
    before = encodings_of(model)["weight"]
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        model.weight.grad = constraints_of(model)["weight"].gradient(model.weight.grad)
        optimizer.step()
        with torch.no_grad():
            model.weight.copy_(constraints_of(model)["weight"].project(model.weight))
    after = encodings_of(model)["weight"]
    assert torch.equal(after.to_tensor(), model.weight)
    assert torch.equal(after.levels, before.levels)
    assert not torch.equal(after.step.to_tensor(), before.step.to_tensor())


def test_the_state_brings_it_back():
    encoding = Uniform(some_levels(3, 4), Dense(torch.rand(3) + 0.1, torch.bfloat16), True)
    again = encoding.restored(encoding.state())
    assert torch.equal(again.to_tensor(), encoding.to_tensor())
    assert (again.dependent, again.step.stored) == (True, torch.bfloat16)


def test_finite_and_nonzeros():
    assert Uniform(torch.tensor([3, 0]), torch.tensor([1e38])).nonzeros == 1
    assert Uniform(torch.tensor([3, 0]), torch.tensor([1e38])).finite
    assert not Uniform(torch.tensor([4, 0]), torch.tensor([1e38])).finite
    assert not Uniform(torch.tensor([2, 0]), torch.tensor([1e38]), True).finite
    assert Uniform(torch.zeros(0, dtype=torch.int32), torch.tensor([1.0])).finite


@pytest.mark.parametrize(
    ("shape", "fields", "code"),
    [
        ((3,), (4, 1), "E_VERSION"),
        ((), (2, 1), "E_SHAPE"),
        ((1, 5), (2, 1), "E_SHAPE"),
        ((0, 5), (3, 1), "E_SHAPE"),
        ((3,), (0, 0), "E_COUNT"),
        ((3,), (0, 1 << 31), "E_COUNT"),
        ((3,), (5, 3), "E_SHAPE"),
        ((2, 3), (4, 3), "E_VERSION"),
        ((0,), (0, 2), "E_COUNT"),
    ],
)
def test_fields_that_no_tensor_has(shape, fields, code):
    with pytest.raises(FormatError, match=code):
        Uniform.layout(shape, fields)


def test_the_coder_is_told_shape_and_sign():
    (stream,) = Uniform.layout((3, 4), (1, 9)).streams
    assert (stream.count, stream.alphabet, stream.shape, stream.signed) == (12, 9, (3, 4), True)
    assert Uniform.layout((3, 4), (2, 9)).children == ((3,),)
    assert Uniform.describe((1, 9)) == "dependent 9"


def test_what_no_writer_packs():
    packed = Uniform(torch.tensor([0, 1, -1]), torch.tensor([0.5])).pack()
    assert packed.fields == (0, 3)
    for step, code in ((0.0, "E_NONFINITE"), (float("nan"), "E_NONFINITE"), (-1.0, "E_NONFINITE")):
        broken = type(packed)(packed.fields, packed.streams, (Dense(torch.tensor([step])),))
        with pytest.raises(FormatError, match=code):
            Uniform.unpack((3,), broken)
    for alphabet, code in ((2, "E_INDEX"), (4, "E_COUNT")):
        with pytest.raises(FormatError, match=code):
            Uniform.unpack((3,), type(packed)((0, alphabet), packed.streams, packed.children))
    narrow = Dense(torch.tensor([1], dtype=torch.int32))
    with pytest.raises(FormatError, match="E_VERSION"):
        Uniform.unpack((3,), type(packed)(packed.fields, packed.streams, (narrow,)))
    with pytest.raises(EncodingError, match="form of this tensor is 0"):
        Uniform(torch.tensor([1]), torch.tensor([1.0])).pack(1)


@pytest.mark.parametrize("dependent", [False, True])
def test_a_reader_may_give_up_in_between(dependent):
    calls = []

    def check():
        calls.append(None)
        if len(calls) > 1:
            raise TimeoutError

    encoding = Uniform(torch.ones(3, 1 << 20, dtype=torch.int8), torch.tensor([0.5]), dependent)
    with pytest.raises(TimeoutError):
        Uniform.unpack(encoding.shape, encoding.pack(), Work(check=check))
    calls.clear()
    with pytest.raises(TimeoutError):
        Uniform(encoding.levels, encoding.step, dependent).decoded(Work(check=check))
    calls.clear()
    assert torch.equal(encoding.decoded(Work()), encoding.to_tensor())


def test_a_continued_trellis_runs_through_the_tensor():
    """The reconstruction of ISO/IEC 15938-17, level by level, with one state for the whole tensor."""
    levels = torch.tensor([[1, 0, -2, 3], [5, -1, 0, 2], [-3, 1, 1, 0]])
    state, expected = 0, []
    for level in levels.reshape(-1).tolist():
        expected.append(2 * level - (state & 1) * ((level > 0) - (level < 0)))
        state = trellis.NEXT[state][level & 1]
    through = Uniform(levels, torch.tensor([0.5]), dependent=True, continued=True)
    assert through.multiples.reshape(-1).tolist() == expected
    anew = Uniform(levels, torch.tensor([0.5]), dependent=True)
    assert anew.multiples[1:].tolist() != through.multiples[1:].tolist()
    there_and_back(through)


def test_only_dependent_tensors_of_rows_are_continued():
    assert not Uniform(torch.ones(3, 2, dtype=torch.int8), torch.ones(1), continued=True).continued
    assert not Uniform(torch.ones(6, dtype=torch.int8), torch.ones(1), dependent=True, continued=True).continued


def test_what_was_read_makes_levels_when_they_are_asked_for():
    written = payload.encode(Uniform(some_levels(6, 40), torch.tensor([0.5]), True))
    read = payload.decode((6, 40), written.spec, written.data)
    nonzeros, packed, finite = read.nonzeros, read.pack(), read.finite
    assert finite
    assert not isinstance(vars(read)["_kept"], torch.Tensor)
    values = read.decoded()
    assert torch.equal(read.levels, some_levels(6, 40))
    assert isinstance(vars(read)["_kept"], torch.Tensor)
    assert torch.equal(read.decoded(), values)
    assert read.nonzeros == nonzeros == int(torch.count_nonzero(some_levels(6, 40)))
    assert read.pack().streams[0].tolist() == packed.streams[0].tolist()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dependent", [False, True])
def test_finite_is_exact_where_products_come_near_the_largest_number(kind, dependent):
    largest = torch.finfo(kind).max
    for share in (0.2, 0.45, 0.499, 0.501, 0.9, 1.0):
        step = torch.tensor([largest * share], dtype=kind)
        for levels in ([0, 0], [1, -1], [1, 2], [2, -2]):
            kept = Uniform(torch.tensor(levels), step, dependent)
            assert kept.finite == bool(torch.isfinite(kept.to_tensor()).all())
