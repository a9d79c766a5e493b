"""Attention is not all you need

What the note says. Under this title a paper answers "Attention is all you need": take away the parts around
attention, and the Transformer does not work. The other parts matter.

The result. Each row of softmax weights sums to 1, so attention replaces every word by a mean of words, and means of
means become alike. Without skip connections and feed-forward networks, the output of L layers comes near to a matrix
whose rows are all equal (rank 1), doubly exponentially in L: Dong, Cordonnier & Loukas 2021 bound the residual

    res(X) = X - 1 xᵀ,        x = argmin ‖X - 1 xᵀ‖, the mean of the rows in the Frobenius norm used here

of one layer by the cube of the residual of the layer before. Skip connections break this: among the paths through a
stack with skips there is the one that goes past all attentions, and along it the words stay apart. Feed-forward
networks only slow the collapse: a network with a large Lipschitz constant may widen differences again. Layer
normalisation does not help.

How it is measured here. Twelve layers with random weights, as at the start of training, so nothing is trained. Words
are the 16 patches of 2×2 pixels of a real digit, mapped at random to 64 numbers. The measure is ‖res(X)‖ / ‖X‖, 0
when all words are the same. The bars: below 10⁻³ after 12 layers of attention alone, above 0.1 with skips.

What came out. Attention alone has about 0.9, 10⁻², and 10⁻⁹ or less after one, two and three layers, and from the
fourth on nothing but rounding in float64: the exponent itself grows. Feed-forward networks that keep the size of what
goes through them hardly slow that. With skips more than 0.9 is left after 12 layers, with skips and feed-forward
networks 0.3: random ReLU networks pull words together, too.

Where the title goes further than the result. Networks do not stand at their start: training can learn sharper
weights, for which the bound is loose. And the result is about depth, not about one layer of attention.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run, apart
from tinygrad_notes.training.pictures import save_curves, save_maps

SIZE, HEADS, LAYERS = 64, 4, 12


class Stack(nn.Module):
    """Layers of attention for words (N, n, size), each with or without a skip and a feed-forward network behind it."""

    def __init__(self, size: int, heads: int, layers: int, skip: bool = False, feed_forward: bool = False):
        super().__init__()
        self.skip = skip
        self.attentions = nn.ModuleList(nn.MultiheadAttention(size, heads, batch_first=True) for _ in range(layers))
        self.feed_forwards = nn.ModuleList(
            nn.Sequential(nn.Linear(size, 4 * size), nn.ReLU(), nn.Linear(4 * size, size))
            for _ in range(layers * feed_forward)
        )
        for linear in (part for network in self.feed_forwards for part in (network[0], network[2])):
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")  # keeps the size of what goes through
            nn.init.zeros_(linear.bias)

    def states(self, x) -> list[tn.Tensor]:
        """The words before the first layer and after each."""
        found = [x]
        for i, attention in enumerate(self.attentions):
            mixed = attention(x, x, x, need_weights=False)[0]
            x = x + mixed if self.skip else mixed
            if len(self.feed_forwards):
                changed = self.feed_forwards[i](x)
                x = x + changed if self.skip else changed
            found.append(x)
        return found

    def forward(self, x) -> tn.Tensor:
        return self.states(x)[-1]


def residual(x) -> tn.Tensor:
    """X - 1 xᵀ with x the mean of the words, (..., n, size)."""
    return x - tn.mean(x, axis=-2, keepdims=True)


def relative_residual(x) -> float:
    """‖X - 1 xᵀ‖ / ‖X‖, the mean over all texts: 0 when all words of a text are the same."""
    rest, whole = (np.sqrt((np.asarray(value.data) ** 2).sum((-2, -1))) for value in (residual(x), x))
    return float((rest / whole).mean())


def words(seed: int, number: int = 50) -> tn.Tensor:
    """The 16 patches of 2×2 pixels of some test digits, mapped at random to 64 numbers: (number, 16, 64), float64."""
    images = digits(size=8, seed=seed).test.tensors[0].data[:number, 0].astype(np.float64)
    patches = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 4)
    return tn.asarray(patches @ np.random.default_rng(seed).standard_normal((4, SIZE)) / 2)


def demo(run: Run) -> Outcome:
    """How alike the words become, layer after layer, with and without what stands around attention."""
    tn.manual_seed(run.seed)
    x = words(run.seed)
    forms: dict[str, dict[str, bool]] = {
        "attention alone": {},
        "attention and feed-forward": {"feed_forward": True},
        "attention with skips": {"skip": True},
        "both with skips": {"skip": True, "feed_forward": True},
    }
    curves, maps = {}, {}
    with tn.no_grad():
        for name, form in forms.items():
            states = Stack(SIZE, HEADS, LAYERS, **form).to("float64").states(x)
            curves[name] = (list(range(LAYERS + 1)), [relative_residual(state) for state in states])
            last = states[-1].numpy()[0]
            maps[name] = last / np.abs(last).max()
    metrics = {f"residual_{name.replace(' ', '_').replace('-', '_')}": y[-1] for name, (_, y) in curves.items()}
    pictures = [
        save_curves(
            run.folder / "residual.png", "How far words are from being all the same", curves,
            "layer", "‖X - 1xᵀ‖ / ‖X‖", "y",
        ),
        save_maps(
            run.folder / "words.png", "The 16 words of one digit after 12 layers (each scaled to at most 1)", maps,
            "64 features", "words", columns=2, colours="coolwarm",
        ),
    ]  # fmt: skip
    return Outcome(metrics, pictures)


def _stack(**form: bool) -> Stack:
    tn.manual_seed(0)
    return Stack(8, 2, 3, **form).to("float64")


def _means_do_not_widen() -> float:
    """By how much a mean over words leaves the range of the words, feature by feature."""
    x = normal(6, 5)
    mixed = tn.scaled_dot_product_attention(normal(6, 5, seed=1), normal(6, 5, seed=2), x).data
    return float(max((np.ptp(mixed, axis=0) - np.ptp(x.data, axis=0)).max(), 0.0))


def _equal_words_stay_equal() -> float:
    """Words that are all the same, after each form of the stack."""
    x = tn.broadcast_to(normal(1, 1, 8), (1, 6, 8))
    forms: tuple[dict[str, bool], ...] = ({}, {"skip": True}, {"feed_forward": True})
    return max(apart(residual(_stack(**form)(x)), np.zeros((1, 6, 8))) for form in forms)


def _mean_is_best() -> float:
    """By how much some other vector than the mean would leave less."""
    x = normal(6, 5)
    least = float((residual(x) ** 2).sum().item())
    others = [float(((x - normal(1, 5, seed=seed)) ** 2).sum().item()) for seed in range(20)]
    return max(least - min(others), 0.0)


NOTE = Note(
    slug="attention-not-all",
    family="attention",
    title="Attention is not all you need",
    sources="note 001",
    paper="Dong, Cordonnier & Loukas 2021, Attention is not all you need: pure attention loses rank doubly "
    "exponentially with depth, arXiv:2103.03404",
    text=__doc__,
    build=lambda: Stack(SIZE, HEADS, LAYERS),
    example=lambda: (1, 16, SIZE),
    demo=demo,
    bars=[Bar("residual_attention_alone", at_most=1e-3), Bar("residual_attention_with_skips", at_least=0.1)],
    identities=[
        Identity("a mean over words has no wider range than the words", _means_do_not_widen),
        Identity("words that are all the same stay so", _equal_words_stay_equal, 1e-12),
        Identity("no vector leaves less than the mean of the words", _mean_is_best),
    ],
    checks=lambda: [(_stack(**form), (normal(2, 3, 8),)) for form in ({}, {"skip": True})],
)
