"""What a sequence of layers makes of an input: the shape after each of them."""

from __future__ import annotations

from typing import Any

from tinygrad_notes.errors import DTypeError
from tinygrad_notes.modes import no_grad
from tinygrad_notes.nn import Module, Sequential


def layer_shapes(net: Sequential, x: Any, *kinds: type[Module]) -> list[tuple[int, ...]]:
    """The shape of one example after every layer of ``net``, or after those that are of one of ``kinds``.

    ``x`` (N, ...) is what goes in; the layers run in evaluation mode, without a tape.

    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2))
    >>> tn.study.layer_shapes(net, tn.zeros((1, 1, 28, 28)), nn.Conv2d, nn.AvgPool2d)
    [(6, 28, 28), (6, 14, 14)]
    """
    if not isinstance(net, Sequential):
        raise DTypeError(f"layer_shapes: net is {type(net).__name__}, expected a Sequential")
    training, found = net.training, []
    net.eval()
    try:
        with no_grad():
            for layer in net:
                x = layer(x)
                if not kinds or isinstance(layer, kinds):
                    found.append(tuple(x.shape[1:]))
    finally:
        net.train(training)
    return found
