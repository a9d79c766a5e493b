"""Pictures of a run: curves, maps of numbers, and images with what the network says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes.lazy import load

TRAIN, VALIDATION, WRONG, RIGHT = "#1f6fb4", "#e07b00", "#c62828", "#2e7d32"


def save_training_picture(
    path: Path | str,
    title: str,
    history: Sequence[dict[str, float]],
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    best_epoch: int | None = None,
    shown: int = 40,
) -> Path:
    """One PNG: loss and accuracy by epoch on the left, ``shown`` test images with predictions on the right.

    ``images`` (N, height, width) in grey, ``labels`` (N,), ``probabilities`` (N, classes). Wrong ones come first, the
    most confident at the top; right ones follow in the order of the data.
    """

    def draw(figure: Any) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
        loss_axes, accuracy_axes = left.subplots(2, 1, sharex=True)
        draw_curve(loss_axes, history, "loss", best_epoch, logarithmic=True)
        draw_curve(accuracy_axes, history, "accuracy", best_epoch)
        accuracy_axes.set_xlabel("epoch")
        draw_predictions(right, images, labels, probabilities, shown)

    return save_picture(path, title, draw, (13, 7))


def save_picture(path: Path | str, title: str, draw: Callable[[Any], None], size: tuple[float, float] = (9, 6)) -> Path:
    """One PNG of ``size`` (width, height) in inches; ``draw`` is given matplotlib's figure to draw on."""
    path = Path(path)
    figure = load("matplotlib.figure").Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=13)
    draw(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def save_curves(
    path: Path | str,
    title: str,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    across: str,
    up: str,
    logarithmic: str = "",
) -> Path:
    """One PNG with a line for each of ``curves``: its name, and where its points are, (across, up).

    ``logarithmic``: the axes with a logarithmic scale, "x", "y" or "xy".
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name, (x, y) in curves.items():
            axes.plot(x, y, marker="." if len(x) < 60 else None, label=name)
        for axis in logarithmic:
            getattr(axes, f"set_{axis}scale")("log")
        axes.set(xlabel=across, ylabel=up)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)

    return save_picture(path, title, draw)


def save_maps(
    path: Path | str,
    title: str,
    maps: Mapping[str, np.ndarray],
    across: str = "",
    up: str = "",
    ticks: tuple[Sequence[str], Sequence[str]] | None = None,
    columns: int = 4,
    colours: str = "viridis",
) -> Path:
    """One PNG with each of ``maps`` (rows, columns), of attention, filters or receptive fields, as an image.

    ``ticks``: names of the columns and of the rows. All maps have one scale of colours, which stands beside them.
    """
    columns = min(columns, max(len(maps), 1))
    rows = -(-len(maps) // columns)
    low = min(float(np.min(values)) for values in maps.values())
    high = max(float(np.max(values)) for values in maps.values())

    def draw(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(maps) :]:
            axes.set_axis_off()
        for axes, (name, values) in zip(grid, maps.items()):
            shown = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
            axes.set_title(name, fontsize=10)
            axes.set(xlabel=across, ylabel=up)
            if ticks is None:
                axes.set(xticks=[], yticks=[])
            else:
                axes.set_xticks(range(len(ticks[0])), ticks[0])
                axes.set_yticks(range(len(ticks[1])), ticks[1])
        figure.colorbar(shown, ax=list(grid), shrink=0.8)

    return save_picture(path, title, draw, (2.6 * columns + 1.5, 2.6 * rows + 0.8))


def draw_curve(
    axes: Any, history: Sequence[dict[str, float]], name: str, best: int | None, logarithmic: bool = False
) -> None:
    """A metric of training and validation by epoch."""
    epochs = [row["epoch"] for row in history]
    for key, label, colour in ((name, "training", TRAIN), (f"validation_{name}", "validation", VALIDATION)):
        if history and key in history[0]:
            axes.plot(epochs, [row[key] for row in history], marker=".", color=colour, label=label)
    if best is not None:
        axes.axvline(best, color="0.5", linestyle=":", label=f"weights kept (epoch {best})")
    if logarithmic:
        axes.set_yscale("log")
    axes.set_ylabel(f"{name} (log scale)" if logarithmic else name)
    axes.xaxis.set_major_locator(load("matplotlib.ticker").MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def draw_predictions(
    figure: Any, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, shown: int
) -> None:
    """A grid of images with the predicted class and its probability; wrong ones in red with the true class."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    chosen = np.concatenate([wrong, np.flatnonzero(predicted == labels)])[:shown]
    columns = 8
    rows = max(-(-len(chosen) // columns), 1)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, i in zip(grid, chosen):
        good = predicted[i] == labels[i]
        text = f"{predicted[i]}" if good else f"{predicted[i]}, not {labels[i]}"
        axes.imshow(images[i], cmap="gray_r", interpolation="nearest")
        axes.set_title(f"{text}\n{confidence[i]:.0%}", fontsize=9, color=RIGHT if good else WRONG, pad=3)
        if not good:
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(edgecolor=WRONG, linewidth=2)
    figure.suptitle(
        f"Test images with prediction and its probability; the {len(wrong)} wrong of {len(labels)} first, in red",
        fontsize=11,
    )
