"""Multi-head attention beside PyTorch's."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.notes.attention import multi_head


@pytest.mark.parity
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_pytorch_gives_the_same_outputs_and_gradients_with_the_same_weights(bias, masked):
    torch = pytest.importorskip("torch")
    tn.manual_seed(0)
    ours = multi_head.MultiHead(12, 3, bias=bias).to("float64")
    theirs = torch.nn.MultiheadAttention(12, 3, bias=bias, batch_first=True, dtype=torch.float64)
    parts = ours.W_Q, ours.W_K, ours.W_V
    state = {
        "in_proj_weight": np.concatenate([part.weight.data for part in parts]),
        "out_proj.weight": ours.W_O.weight.data,
    }
    if bias:
        state |= {
            "in_proj_bias": np.concatenate([part.bias.data for part in parts]),
            "out_proj.bias": ours.W_O.bias.data,
        }
    theirs.load_state_dict({name: torch.tensor(value) for name, value in state.items()})

    random = np.random.default_rng(1)
    inputs = [random.standard_normal(shape) for shape in ((2, 4, 12), (2, 6, 12), (2, 6, 12))]
    seen = random.random((4, 6)) < 0.6
    seen[:, 0] = True
    x = [tn.tensor(value, requires_grad=True) for value in inputs]
    t = [torch.tensor(value, requires_grad=True) for value in inputs]
    found = ours(*x, seen if masked else None)
    expected, _ = theirs(*t, attn_mask=torch.tensor(~seen) if masked else None)
    assert np.abs(found.data - expected.detach().numpy()).max() < 1e-12

    weights = random.standard_normal(found.shape)
    (found * weights).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    for a, b in zip(x, t):
        assert np.abs(a.grad.data - b.grad.numpy()).max() < 1e-12
    joint = np.concatenate([part.weight.grad.data for part in parts])
    assert np.abs(joint - theirs.in_proj_weight.grad.numpy()).max() < 1e-12
    assert np.abs(ours.W_O.weight.grad.data - theirs.out_proj.weight.grad.numpy()).max() < 1e-12
