"""Eleven networks of the notes beside PyTorch: outputs and gradients from the same weights, and whole training steps.

Compared are the networks at a small size, in float64 and float32. Timed are those that the demos train, on a batch of
the demo's size, with its optimiser (PyTorch's fused one); nothing is dropped and no gradient clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks import report
from benchmarks.cases.case import Pass, StepCase
from benchmarks.measure import Measured, Settings, measure
from benchmarks.training import beside_torch, steps
from benchmarks.twins import Errors, Lesson, of_padded_tokens, of_tokens, of_values, worst_errors
from tinygrad_notes import nn
from tinygrad_notes.notes import language, translation
from tinygrad_notes.notes.attention import multi_head, transformer
from tinygrad_notes.notes.classification import Recipe
from tinygrad_notes.notes.cnn import alexnet, cnn_recipe_lenet, googlenet, nin, resnet_basic, vgg
from tinygrad_notes.notes.sequence import gru, lstm, rnn


@dataclass(frozen=True)
class Network:
    """``small`` makes what is compared, ``trained`` what is timed, the batch of a demo that trains by ``recipe``."""

    name: str
    small: Callable[[], Lesson]
    trained: Callable[[], Lesson]
    recipe: Recipe

    def case(self) -> StepCase:
        """Its training step."""

        def build(torch: Any, library: str) -> tuple[Callable[[], Any], Callable[[], list[np.ndarray]]]:
            tn.manual_seed(0)
            lesson = self.trained()
            if library == "torch64":
                lesson = lesson.to(tn.float64)
            model, inputs, loss = lesson.within(torch, library.removesuffix("64"))
            settings = {"lr": self.recipe.learning_rate, "weight_decay": self.recipe.weight_decay}
            optimiser: Any = self.recipe.optimizer(lesson.model.parameters(), **settings)
            if library != "tn":
                same = {name: optimiser.defaults[name] for name in ("lr", "weight_decay", "betas", "eps")}
                optimiser = getattr(torch.optim, type(optimiser).__name__)(model.parameters(), **same, fused=True)
            return steps(optimiser, lambda: loss(model(*inputs)))

        return StepCase(self.name, "notes", build, (Pass("step"),))


# ---------------------------------------------------------------------- lessons


def images(make: Callable[[], nn.Module], batch: int, size: int, classes: int = 10) -> Lesson:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((batch, 1, size, size), np.float32)
    return Lesson(make(), (x,), rng.integers(0, classes, batch))


def text(make: Callable[[int], nn.Module], vocabulary: int, batch: int, length: int) -> Lesson:
    tokens, after = np.random.default_rng(3).integers(0, vocabulary, (2, batch, length))
    return Lesson(make(vocabulary), (tokens,), after, of_tokens)


def heads(model: nn.Module, batch: int, targets: int, lengths: np.ndarray, size: int) -> Lesson:
    """Queries look at as many keys as ``lengths`` says, (batch,)."""
    rng, longest = np.random.default_rng(3), max(lengths)
    queries, keys, values, target = (
        rng.standard_normal((batch, n, size), np.float32) for n in (targets, longest, longest, targets)
    )
    mask = np.arange(longest) < lengths[:, None, None, None]
    return Lesson(model, (queries, keys, values, mask), target, of_values)


SOURCE, LENGTHS = np.array([[3, 4, 5, 2], [5, 3, 2, 0]]), np.array([4, 3])
TARGET, AFTER = np.array([[1, 3, 4, 5], [1, 5, 2, 0]]), np.array([[3, 4, 5, 2], [5, 2, 0, 0]])


def small_transformer(tied: bool = False, norm_first: bool = False) -> Lesson:
    model = transformer.Transformer(6, 6, 8, 2, 2, 12, 0.0, tied, norm_first)
    return Lesson(model, (SOURCE, LENGTHS, TARGET), AFTER, of_padded_tokens)


def sentences() -> tuple[translation.HangulData, translation.Pairs]:
    """The data of the Transformer's demo, and a batch of them."""
    data = translation.hangul_data(0, train=transformer.SENTENCES)
    return data, data.pairs["train"].first(transformer.RECIPE.batch)


def trained_transformer() -> Lesson:
    data, batch = sentences()
    *inputs, after = (rows.numpy() for rows in batch.dataset.tensors)
    return Lesson(transformer.small(len(data.source), len(data.target)), tuple(inputs), after, of_padded_tokens)


def trained_heads() -> Lesson:
    """As the Transformer's decoder looks at the encoder: no demo trains the layer alone."""
    data, batch = sentences()
    whole = transformer.small(len(data.source), len(data.target))
    model = multi_head.MultiHead(whole.d_model, whole.heads)
    return heads(model, len(batch), batch.target.shape[1] - 1, batch.source_lengths, whole.d_model)


def of_images(
    name: str, small: Callable[[], Lesson], make: Callable[[], nn.Module], size: int, recipe: Recipe
) -> Network:
    return Network(name, small, lambda: images(make, recipe.batch, size), recipe)


def of_text(name: str, note: Any) -> Network:
    def trained() -> Lesson:
        vocabulary = len(language.character_data().vocabulary)
        return text(note.small, vocabulary, language.RECIPE.batch, language.WINDOW)

    def small() -> Lesson:
        return text(lambda size: language.RecurrentLanguageModel(size, 8, getattr(nn, name), 6, 2), 11, 3, 20)

    return Network(name, small, trained, language.RECIPE)


def normalised_googlenet() -> nn.Module:
    return googlenet.small_googlenet(googlenet.conv_bn_relu)


def networks() -> list[Network]:
    """The eleven."""
    return [
        of_images(
            "LeNet", lambda: images(cnn_recipe_lenet.recipe, 4, 28), cnn_recipe_lenet.recipe, 28,
            cnn_recipe_lenet.RECIPE,
        ),
        of_images("AlexNet", lambda: images(alexnet.mini, 4, 16), alexnet.mini, 16, alexnet.RECIPE),
        of_images("VGG", lambda: images(vgg.mini, 3, 32), vgg.mini, 32, vgg.RECIPE),
        of_images("NiN", lambda: images(nin.mini, 3, 28), nin.mini, 28, nin.RECIPE),
        of_images(
            "GoogLeNet", lambda: images(normalised_googlenet, 8, 32), normalised_googlenet, 32,
            googlenet.RECIPE,
        ),
        of_images(
            "ResNet", lambda: images(lambda: resnet_basic.small_resnet(2, width=4), 4, 16),
            lambda: resnet_basic.small_resnet(2), 8, resnet_basic.RECIPE,
        ),
        of_text("RNN", rnn), of_text("GRU", gru), of_text("LSTM", lstm),
        Network(
            "multi-head attention", lambda: heads(multi_head.MultiHead(12, 3, bias=True), 2, 4, np.array([6, 4]), 12),
            trained_heads, transformer.RECIPE,
        ),
        Network("Transformer", small_transformer, trained_transformer, transformer.RECIPE),
    ]  # fmt: skip


# ---------------------------------------------------------------------- measuring


@dataclass
class MeasuredNote(Measured):
    """``shape`` of what is timed, ``small`` of what is compared; ``errors``: of outputs and gradients, by dtype."""

    shape: str = ""
    small: str = ""
    errors: dict[str, Errors] = field(default_factory=dict)


def measured(network: Network, case: StepCase, one: Pass, torch: Any, settings: Settings) -> list[Measured]:
    """Found equal, at the small size and then at that of the demo, then timed."""
    errors = worst_errors(torch, network.small)
    for dtype, worst in errors.items():
        worst.check(dtype)
    known: dict[str, Any] = {"shape": network.trained().shapes, "small": network.small().shapes, "errors": errors}
    return [MeasuredNote(**vars(found), **known) for found in measure(case, one, torch, settings)]


def table(run: report.Record) -> str:
    """One backend: a line for each network; in brackets what float32 costs PyTorch, beside its own float64."""
    lines = [
        f"kernels {run['backend']}: worst relative errors of outputs and gradients; ours / torch of a training step",
        f"{'network':<20} {'output, gradients, float64':<26} {'and in float32 (its own)':<27} {'timed on':<30}"
        f" {'ours ms':>8} {'torch ms':>8} {'ratio':>5}  quartiles",
    ]
    for r in run["records"]:
        double, (output, gradients, rounding) = r["errors"]["float64"], r["errors"]["float32"]
        single = f"{output:.1e} {gradients:.1e} ({rounding:.1e})"
        few = "" if r["rounds"] >= 15 else f" {r['rounds']} rounds"
        lines.append(
            f"{r['case']:<20} {f'{double[0]:.1e} {double[1]:.1e}':<26} {single:<27} {r['shape']:<30}"
            f" {r['ours'] / 1e3:>8.2f} {r['theirs'] / 1e3:>8.2f} {r['ratio']:>5.2f}"
            f"  {r['lowest']:.2f} - {r['highest']:.2f}{few}"
        )
    return "\n".join(lines)


def main() -> int:
    every = {network.name: network for network in networks()}
    return beside_torch(
        "notes", __doc__, [network.case() for network in every.values()], table,
        lambda case, one, torch, settings: measured(every[case.name], case, one, torch, settings),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
