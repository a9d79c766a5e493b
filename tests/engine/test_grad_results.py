"""What ``tn.grad`` returns belongs to the caller: nothing else holds it, though gradients of leaves are not copied."""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn


def test_results_share_no_memory():
    x, y = tn.tensor([1.0, 2.0], requires_grad=True), tn.tensor([3.0, 4.0], requires_grad=True)
    value, seed = x + y, tn.tensor([1.0, 1.0])
    results = tn.grad(value, [x, x, y, value], seed, retain_graph=True)
    for i, a in enumerate(results):
        assert not np.shares_memory(a.data, seed.data)
        assert not any(np.shares_memory(a.data, b.data) for b in results[:i])


def test_a_result_that_is_written_changes_no_later_one():
    x = tn.tensor([0.5, 2.0], requires_grad=True)
    value = (tn.exp(x) * x).sum()
    first = tn.grad(value, [x], retain_graph=True)[0]
    kept = first.numpy().copy()
    first.data[...] = 7
    np.testing.assert_array_equal(tn.grad(value, [x])[0].numpy(), kept)


def test_what_a_hook_kept_is_not_the_result():
    x, seen = tn.tensor([1.0, 2.0], requires_grad=True), []
    x.register_hook(seen.append)
    result = tn.grad((3 * x).sum(), [x])[0]
    result.data[...] = 7
    assert seen[0].tolist() == [3.0, 3.0]
