import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from featherweight.errors import UsageError
from featherweight.graph.layers import LowRankGRU, LowRankLSTM
from featherweight.graph.trace import trace
from featherweight.profiling.macs import Macs

PAIRS = {"lstm": (nn.LSTM, LowRankLSTM), "gru": (nn.GRU, LowRankGRU)}


def exact(kind, *, factored=True, **settings):
    """A torch layer and ours with the same products: full-rank factors, or whole matrices."""
    plain_class, our_class = PAIRS[kind]
    torch.manual_seed(0)
    plain = plain_class(5, 6, **settings)
    names = [name for name, _ in plain.named_parameters() if name.startswith("weight_")]
    ranks = {
        part: [min(plain.get_parameter(name).shape) if factored else 0 for name in names if part in name]
        for part in ("ih", "hh")
    }
    ours = our_class(5, 6, ranks["ih"], ranks["hh"], **settings)
    state = {}
    for name, tensor in plain.state_dict().items():
        if name.startswith("weight_") and factored:
            u, s, v = torch.linalg.svd(tensor, full_matrices=False)
            state[name.replace("weight", "left")] = u * s
            state[name.replace("weight", "right")] = v
        else:
            state[name] = tensor
    ours.load_state_dict(state)
    return plain, ours


def flat(output):
    result, states = output
    data = result.data if hasattr(result, "batch_sizes") else result
    return [data, *(states if isinstance(states, tuple) else (states,))]


def assert_same(found, wanted):
    for one, other in zip(flat(found), flat(wanted), strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=1e-5)


def states(kind, count, batch):
    parts = [torch.randn(count, *batch, 6, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]
    return tuple(parts) if kind == "lstm" else parts[0]


SETTINGS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "dropout": 0.3},
]


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("settings", SETTINGS)
def test_at_full_rank_it_is_the_layer_of_torch(kind, factored, settings):
    plain, ours = exact(kind, factored=factored, **settings)
    plain.eval(), ours.eval()
    steps = torch.randn(7, 3, 5)
    count = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    batch = 7 if settings.get("batch_first") else 3
    with torch.no_grad():
        assert_same(ours(steps), plain(steps))
        assert_same(ours(steps, states(kind, count, [batch])), plain(steps, states(kind, count, [batch])))
        assert_same(ours(steps[:, 0]), plain(steps[:, 0]))  # without a batch
        assert_same(ours(steps[:, 0], states(kind, count, [])), plain(steps[:, 0], states(kind, count, [])))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("in_order", [True, False])
def test_packed_sequences_end_where_they_end(kind, in_order):
    plain, ours = exact(kind, num_layers=2, bidirectional=True)
    lengths = torch.tensor([7, 4, 2]) if in_order else torch.tensor([2, 7, 4])
    packed = pack_padded_sequence(torch.randn(7, 3, 5), lengths, enforce_sorted=in_order)
    with torch.no_grad():
        found, wanted = ours(packed), plain(packed)
        assert_same(found, wanted)
        assert_same(ours(packed, states(kind, 4, [3])), plain(packed, states(kind, 4, [3])))
    assert torch.allclose(pad_packed_sequence(found[0])[0], pad_packed_sequence(wanted[0])[0], atol=1e-5)


def test_a_shared_left_factor_is_one_product_for_both_matrices():
    torch.manual_seed(0)
    shared = LowRankLSTM(5, 6, [3], [3], shared=True)
    names = [name for name, _ in shared.named_parameters()]
    assert names == ["left_l0", "right_ih_l0", "right_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    apart = LowRankLSTM(5, 6, [3], [3])
    state = {name: tensor for name, tensor in shared.state_dict().items() if name != "left_l0"}
    apart.load_state_dict(state | {"left_ih_l0": shared.left_l0, "left_hh_l0": shared.left_l0})
    steps = torch.randn(4, 2, 5)
    assert_same(shared(steps), apart(steps))


def test_a_place_without_rank_is_whole_where_others_share():
    torch.manual_seed(0)
    shared = LowRankLSTM(5, 6, [0, 3], [0, 3], 2, shared=True)
    apart = LowRankLSTM(5, 6, [0, 3], [0, 3], 2)
    state = {name: tensor for name, tensor in shared.state_dict().items() if name != "left_l1"}
    apart.load_state_dict(state | {"left_ih_l1": shared.left_l1, "left_hh_l1": shared.left_l1})
    steps = torch.randn(4, 2, 5)
    assert_same(shared(steps), apart(steps))


@pytest.mark.parametrize("kind", PAIRS)
def test_it_traces_and_counts_its_thin_products(kind):
    _, our_class = PAIRS[kind]
    torch.manual_seed(0)
    model = our_class(8, 6, [2], [3], batch_first=True).eval()
    steps = torch.randn(2, 5, 8)
    gates = 4 if kind == "lstm" else 3
    wanted = 5 * (2 * (gates * 6 + 8) + 3 * (gates * 6 + 6))
    assert Macs().count(trace(model, (steps,)), 2).value == wanted


def test_gradients_reach_every_factor():
    for our_class in (LowRankLSTM, LowRankGRU):
        model = our_class(4, 6, [2, 3], [0, 2], 2)
        model(torch.randn(3, 2, 4))[0].square().sum().backward()
        assert all(float(parameter.grad.abs().sum()) > 0 for parameter in model.parameters())


def test_fresh_weights_are_of_the_usual_size():
    torch.manual_seed(0)
    model = LowRankLSTM(64, 64, [16], [16])
    product = (model.left_hh_l0 @ model.right_hh_l0).detach()
    assert float(product.std()) == pytest.approx(float(nn.LSTM(64, 64).weight_hh_l0.detach().std()), rel=0.1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="rank_hh"):
        LowRankLSTM(4, 4, [2, 2], [2], 2)
    with pytest.raises(UsageError, match="shared"):
        LowRankGRU(4, 4, [2], [2], shared=True)
    with pytest.raises(UsageError, match="shared"):
        LowRankLSTM(4, 4, [2], [3], shared=True)
    with pytest.raises(UsageError, match="setting"):
        LowRankLSTM(4, 4, [2], [2], proj_size=2)
    model = LowRankLSTM(4, 4, [2], [2])
    with pytest.raises(UsageError, match="time, batch, 4"):
        model(torch.randn(3, 2, 5))
    with pytest.raises(UsageError, match="hx"):
        model(torch.randn(3, 2, 4), (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_it_exports_to_onnx(tmp_path):
    for extra in ("onnx", "onnxscript"):
        pytest.importorskip(extra)
    model = LowRankLSTM(5, 6, [2], [3], batch_first=True).eval()
    path = tmp_path / "recurrent.onnx"
    torch.onnx.export(model, (torch.randn(2, 4, 5),), path, dynamo=True, verbose=False)
    assert path.stat().st_size > 0
