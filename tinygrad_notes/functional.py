"""Derivatives of functions: value_and_grad, vjp, jvp, hvp, jacobian, hessian; checkpoint, time for memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_notes.autograd import grad
from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import check_device, describe
from tinygrad_notes.generator import get_rng_state, set_rng_state
from tinygrad_notes.modes import enable_grad, mode, no_grad
from tinygrad_notes.operation import private_op
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.tensor import Tensor, beside, to_array, wrap
from tinygrad_notes.wrapper import many
from tinygrad_notes.writes import clock, written_since


def _fresh(x: Any, name: str) -> Tensor:
    """A new leaf with the values of ``x``."""
    try:
        return wrap(to_array(x)).requires_grad_()
    except (ShapeError, DTypeError, GradientError) as error:
        raise type(error)(f"{name}: {error}") from None


def _values(value: Any, name: str) -> tuple[Tensor, ...]:
    """What a function returned: a Tensor, or a tuple or list of them."""
    values = _tuple(value)
    for v in values:
        if type(v) is not Tensor:
            raise DTypeError(f"{name}: of the function it expected a Tensor, got {type(v).__name__}")
    return values


def _tuple(value: Any) -> tuple[Tensor, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _like(value: Any, results: Sequence[Any]) -> Any:
    """``results`` alone or as a tuple, as ``value`` was."""
    return tuple(results) if isinstance(value, list | tuple) else results[0]


def _zeros(x: Tensor) -> Tensor:
    return wrap(np.zeros_like(x.data))


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., tuple[Any, Any]]:
    """A function that returns ``function(*arguments)`` and its gradients for the arguments ``argnums``.

    ``function`` returns one single-element Tensor. One gradient for an int, a tuple for a sequence.

    >>> tn.value_and_grad(lambda w, b: w * 3.0 + b, argnums=(0, 1))(2.0, 5.0)
    (Tensor(11.), (Tensor(3.), Tensor(1.)))
    """
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not all(type(i) is int for i in positions):
        raise DTypeError(f"value_and_grad: argnums is {argnums!r}, expected an integer, or several")

    def value_and_gradients(*arguments: Any, **options: Any) -> tuple[Any, Any]:
        given = list(arguments)
        for i in positions:
            if not -len(given) <= i < len(given):
                raise ShapeError(f"value_and_grad: argnums has {i}, but there are {len(given)} arguments")
            given[i] = _fresh(given[i], "value_and_grad")
        with enable_grad():
            value = function(*given, **options)
        _values(value, "value_and_grad")
        found = grad(value, [given[i] for i in positions], allow_unused=True)
        gradients = [_zeros(given[i]) if g is None else g for i, g in zip(positions, found)]
        return wrap(value.data), gradients[0] if single else tuple(gradients)

    return value_and_gradients


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Tensor, ...]]]:
    """``function(*primals)``, and the function that pulls a gradient of the value back to the primals: g -> gᵀJ.

    >>> value, pullback = tn.vjp(lambda x: x * x, [1.0, 2.0, 3.0])
    >>> value, pullback([1.0, 0.0, 10.0])
    (Tensor([1., 4., 9.]), (Tensor([ 2.,  0., 60.]),))
    """
    xs = [_fresh(x, "vjp") for x in primals]
    with enable_grad():
        value = function(*xs)
    ys = _values(value, "vjp")

    def pullback(gradient: Any) -> tuple[Tensor, ...]:
        # a list of numbers is the gradient of the one value
        gradients = (gradient,) if type(gradient) is list and type(value) is Tensor else _tuple(gradient)
        if len(gradients) != len(ys):
            raise ShapeError(f"vjp: {len(gradients)} gradients for the {len(ys)} values of the function")
        pairs = [(y, g) for y, g in zip(ys, gradients) if y.node is not None]
        if not pairs:
            return tuple(_zeros(x) for x in xs)
        found = grad([y for y, _ in pairs], xs, [g for _, g in pairs], retain_graph=True, allow_unused=True)
        return tuple(_zeros(x) if d is None else d for x, d in zip(xs, found))

    return _like(value, [wrap(y.data) for y in ys]), pullback


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``function(*primals)`` and its directional derivative Jt along ``tangents``.

    Two vjps: gᵀJ is linear in g, and its own vjp for g, at t, is Jt.

    >>> tn.jvp(lambda x: x * x, [[1.0, 2.0, 3.0]], [[1.0, 0.0, 10.0]])
    (Tensor([1., 4., 9.]), Tensor([ 2.,  0., 60.]))
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, list | tuple):
            raise DTypeError(f"jvp: {name} is {describe(given)}, expected a list or tuple")
    if len(primals) != len(tangents):
        raise ShapeError(f"jvp: {len(primals)} primals but {len(tangents)} tangents")
    xs = [_fresh(x, "jvp") for x in primals]
    ts = [_direction(t, x, "jvp") for x, t in zip(xs, tangents)]
    for i, (x, t) in enumerate(zip(xs, ts)):
        if x.shape != t.shape:
            raise ShapeError(f"jvp: tangent {i} has shape {t.shape}, its primal {x.shape}")
    with enable_grad():
        value = function(*xs)
        ys = _values(value, "jvp")
        results = [_zeros(y) for y in ys]
        live = [i for i, y in enumerate(ys) if y.node is not None]
        if live:
            us = [_fresh(np.zeros_like(ys[i].data), "jvp") for i in live]
            pulled = grad([ys[i] for i in live], xs, us, create_graph=True, allow_unused=True)
            pairs = [(g, t) for g, t in zip(pulled, ts) if g is not None and g.node is not None]
            if pairs:
                found = grad([g for g, _ in pairs], us, [t for _, t in pairs], allow_unused=True)
                for i, d in zip(live, found):
                    if d is not None:
                        results[i] = d
    return _like(value, [wrap(y.data) for y in ys]), _like(value, results)


def _direction(v: Any, x: Tensor, name: str) -> Tensor:
    """``v`` in the dtype of ``x``, along which a derivative is taken."""
    try:
        direction = to_array(v, x.dtype)
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"{name}: {error}") from None
    if type(v) is Tensor:
        check_device(f"{name}: the direction", direction, x.data)
    return wrap(beside(direction, x.data))


def hvp(function: Callable[[Tensor], Tensor], x: Any, v: Any) -> Tensor:
    """The product Hv of the Hessian of ``function`` at ``x`` with ``v``, without forming H: the gradient of ∇f·v.

    >>> tn.hvp(lambda x: (x**3).sum(), [1.0, 2.0], [1.0, 10.0])
    Tensor([  6., 120.])
    """
    leaf = _fresh(x, "hvp")
    direction = _direction(v, leaf, "hvp")
    if direction.shape != leaf.shape:
        raise ShapeError(f"hvp: v has shape {direction.shape}, x {leaf.shape}")
    with enable_grad():
        g = grad(function(leaf), leaf, create_graph=True)
        found = grad(g, leaf, direction, allow_unused=True) if g.node is not None else None
    return _zeros(leaf) if found is None else found


def jacobian(function: Callable[[Tensor], Tensor], x: Any, create_graph: bool = False) -> Tensor:
    """d y[i] / d x[j] for every i and j, of shape ``y.shape + x.shape``: one vjp per element of the value.

    >>> tn.jacobian(lambda x: tn.cumsum(x * x), [1.0, 2.0])
    Tensor([[2., 0.],
            [2., 4.]])
    """
    leaf = x if create_graph else _fresh(x, "jacobian")
    with enable_grad():
        y = function(leaf)
        if type(y) is not Tensor:
            raise DTypeError(f"jacobian: the function returned {describe(y)}, expected one Tensor")
        rows = []
        for i in range(y.size):
            seed = np.zeros_like(y.data)
            seed[np.unravel_index(i, y.shape)] = 1
            row = None
            if y.node is not None:
                row = grad(y, leaf, wrap(seed), create_graph=create_graph, retain_graph=True, allow_unused=True)
            rows.append(_zeros(leaf) if row is None else row)
        if not rows:
            return wrap(np.zeros_like(leaf.data, shape=y.shape + leaf.shape))
        return REGISTRY["reshape"].call(REGISTRY["stack"].call(rows), y.shape + leaf.shape)


def hessian(function: Callable[[Tensor], Tensor], x: Any) -> Tensor:
    """d² f / d x[i] d x[j] of a function with a single-element value, of shape ``x.shape + x.shape``.

    >>> tn.hessian(lambda x: x[0] * x[1] ** 2, [3.0, 5.0])
    Tensor([[ 0., 10.],
            [10.,  6.]])
    """

    def slope(leaf: Tensor) -> Any:
        y = function(leaf)
        if type(y) is not Tensor or y.size != 1:
            raise DTypeError(f"hessian: the function returned {describe(y)}, expected a Tensor of one element")
        return grad(y, leaf, create_graph=True)

    return jacobian(slope, _fresh(x, "hessian")).detach()


def checkpoint(function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)`` keeping only the inputs; what is inside is computed again in backward.

    Memory for time: of a chain of n blocks, each under checkpoint, only the ends of the blocks are kept (Chen et al.
    2016, arXiv:1604.06174). Parameters that ``function`` captures get their gradients too, and random ops see the
    same random numbers again.

    >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> y = tn.checkpoint(lambda x: tn.exp(x * 0.0) * x, x)
    >>> y.sum().backward()
    >>> x.grad
    Tensor([1., 1.])
    """
    if not callable(function):
        raise DTypeError(f"checkpoint: function is {describe(function)}, expected something to call")
    rng, start = get_rng_state(), next(clock)
    with no_grad():
        value = function(*inputs)
    now = mode.get()
    if not now.record:
        return value
    if not all(type(v) is Tensor for v in _tuple(value)):
        raise DTypeError(
            "checkpoint: the function returned something else than a Tensor, or a tuple or list of Tensors"
        )
    for i, x in enumerate(inputs):
        where = written_since(x.data, start) if type(x) is Tensor else None
        if where:
            raise GradientError(
                f"checkpoint: the function changes input {i} in place at {where}, and would do so again"
            )

    def again(*call: tuple[Any, ...]) -> Any:
        current = get_rng_state()
        set_rng_state(rng)
        try:
            return function(*(wrap(*part) if len(part) == 2 else part[0] for part in call))
        finally:
            set_rng_state(current)

    record = private_op("checkpoint", again)
    nodes = [x.node if type(x) is Tensor else None for x in inputs]
    call = tuple((x.data, x.node) if type(x) is Tensor else (x,) for x in inputs)
    values = tuple(v.data for v in _tuple(value))
    results = many(record, (), values, (), nodes, (), call, now, always=True)
    return _like(value, results)
