"""Calls that look wrong and are defined: the call, its result, and why."""

from __future__ import annotations

DEFINED = [
    ("tn.mse_loss(empty, empty).item()", "nan", "the mean of nothing"),
    ("tn.cross_entropy(empty, tn.zeros(0, dtype=tn.int64)).item()", "nan", "an empty batch"),
    ("tn.cross_entropy(x, [-100, -100]).item()", "nan", "every label is ignored"),
    ("tn.cross_entropy(x * nan, labels).item()", "nan", "NaN among the logits"),
    ("tn.cross_entropy(empty, tn.zeros(0, dtype=tn.int64), reduction='sum').item()", "0.0", "the sum of nothing"),
    ("tn.conv2d(images[:0], kernels).shape", "(0, 3, 3, 3)", "an empty batch"),
    ("tn.max_pool2d(images[:0], 2).shape", "(0, 2, 2, 2)", "an empty batch"),
    ("nn.BatchNorm2d(2).eval()(images[:0]).shape", "(0, 2, 5, 5)", "an empty batch"),
    ("tn.rnn(steps[:, :0], None, weights)[0].shape", "(5, 0, 4)", "an empty batch"),
    ("tn.rnn(steps, None, weights, lengths=[0, 5])[1][0, 0].tolist()",
     "[0.0, 0.0, 0.0, 0.0]", "a sequence of length 0"),
    ("attend(q, q, q, blind)[0, 0].tolist()",
     "[[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]", "a query that may attend to nothing"),
    ("attend(q, q, q, tn.where(blind, 0.0, -inf))[0, 0, 0].tolist()",
     "[0.0, 0.0, 0.0, 0.0]", "the same mask as floats"),
    ("attend(q, q[:, :, :0], q[:, :, :0])[0, 0, 0].tolist()", "[0.0, 0.0, 0.0, 0.0]", "no keys at all"),
    ("tn.softmax(tn.full((1, 2), -inf)).tolist()", "[[nan, nan]]", "a row that is impossible"),
    ("tn.max(tn.tensor([1.0, nan])).item()", "nan", "NaN is not lost"),
    ("tn.sum(empty).item(), tn.mean(empty).item()", "(0.0, nan)", "reductions of nothing"),
    ("tn.matmul(tn.ones((2, 0)), tn.ones((0, 2))).tolist()", "[[0.0, 0.0], [0.0, 0.0]]", "a sum over nothing"),
    ("tn.dropout(x, 1.0).tolist()", "[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]", "everything is dropped"),
    ("tn.linear(x, tn.ones((3, 4)).T).tolist()",
     "[[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]", "weights that lie transposed"),
]  # fmt: skip
