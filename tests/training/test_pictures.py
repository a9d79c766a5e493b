"""Pictures of runs."""

import numpy as np
import pytest

from tinygrad_notes.training import pictures

matplotlib_figure = pytest.importorskip("matplotlib.figure")

HISTORY = [
    {"epoch": i, "loss": 1 / i, "accuracy": 1 - 0.5 / i, "validation_loss": 1.1 / i, "validation_accuracy": 0.9}
    for i in (1, 2, 3)
]


def probabilities(labels, wrong):
    p = np.full((len(labels), 3), 0.05)
    p[np.arange(len(labels)), labels] = 0.9
    for i, confidence in wrong.items():
        p[i] = (1 - confidence) / 2
        p[i, (labels[i] + 1) % 3] = confidence
    return p


def test_the_picture_is_a_png_of_some_size(tmp_path):
    labels = np.arange(30) % 3
    images = np.random.default_rng(0).random((30, 5, 5))
    path = pictures.save_training_picture(
        tmp_path / "deep" / "p.png", "title", HISTORY, images, labels, probabilities(labels, {4: 0.8}), 2
    )
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 20_000


def test_wrong_images_come_first_by_confidence_and_in_red():
    labels = np.arange(20) % 3
    figure = matplotlib_figure.Figure()
    pictures.draw_predictions(figure, np.zeros((20, 4, 4)), labels, probabilities(labels, {7: 0.6, 11: 0.8}), 16)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["0, not 2\n80%", "2, not 1\n60%", "0\n90%"]
    assert [axes.title.get_color() for axes in figure.axes[:3]] == [pictures.WRONG, pictures.WRONG, pictures.RIGHT]
    assert "2 wrong of 20" in figure.get_suptitle()
    assert len(titles) == 16


def test_curves_have_axes_a_legend_and_the_epoch_that_was_kept():
    axes = matplotlib_figure.Figure().subplots()
    pictures.draw_curve(axes, HISTORY, "loss", best=2, logarithmic=True)
    assert axes.get_ylabel() == "loss (log scale)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training",
        "validation",
        "weights kept (epoch 2)",
    ]
    assert list(axes.lines[1].get_ydata()) == [1.1, 1.1 / 2, 1.1 / 3]
    assert axes.get_yscale() == "log"


def test_curves_without_validation_show_training_alone():
    axes = matplotlib_figure.Figure().subplots()
    pictures.draw_curve(axes, [{"epoch": 1, "loss": 0.5}], "loss", best=None)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training"]


@pytest.fixture
def kept(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = matplotlib_figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib_figure.Figure,
        "savefig",
        lambda self, *args, **options: (figures.append(self), save(self, *args, **options)),
    )
    return figures


def test_curves_of_any_quantity(tmp_path, kept):
    curves = {"RNN": ([1, 2, 4], [1.0, 0.1, 0.01]), "LSTM": ([1, 2, 4], [1.0, 0.9, 0.8])}
    path = pictures.save_curves(tmp_path / "c.png", "title", curves, "lag", "norm", logarithmic="y")
    assert path.read_bytes().startswith(b"\x89PNG")
    (axes,) = kept[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["RNN", "LSTM"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lag", "norm")
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert list(axes.lines[1].get_ydata()) == [1.0, 0.9, 0.8]


def test_maps_share_one_scale_of_colours(tmp_path, kept):
    maps = {"first": np.zeros((2, 3)), "second": np.full((2, 3), 5.0), "third": -np.ones((2, 3))}
    path = pictures.save_maps(tmp_path / "m.png", "title", maps, "key", "query", (list("abc"), list("de")), columns=2)
    assert path.read_bytes().startswith(b"\x89PNG")
    grid = [axes for axes in kept[0].axes if axes.images]
    assert [axes.get_title() for axes in grid] == ["first", "second", "third"]
    assert {axes.images[0].get_clim() for axes in grid} == {(-1.0, 5.0)}
    assert [label.get_text() for label in grid[0].get_xticklabels()] == ["a", "b", "c"]
    assert np.array_equal(np.asarray(grid[1].images[0].get_array()), maps["second"])
