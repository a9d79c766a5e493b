"""Linear attention, with rotary positions

What the note says. Rotary position encoding is "so far the only relative position encoding that can be used in linear
attention" (2021); what linear attention is, it does not say.

Linear attention (Katharopoulos et al. 2020) replaces the exponential of the inner product, which needs all n² pairs,
by an inner product of features φ, which does not:

    yᵢ = Σⱼ φ(qᵢ)·φ(kⱼ) vⱼ / Σⱼ φ(qᵢ)·φ(kⱼ),        φ(x) = elu(x) + 1 > 0

Multiplication of matrices is associative, so what is summed over j does not have to know i:

    (φ(Q) φ(K)ᵀ) V = φ(Q) (φ(K)ᵀ V):        n² (d + e) multiply-adds on the left, 2 n d e on the right

for keys of length d and values of length e. With a causal mask the sums run to i only. Then they are a recurrence:
its state is a d × e matrix and a vector, and each word adds to them. "Transformers are RNNs" is the paper's title:

    Sᵢ = Sᵢ₋₁ + φ(kᵢ) vᵢᵀ,        zᵢ = zᵢ₋₁ + φ(kᵢ),        yᵢ = Sᵢᵀ φ(qᵢ) / (zᵢ · φ(qᵢ))

Rotary positions (Su et al. 2021, arXiv:2104.09864) turn each pair of numbers of query and key by an angle that grows
with the position, and the angle's speed θ falls from pair to pair:

    R_m x: the pair (x₂ⱼ, x₂ⱼ₊₁) turned by m θⱼ,        θⱼ = 10000^(-2j/d),        (R_m q)·(R_n k) = q·(R_{n-m} k)

Only the difference of the positions is left, though each vector was turned by itself: a relative encoding by absolute
means. An encoding that adds to the n × n scores has no place here, for linear attention never computes them. Turned
features are no longer positive, so the paper turns them in the numerator only; the denominator stays positive.

What differs today. Since 2021 other relative encodings for linear attention have been found, such as decay by
distance in the state, so "the only one" is a statement of its date.

The demo measures seconds for n from 256 to 4096 in both forms; the counts are asserted, the seconds reported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.attention.attention_complexity import multiply_adds, seconds, slope
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run, apart
from tinygrad_notes.training.pictures import save_curves


def feature_map(x) -> tn.Tensor:
    """φ(x) = elu(x) + 1, which is positive."""
    return tn.elu(x) + 1.0


def rotate(x, first: int = 0) -> tn.Tensor:
    """R_m x for x (..., n, d) at positions m = ``first``, ``first`` + 1, …; d is even."""
    n, d = x.shape[-2:]
    angle = np.arange(first, first + n)[:, None] / 10_000 ** (np.arange(0, d, 2) / d)  # (n, d/2)
    cosine, sine = (tn.asarray(f(angle), device=x.device).astype(x.dtype) for f in (np.cos, np.sin))
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = tn.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)  # (..., n, d/2, 2)
    return tn.reshape(turned, x.shape)


def by_pairs(q, k, v, causal: bool = False, rotary: bool = False) -> tn.Tensor:
    """The definition with all n² pairs: q and k (..., n, d), v (..., n, e) to (..., n, e)."""
    q, k = feature_map(q), feature_map(k)
    below = q @ tn.swapaxes(k, -2, -1)  # (..., n, n)
    above = rotate(q) @ tn.swapaxes(rotate(k), -2, -1) if rotary else below
    if causal:
        seen = tn.tril(tn.ones((q.shape[-2], q.shape[-2]), dtype="bool", device=q.device))
        above, below = tn.where(seen, above, 0.0), tn.where(seen, below, 0.0)
    return (above @ v) / below.sum(-1, keepdims=True)


def by_sums(q, k, v, rotary: bool = False) -> tn.Tensor:
    """The same without pairs: φ(Q) (φ(K)ᵀ V)."""
    q, k = feature_map(q), feature_map(k)
    total = tn.expand_dims(k.sum(-2), -1)  # (..., d, 1)
    above, keys = (rotate(q), rotate(k)) if rotary else (q, k)
    return (above @ (tn.swapaxes(keys, -2, -1) @ v)) / (q @ total)


def causal_by_sums(q, k, v, rotary: bool = False) -> tn.Tensor:
    """With a causal mask: cumulative sums of φ(k) vᵀ, (..., n, d, e), and of φ(k)."""
    q, k = feature_map(q), feature_map(k)
    totals = tn.cumsum(k, axis=-2)
    above, keys = (rotate(q), rotate(k)) if rotary else (q, k)
    states = tn.cumsum(tn.expand_dims(keys, -1) * tn.expand_dims(v, -2), axis=-3)
    found = tn.squeeze(tn.expand_dims(above, -2) @ states, -2)  # (..., n, e)
    return found / (q * totals).sum(-1, keepdims=True)


def recurrent(q, k, v, rotary: bool = False) -> tn.Tensor:
    """With a causal mask: one word after the other, the state a matrix (d, e) and a vector (d,), for q, k, v (n, …)."""
    state, total = (tn.zeros((n, size), dtype=q.dtype, device=q.device) for n, size in
                    ((q.shape[-1], v.shape[-1]), (1, q.shape[-1])))  # fmt: skip
    found = []
    for position in range(q.shape[-2]):
        one = slice(position, position + 1)
        query, key = feature_map(q[one]), feature_map(k[one])  # (1, d)
        above, turned = (rotate(query, position), rotate(key, position)) if rotary else (query, key)
        state = state + turned.T @ v[one]
        total = total + key
        found.append((above @ state) / (query * total).sum(-1, keepdims=True))
    return tn.concat(found, axis=0)


N, D, E = 24, 8, 6


def _inputs(n: int = N, dtype: str = "float64") -> tuple[tn.Tensor, tn.Tensor, tn.Tensor]:
    return normal(n, D).astype(dtype), normal(n, D, seed=1).astype(dtype), normal(n, E, seed=2).astype(dtype)


def _associativity(dtype: str) -> float:
    x = _inputs(dtype=dtype)
    return max(apart(by_pairs(*x, rotary=rotary), by_sums(*x, rotary=rotary)) for rotary in (False, True))


def _causal_forms() -> float:
    x = _inputs()
    return max(
        apart(by_pairs(*x, causal=True, rotary=rotary), form(*x, rotary=rotary))
        for rotary in (False, True)
        for form in (causal_by_sums, recurrent)
    )


def _gradient_gap() -> float:
    x = _inputs()
    first = gradients(lambda q, k, v: by_pairs(q, k, v, causal=True, rotary=True), x)
    return apart(first, gradients(lambda q, k, v: causal_by_sums(q, k, v, rotary=True), x))


def _relative() -> float:
    """(R_m q)·(R_n k), beside the same 7 positions further on."""
    q, k, _ = _inputs()
    here, there = (rotate(q, m) @ rotate(k, m).T for m in (0, 7))
    return apart(here, there)


def _norms() -> float:
    q = _inputs()[0]
    return apart(tn.norm(rotate(q, 100), axis=-1), tn.norm(q, axis=-1))


def _complex() -> float:
    """Each pair as one complex number, times exp(i m θ)."""
    q = _inputs()[0]
    theta = 10_000.0 ** (-np.arange(0, D, 2) / D)
    turned = (q.data[:, 0::2] + 1j * q.data[:, 1::2]) * np.exp(1j * np.arange(N)[:, None] * theta)
    return apart(rotate(q), np.stack([turned.real, turned.imag], -1).reshape(N, D))


def _work(form, n: int) -> int:
    return multiply_adds(lambda: form(*_inputs(n)))


def demo(run: Run) -> Outcome:
    """Measure both forms, and the softmax they stand in for, for longer and longer sequences."""
    tn.manual_seed(run.seed)
    lengths = [256, 512, 1024, 2048, 4096] if run.epochs is None else [64, 128]
    forms: dict[str, Callable[..., object]] = {
        "softmax attention": tn.scaled_dot_product_attention,
        "linear attention by pairs": by_pairs,
        "linear attention by sums": by_sums,
    }
    with tn.no_grad():
        curves = {
            name: (lengths, [seconds(form, *(tn.randn((n, 64)) for _ in range(3))) for n in lengths])
            for name, form in forms.items()
        }
    slopes = {name: slope(*curve) for name, curve in curves.items()}
    picture = save_curves(
        run.folder / "seconds.png",
        "Seconds for n words of length 64; slopes " + ", ".join(f"{slope:.2f}" for slope in slopes.values()),
        curves, "length n of the sequence", "seconds", "xy",
    )  # fmt: skip
    return Outcome({f"slope of {name}": slope for name, slope in slopes.items()}, [picture])


NOTE = Note(
    slug="linear-attention",
    family="attention",
    title="Linear attention, with rotary positions",
    sources="note 003",
    paper="Katharopoulos, Vyas, Pappas & Fleuret 2020, Transformers are RNNs, arXiv:2006.16236; Su et al. 2021, "
    "RoFormer, arXiv:2104.09864",
    text=__doc__,
    demo=demo,
    no_bar="the two forms compute the same, which the identities say; seconds depend on the machine",
    facts=[
        Fact("multiply-adds by pairs: n² (d + e)", N**2 * (D + E), lambda: _work(by_pairs, N)),
        Fact(
            "multiply-adds by sums: 2 n d e, and n d for the denominator",
            2 * N * D * E + N * D,
            lambda: _work(by_sums, N),
        ),
        Fact(
            "twice the words: four times and twice",
            [4.0, 2.0],
            lambda: [_work(form, 2 * N) / _work(form, N) for form in (by_pairs, by_sums)],
        ),
    ],
    identities=[
        Identity("(φ(Q) φ(K)ᵀ) V = φ(Q) (φ(K)ᵀ V) (float32)", lambda: _associativity("float32"), 1e-5),
        Identity("(φ(Q) φ(K)ᵀ) V = φ(Q) (φ(K)ᵀ V) (float64)", lambda: _associativity("float64"), 1e-12),
        Identity("causal: pairs, cumulative sums and recurrence are the same", _causal_forms, 1e-12),
        Identity("so are their gradients", _gradient_gap, 1e-12),
        Identity("turned products depend on the distance only", _relative, 1e-12),
        Identity("turning changes no length", _norms, 1e-12),
        Identity("turning is multiplication by exp(i m θ)", _complex, 1e-12),
    ],
    checks=lambda: [
        (lambda q, k, v: by_sums(q, k, v, rotary=True), _inputs(4)),
        (lambda q, k, v: causal_by_sums(q, k, v, rotary=True), _inputs(4)),
    ],
)
