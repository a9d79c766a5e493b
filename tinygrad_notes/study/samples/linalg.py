"""Samples of products of matrices. References sum element by element, or are NumPy's einsum."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.linalg import einsum
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _product(a, b):
    """Σ a[..., i, k] b[..., k, j], with the axis that a 1-D operand lacks put in and taken out again."""
    rows, columns = a.ndim > 1, b.ndim > 1
    a, b = a if rows else a[None], b if columns else b[:, None]
    y = (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2)
    return y[(..., *((slice(None),) if rows else (0,)), *((slice(None),) if columns else (0,)))]


MATMUL = {
    "": ((3, 4), (4, 2)),
    "row by matrix": ((4,), (4, 2)),
    "matrix by column": ((3, 4), (4,)),
    "inner": ((4,), (4,)),
    "row by batch": ((4,), (2, 4, 3)),
    "batch by column": ((2, 3, 4), (4,)),
    "batched": ((2, 3, 4), (2, 4, 2)),
    "batch by matrix": ((2, 3, 4), (4, 2)),
    "matrix by batch": ((3, 4), (2, 4, 2)),
    "broadcast batches": ((2, 1, 3, 4), (3, 4, 2)),
    "both broadcast": ((3, 1, 2, 2), (1, 2, 2, 3)),
    "outer": ((3, 1), (1, 2)),
    "one element": ((1, 1), (1, 1)),
    "no rows": ((0, 4), (4, 2)),
    "over nothing": ((3, 0), (0, 2)),
    "empty batch": ((0, 3, 4), (0, 4, 2)),
    "empty batch by matrix": ((0, 3, 4), (4, 2)),
}

EINSUM = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 4)),
    "ba": ((2, 3),),
    "bij,bjk->bik": ((2, 3, 4), (2, 4, 2)),
    "i,j->ij": ((3,), (2,)),
    "i,i->": ((3,), (3,)),
    "i,i": ((3,), (3,)),
    "ij,ij->ij": ((2, 3), (2, 3)),
    "ij->": ((2, 3),),
    "ij->j": ((2, 3),),
    "ijk->kij": ((2, 3, 4),),
    "ii->i": ((3, 3),),
    "ii": ((3, 3),),
    "iij->j": ((3, 3, 2),),
    "iii->i": ((2, 2, 2),),
    "ijij->ij": ((2, 3, 2, 3),),
    "ij,j,i->": ((2, 3), (3,), (2,)),
    "ij,jk,kl->il": ((2, 3), (3, 2), (2, 4)),
    "ij,ik,il->jkl": ((2, 3), (2, 2), (2, 4)),
    "i,i,i->i": ((3,), (3,), (3,)),
    "a,b,c,d->dcba": ((2,), (3,), (1,), (2,)),
    "bhqd,bhkd->bhqk": ((2, 1, 3, 2), (2, 1, 4, 2)),
    "...ij,...jk->...ik": ((2, 2, 3), (2, 3, 2)),
    "...i,i->...": ((2, 2, 3), (3,)),
    "...ij->...ji": ((4, 2, 3),),
    "i...,i...->...": ((3, 2), (3, 2)),
    "...ij,...jk": ((2, 1, 2, 3), (2, 3, 2)),
    "...": ((2, 3),),
    "i...j->j...": ((2, 3, 4),),
    "ij, jk -> ki": ((2, 3), (3, 4)),
    "ij,kl->ijkl": ((2, 1), (1, 3)),
    "zY,Ya->az": ((2, 3), (3, 2)),
    "ij,ij": ((0, 3), (0, 3)),
    "ik,kj->ij": ((2, 0), (0, 3)),
    ",i->i": ((), (3,)),
    "->": ((),),
}


def _matmuls() -> list[Sample]:
    samples = [
        sample("matmul", normal(number, *first), normal(number + 50, *second), label=label, reference=_product)
        for number, (label, (first, second)) in enumerate(MATMUL.items())
    ]
    a, b = normal(31, 4, 6)[::-1, ::2], normal(32, 2, 3).T[:, ::-1]
    square = normal(33, 3, 3)
    return samples + [
        sample("matmul", a, b, label="strided", reference=_product),
        sample("matmul", np.broadcast_to(normal(34, 3), (4, 3)), b, label="broadcast view", reference=_product),
        sample("matmul", square, label="by itself", call=lambda m: m @ m @ m,
               reference=lambda m: _product(_product(m, m), m)),
        sample("matmul", square, label="by its transpose", call=lambda m: m @ m.T,
               reference=lambda m: _product(m, m.T)),
    ]  # fmt: skip


def _linears() -> list[Sample]:
    def reference(x, weight, bias=None):
        y = (x[..., None, :] * weight).sum(axis=-1)
        return y if bias is None else y + bias

    x, weight, bias = normal(41, 4, 3), normal(42, 2, 3), normal(43, 2)
    return [
        sample("linear", x, weight, bias, reference=reference),
        sample("linear", x, weight, label="without bias", reference=reference),
        sample("linear", normal(44, 2, 3, 3), weight, bias, label="three axes", reference=reference),
        sample("linear", x[0], weight, bias, label="one row", reference=reference),
        sample("linear", normal(45, 0, 3), weight, bias, label="no rows", reference=reference),
        sample("linear", normal(46, 4, 0), normal(47, 2, 0), bias, label="no inputs", reference=reference),
        sample("linear", normal(48, 1, 1), normal(49, 1, 1), normal(50, 1), label="one element", reference=reference),
        sample("linear", x[::-2, ::-1], weight.T.copy().T, bias[::-1], label="strided", reference=reference),
    ]


def _einsums() -> list[Sample]:
    samples = []
    for number, (subscripts, shapes) in enumerate(EINSUM.items()):
        operands = [normal(60 + number + 7 * i, *shape) for i, shape in enumerate(shapes)]
        samples.append(_summed(subscripts, subscripts.replace("...", "etc"), *operands))
    strided, square = normal(3, 4, 4)[::2, ::-1].T, normal(4, 3, 3)
    return samples + [
        _summed("...i,...i->...", "broadcast", normal(1, 2, 1, 3), normal(2, 4, 3)),
        _summed("ij,kj->ik", "strided", strided, strided),
        sample("einsum", square, label="one operand three times", call=lambda a: einsum("ij,jk,kl->il", a, a, a),
               reference=lambda a: a @ a @ a),
        sample("einsum", square, label="etc summed", call=lambda a: einsum("...->", a), reference=np.sum),
    ]  # fmt: skip


def _summed(subscripts: str, label: str, *operands) -> Sample:
    return sample(
        "einsum",
        *operands,
        label=label,
        call=lambda *tensors: einsum(subscripts, *tensors),
        reference=lambda *arrays: np.einsum(subscripts, *arrays),
    )


SAMPLES = [*_matmuls(), *_linears(), *_einsums()]
