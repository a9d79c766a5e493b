"""Where this project differs from PyTorch on purpose: DIFFERENCES.md, on both sides."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim

torch = pytest.importorskip("torch")
functional = torch.nn.functional
schedulers = torch.optim.lr_scheduler


def ours(*values, requires_grad=False):
    return tn.tensor(np.array(values, np.float32), requires_grad=requires_grad)


def theirs(*values, requires_grad=False):
    return torch.tensor(values, dtype=torch.float32, requires_grad=requires_grad)


def ours_optimizer(**options):
    return optim.SGD([nn.Parameter([1.0])], lr=1.0, momentum=0.9, **options)


def their_optimizer(**options):
    return torch.optim.SGD([torch.nn.Parameter(theirs(1.0))], lr=1.0, momentum=0.9, **options)


def rate_after(optimizer, schedule, steps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's: a schedule that is stepped before its optimiser
        for _ in range(steps):
            schedule.step()
    return optimizer.param_groups[0]["lr"]


def test_losses_do_not_broadcast():
    with pytest.raises(tn.ShapeError):
        tn.mse_loss(np.ones((3, 1)), np.ones(3))
    with pytest.warns(UserWarning, match="broadcast"):
        assert functional.mse_loss(torch.ones(3, 1), torch.ones(3)) == 0


def test_targets_of_losses_get_finite_gradients():
    ours_target, their_target = ours(0.0, requires_grad=True), theirs(0.0, requires_grad=True)
    tn.poisson_nll_loss(ours(1.0), ours_target, full=True).backward()
    functional.poisson_nll_loss(theirs(1.0), their_target, full=True).backward()
    assert (ours_target.grad.item(), math.isnan(their_target.grad)) == (-1.0, True)
    ours_target, their_target = ours(0.0, requires_grad=True), theirs(0.0, requires_grad=True)
    tn.binary_cross_entropy(ours(0.0), ours_target).backward()
    functional.binary_cross_entropy(theirs(0.0), their_target).backward()
    assert (ours_target.grad.item(), their_target.grad.item()) == (100.0, math.inf)


def test_impossible_alignments_have_no_gradient():
    ours_x, their_x = tn.zeros((1, 1, 3), requires_grad=True), torch.zeros(1, 1, 3, requires_grad=True)
    tn.ctc_loss(ours_x, np.array([[1, 2]]), np.array([1]), np.array([2]), reduction="sum").backward()
    lengths = torch.tensor([1]), torch.tensor([2])
    functional.ctc_loss(their_x, torch.tensor([[1, 2]]), *lengths, reduction="sum").backward()
    assert not ours_x.grad.data.any()
    assert their_x.grad.isnan().all()


def test_fully_masked_attention_is_zero():
    x, hidden = np.ones((2, 1, 4), np.float32), np.ones((1, 2), bool)
    assert not nn.MultiheadAttention(4, 1, bias=False)(x, x, x, hidden)[0].data.any()
    x = torch.ones(2, 1, 4)
    assert torch.nn.MultiheadAttention(4, 1, bias=False)(x, x, x, torch.from_numpy(hidden))[0].isnan().all()


def test_causal_without_a_mask():
    x = np.ones((2, 1, 4), np.float32)
    assert nn.TransformerEncoderLayer(4, 1)(x, is_causal=True).shape == (2, 1, 4)
    with pytest.raises(RuntimeError, match="attn_mask"):
        torch.nn.TransformerEncoderLayer(4, 1)(torch.from_numpy(x), is_causal=True)


def test_median_and_deviation_are_numpys():
    x, y = ours(1.0, 2.0, 3.0, 4.0), theirs(1.0, 2.0, 3.0, 4.0)
    assert (tn.median(x).item(), y.median().item()) == (2.5, 2.0)
    assert (tn.var(x).item(), round(y.var().item(), 4)) == (1.25, 1.6667)


def test_repeat_is_numpys():
    assert tn.repeat(ours(1.0, 2.0), 2).tolist() == [1, 1, 2, 2]
    assert theirs(1.0, 2.0).repeat(2).tolist() == [1, 2, 1, 2]


def test_softmin_goes_along_the_last_axis():
    x = [[[1.0, 2.0], [1.0, 2.0]]]
    assert round(nn.Softmin()(tn.tensor(x)).data[0, 0, 0], 4) == 0.7311
    with pytest.warns(UserWarning, match="Implicit dimension"):
        assert torch.nn.Softmin()(torch.tensor(x))[0, 0, 0] == 1  # along axis 0, of size 1


def test_three_axes_are_one_image():
    dropped = tn.dropout2d(np.ones((64, 2, 3), np.float32), 0.5, seed=1).data
    assert np.ptp(dropped, axis=(1, 2)).max() == 0  # whole planes (H, W) of the 64 channels of one image
    with pytest.warns(UserWarning, match="dropout2d"):
        dropped = functional.dropout2d(torch.ones(64, 2, 3), 0.5).numpy()
    assert np.ptp(dropped, axis=2).max() == 0
    assert np.ptp(dropped, axis=(1, 2)).max() > 0  # rows (L) of 64 sequences


def test_alpha_dropout_is_on():
    x = np.ones(100, np.float32)
    assert (tn.alpha_dropout(x, seed=0).data != 1).any()
    assert (functional.alpha_dropout(torch.from_numpy(x)) == 1).all()


def test_sizes_that_are_refused():
    x, weight = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    options = {"stride": 1, "output_padding": 1, "dilation": 2}
    with pytest.raises(tn.ShapeError):
        tn.conv_transpose2d(x, weight, **options)
    assert functional.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(weight), **options).shape == (1, 1, 6, 6)
    with pytest.raises(tn.ShapeError):
        tn.lp_pool2d(x, math.inf, 2)
    assert functional.lp_pool2d(torch.from_numpy(x), math.inf, 2).shape == (1, 1, 1, 1)
    with pytest.raises(tn.ShapeError):
        nn.ZeroPad1d(-1)
    assert torch.nn.ZeroPad1d(-1)(torch.ones(1, 1, 4)).shape == (1, 1, 2)


def test_indices_of_pooling_are_int32():
    assert tn.max_pool2d(np.ones((1, 1, 2, 2)), 2, return_indices=True)[1].dtype == np.int32
    assert functional.max_pool2d(torch.ones(1, 1, 2, 2), 2, return_indices=True)[1].dtype == torch.int64


def test_weight_norm_counts_axes_from_the_end():
    layer = nn.parametrization.weight_norm(nn.Linear(3, 2), axis=-1)
    assert layer.parametrizations.weight.original0.shape == (1, 3)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2), dim=-1)
    assert layer.parametrizations.weight.original0.shape == ()


def test_modules_in_a_plain_list_are_refused():
    with pytest.raises(tn.DTypeError, match="ModuleList"):
        nn.Identity().layers = [nn.Linear(1, 1)]
    holder = torch.nn.Identity()
    holder.layers = [torch.nn.Linear(1, 1)]
    assert not list(holder.parameters())  # silently left out


def test_frozen_parameters_are_refused():
    with pytest.raises(tn.GradientError):
        optim.SGD([nn.Parameter([1.0], requires_grad=False)], lr=1.0)
    torch.optim.SGD([torch.nn.Parameter(theirs(1.0), requires_grad=False)], lr=1.0)


def test_momentum_of_rmsprop_may_begin_later():
    one, other = nn.Parameter([1.0]), torch.nn.Parameter(theirs(1.0))
    one.grad, other.grad = ours(1.0), theirs(1.0)
    optimizers = optim.RMSprop([one]), torch.optim.RMSprop([other])
    for optimizer in optimizers:
        optimizer.step()
        optimizer.param_groups[0]["momentum"] = 0.9
    optimizers[0].step()
    with pytest.raises(KeyError):
        optimizers[1].step()


def test_one_cycle_stays_where_it_ends():
    optimizer, other = ours_optimizer(), their_optimizer()
    here, there = optim.OneCycleLR(optimizer, 1.0, 4), schedulers.OneCycleLR(other, 1.0, 4)
    assert rate_after(optimizer, here, 3) == pytest.approx(rate_after(other, there, 3))
    last = optimizer.param_groups[0]["lr"]
    assert rate_after(optimizer, here, 1) == last
    assert rate_after(other, there, 1) > 2 * last


def test_cycles_leave_the_first_rate():
    optimizer, other = ours_optimizer(), their_optimizer()
    optim.CyclicLR(optimizer, 0.1, 0.5)
    schedulers.CyclicLR(other, 0.1, 0.5)
    assert (optimizer.param_groups[0]["initial_lr"], other.param_groups[0]["initial_lr"]) == (1.0, 0.1)


def test_restarts_take_whole_steps():
    with pytest.raises(TypeError):
        optim.CosineAnnealingWarmRestarts(ours_optimizer(), 4).step(1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedulers.CosineAnnealingWarmRestarts(their_optimizer(), 4).step(1.5)


def test_sequences_of_schedules_of_steps_alone():
    for part in (optim.ReduceLROnPlateau, lambda optimizer: optim.SWALR(optimizer, 0.1)):
        optimizer = ours_optimizer()
        with pytest.raises(tn.DTypeError):
            optim.SequentialLR(optimizer, [optim.ConstantLR(optimizer), part(optimizer)], [2])
    optimizer = their_optimizer()
    parts = [schedulers.ConstantLR(optimizer), torch.optim.swa_utils.SWALR(optimizer, 0.1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedulers.SequentialLR(optimizer, parts, [2])


def test_averages_are_of_one_network():
    with pytest.raises(tn.ShapeError):
        optim.AveragedModel(nn.Linear(2, 2)).update_parameters(nn.Linear(2, 2, bias=False))
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    averaged.update_parameters(torch.nn.Linear(2, 2, bias=False))


def test_counts_of_batches_are_copied_into_averages():
    model, other = nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    averaged = optim.AveragedModel(model, use_buffers=True)
    their_average = torch.optim.swa_utils.AveragedModel(other, use_buffers=True)
    for _ in range(3):
        model(np.eye(2, dtype=np.float32))
        other(torch.eye(2))
        averaged.update_parameters(model)
        their_average.update_parameters(other)
    assert (averaged.module.num_batches_tracked.item(), their_average.module.num_batches_tracked.item()) == (3, 1)


LEFT_OUT = {
    "optimisers": (optim.SGD, ("foreach", "differentiable", "fused")),
    "Adam": (optim.Adam, ("amsgrad", "foreach", "capturable", "differentiable", "fused")),
    "schedules": (optim.StepLR, ("last_epoch",)),
    "activations": (nn.ReLU, ("inplace",)),
    "losses": (nn.MSELoss, ("size_average", "reduce")),
    "huber_loss": (tn.huber_loss, ("weight",)),
    "Embedding": (nn.Embedding, ("max_norm", "norm_type", "scale_grad_by_freq", "sparse")),
    "MultiheadAttention": (nn.MultiheadAttention, ("add_bias_kv", "add_zero_attn")),
    "AvgPool2d": (nn.AvgPool2d, ("divisor_override",)),
    "recurrent layers": (nn.LSTM, ("proj_size",)),
    "TransformerEncoder": (nn.TransformerEncoder, ("enable_nested_tensor", "mask_check")),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_arguments_that_are_left_out(name):
    function, arguments = LEFT_OUT[name]
    for argument in arguments:
        with pytest.raises(TypeError, match=argument):
            function(**{argument: 1})
