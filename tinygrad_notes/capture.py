"""A training step recorded on the GPU as CUDA graphs, and launched again without Python's part of the work."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_notes import kernels, lazy
from tinygrad_notes.errors import DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import OURS, Releasing, describe
from tinygrad_notes.generator import get_rng_state, set_rng_state
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import apart, is_grad_enabled
from tinygrad_notes.tensor import Tensor, cuda_array_module, wrap

GRAPHS = "tinygrad_notes.kernels.cuda.graph"  # the part of this that knows CuPy
PLAIN = (bool, int, float, str, bytes, type(None))  # what a recording keeps as it was
LIBRARIES = ("tinygrad_notes", "numpy", "cupy")  # whose functions hold nothing of the user's
AGAIN = "make another capture for it, or call reset() to record anew"


def capture(function: Callable[..., Any] | None = None, *, warmup: int = 2) -> Any:
    """The same ``function``, such as a training step; on a GPU recorded once as CUDA graphs and then only launched.

    A small network's step on a GPU is mostly Python, which says one by one what to compute. The first ``warmup`` calls
    run the function as it is, the next records it too, and all later ones repeat what it did on the GPU. Every call is
    a step: a loop that calls it computes what it computed before. On the CPU the function runs as it is, always.

    - **Arguments**: Tensors and arrays (in tuples, lists and dicts too) are copied into memory that stays, on the GPU
      also from the host; the function gets those. A new shape or dtype, or another value of anything else, is an error.
      Values of arguments (labels and indices out of range) are checked in the first calls only.
    - **Results** are copies, without history.
    - **What changes from step to step**: optimisers run between the graphs, so learning rates, schedules outside and
      step counts are those of now; so do the masks of dropout. Other random numbers that the function draws (``rand``,
      attention's ``dropout_p``) would repeat: an error.
    - **What Python does inside** happens while the function is recorded and never again: an attribute, list or setting
      that it changes is an error where it is seen; ``print`` is silent later. So are ``.item()``, ``.numpy()`` and
      ``if`` of a Tensor's value impossible inside: nothing is computed while it is recorded.
    - **Values are not checked** in a replay, for which the GPU would have to be waited for: a label or an index out of
      range, an error elsewhere, gives a wrong number or NaN; nothing is written out of bounds.
    - Parameters, buffers and gradients stay where they are. Other memory (``net.to(...)``), a network set to
      ``eval()``, gradients set to None where the step adds to them: an error. ``reset()`` records anew.

    Also a decorator, ``@tn.capture`` or ``@tn.capture(warmup=3)``.

    >>> net = nn.Linear(2, 1)
    >>> optimizer = optim.Adam(net.parameters())
    >>> @tn.capture
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = tn.mse_loss(net(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(tn.ones((4, 2)), tn.zeros((4, 1))).item() for _ in range(5)]
    >>> losses[4] < losses[0]
    True
    """
    if function is None:
        return functools.partial(capture, warmup=warmup)
    if not callable(function):
        raise DTypeError(f"capture: function is {describe(function)}, expected something to call")
    if not isinstance(warmup, int) or isinstance(warmup, bool) or warmup < 1:
        raise ShapeError(f"capture: warmup is {warmup!r}, expected a number of calls of at least 1")
    return Captured(function, warmup)


class Captured:
    """What :func:`capture` returns."""

    def __init__(self, function: Callable[..., Any], warmup: int):
        self.function, self.warmup = function, warmup
        self.name = getattr(function, "__name__", type(function).__name__)
        functools.update_wrapper(self, function, updated=())
        self.reset()

    def reset(self) -> None:
        """Forget what was recorded, with its memory; the next calls warm up and record again."""
        self.calls = 0
        self.graphs: Any = None
        self.inputs: Any = None
        self.recorded: Recorded | None = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        given = (arguments, options)
        if apart.get() is not None:  # inside another captured function, whose graphs hold it too
            return self.function(*arguments, **options)
        if self.graphs is None and not self._on_gpu(given):
            return self.function(*arguments, **options)
        if self.graphs is None:
            cupy = cuda_array_module()
            self.graphs = lazy.load(GRAPHS).Graphs(cupy)
            self.inputs = _mapped(given, functools.partial(_place, cupy))
        _check_arguments(self.inputs, given, self.name)
        if self.recorded is not None:
            return self._replay(given)
        self.calls += 1
        return self._record(given) if self.calls > self.warmup else self.graphs.run(lambda: self._call(given), _copied)

    def __repr__(self) -> str:
        state = "recorded" if self.recorded is not None else f"{self.calls} of {self.warmup} calls to warm up"
        return f"<captured {self.name}: {'not on a GPU yet' if self.graphs is None else state}>"

    def _on_gpu(self, given: Any) -> bool:
        """Whether an argument or, at the first call, a Tensor that the function uses lies on a GPU."""
        values: list[Any] = []
        _mapped(given, values.append)
        if self.calls == 0 and not any(DEVICES.get(type(_data(value))) == "cuda" for value in values):
            self.calls = -1  # on the CPU: from now on only arguments are looked at
            values += [value for value in reached(self.function) if type(value) is Tensor]
        found = any(DEVICES.get(type(_data(value))) == "cuda" for value in values)
        if found:
            self.calls = 0
        return found

    def _call(self, given: Any) -> Any:
        _fill(self.inputs, given)
        arguments, options = self.inputs
        return self.function(*arguments, **options)

    def _record(self, given: Any) -> Any:
        recorded = Recorded(self.function)
        numbers, seeds = Numbers(recorded.objects), get_rng_state()
        drawn, drew = seeds, False  # the generator where it was last known to be, and whether it was elsewhere

        def between_graphs(work: Callable[[], None], parameters: list[Tensor]) -> None:
            nonlocal drawn, drew
            numbers.look()
            drew = drew or drawn != get_rng_state()
            gradients = [(p, p.grad) for p in parameters]  # those of now: the step may forget them before it ends

            def again() -> None:
                for parameter, gradient in gradients:
                    parameter.grad = gradient
                token = apart.set(None)
                try:
                    work()
                finally:
                    apart.reset(token)

            self.graphs.apart(again)
            numbers.skip()
            drawn = get_rng_state()

        def finish(result: Any) -> Any:
            recorded.result = result
            return _copied(result)

        _fill(self.inputs, given)
        token = apart.set(between_graphs)
        try:
            arguments, options = self.inputs
            with Releasing():
                result = self.graphs.record(lambda: self.function(*arguments, **options), finish)
            numbers.look()
            recorded.complete(numbers.changed, drew or drawn != get_rng_state(), self.name)
        except BaseException as error:
            self._forget(recorded, seeds)
            better = _explained(self.name, error)
            if better is error:
                raise
            raise better from error
        finally:
            apart.reset(token)
        self.recorded = recorded
        return result

    def _forget(self, recorded: Recorded, seeds: Any) -> None:
        """After a failure: nothing computed the gradients that Tensors have got."""
        for tensor, gradient in recorded.gradients_before:
            tensor.grad = gradient
        set_rng_state(seeds)
        self.reset()

    def _replay(self, given: Any) -> Any:
        recorded: Recorded = self.recorded  # type: ignore[assignment]
        recorded.check(self.name)
        result = self.graphs.replay(lambda: _fill(self.inputs, given), lambda: _copied(recorded.result))
        for tensor, gradient in recorded.gradients:
            tensor.grad = gradient
        return result


# ---------------------------------------------------------------------- arguments and results


def _data(value: Any) -> Any:
    return value.data if type(value) is Tensor else value


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """``tree`` with what its tuples, lists and dicts hold changed."""
    if isinstance(tree, dict):
        return {key: _mapped(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        values = [_mapped(value, change) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return change(tree)


def _place(cupy: Any, value: Any) -> Any:
    """The memory for an argument, on the GPU; what is no Tensor and no array stays."""
    data = _data(value)
    if type(data) not in DEVICES:
        return value
    if type(value) is Tensor and value.requires_grad:
        raise GradientError(
            f"capture: an argument ({describe(value)}) requires a gradient, which a recorded step cannot give it; "
            "use it inside the function, not as an argument"
        )
    memory = cupy.empty(data.shape, data.dtype)
    return wrap(memory) if type(value) is Tensor else memory


def _check_arguments(inputs: Any, given: Any, name: str) -> None:
    """Refuse arguments that are not like those of the first call."""
    wanted, found = [], []  # type: ignore[var-annotated]
    shapes = [_mapped(tree, values.append) for tree, values in ((inputs, wanted), (given, found))]
    if shapes[0] != shapes[1] or len(wanted) != len(found):
        raise ShapeError(f"capture: {name} is called with other arguments than at first; {AGAIN}")
    for i, (memory, value) in enumerate(zip(wanted, found)):
        memory, value = _data(memory), _data(value)
        if type(memory) not in DEVICES:
            same = type(value) is type(memory) and (value is memory or (isinstance(value, PLAIN) and value == memory))
            if not same:
                raise DTypeError(
                    f"capture: argument {i} of {name} is {describe(value)}, in the recorded step {describe(memory)}; "
                    f"give what changes as a Tensor, or {AGAIN}"
                )
        elif type(value) not in DEVICES:
            raise DTypeError(f"capture: argument {i} of {name} is {describe(value)}, expected {describe(memory)}")
        elif value.shape != memory.shape:
            raise ShapeError(
                f"capture: argument {i} of {name} has shape {tuple(value.shape)}, in the recorded step "
                f"{tuple(memory.shape)}; {AGAIN}"
            )
        elif value.dtype != memory.dtype:
            raise DTypeError(
                f"capture: argument {i} of {name} is {value.dtype}, in the recorded step {memory.dtype}; {AGAIN}"
            )


def _fill(inputs: Any, given: Any) -> None:
    """Copy the arguments into their memory."""
    if isinstance(inputs, dict):
        for key, memory in inputs.items():
            _fill(memory, given[key])
    elif isinstance(inputs, list | tuple):
        for memory, value in zip(inputs, given):
            _fill(memory, value)
    elif type(_data(inputs)) in DEVICES:
        memory, value = _data(inputs), _data(given)
        if type(value) is np.ndarray:
            memory.set(np.ascontiguousarray(value))
        elif value is not memory:
            memory[...] = value


def _copied(result: Any) -> Any:
    """The result as the caller gets it: the next call writes over the memory of this one."""

    def copy(value: Any) -> Any:
        if type(value) is Tensor:
            return wrap(value.data.copy())
        return value.copy() if type(value) in DEVICES else value

    return _mapped(result, copy)


def _explained(name: str, error: BaseException) -> BaseException:
    """What a function raised while it was recorded; an error of CUDA or CuPy says little by itself."""
    if not isinstance(error, Exception) or (isinstance(error, OURS) and str(error).startswith("capture: ")):
        return error
    raised = f"capture: {name} failed while it was recorded ({type(error).__name__}: {error}); the recording was ended"
    if isinstance(error, RuntimeError | NotImplementedError) and not isinstance(error, OURS):
        return DeviceError(
            f"{raised}. A CUDA graph cannot wait for the GPU or copy from the host: no .item(), .numpy(), print or "
            "`if` of a Tensor's value inside, and no array made of the host's numbers; give those as arguments"
        )
    error.add_note(raised)
    return error


# ---------------------------------------------------------------------- what the function uses


def reached(function: Any) -> list[Any]:
    """The Tensors and objects that ``function`` can use: through closures, globals it names, attributes, containers.

    >>> from tinygrad_notes.capture import reached
    >>> weight = tn.ones(3)
    >>> double = lambda: weight * 2
    >>> any(one is weight for one in reached(double))
    True
    """
    found: dict[int, Any] = {}
    stack = [function, *_cells(function)]
    while stack:
        value = stack.pop()
        if id(value) in found or isinstance(value, (*PLAIN, type, ModuleType)) or type(value) in DEVICES:
            continue
        children = _children(value)
        if children is not None:
            found[id(value)] = value
            stack += children
    return list(found.values())


def _children(value: Any) -> Iterable[Any] | None:
    """What ``value`` holds; None for what belongs to Python or a library."""
    if type(value) is Tensor:
        return ()
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, Captured):  # an object often holds its captured method
        return (value.function,)
    if isinstance(value, MethodType):
        return value.__self__, value.__func__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    home = (getattr(type(value) if not isinstance(value, FunctionType) else value, "__module__", "") or "").split(".")
    if isinstance(value, FunctionType):
        if home[0] in LIBRARIES:
            return None
        named_globals, attributes = _names(value.__code__)
        named = [value.__globals__[name] for name in named_globals if name in value.__globals__]
        for module in [one for one in named if isinstance(one, ModuleType)]:  # settings.net, where settings is a module
            if module.__name__.split(".")[0] not in (*LIBRARIES, *sys.stdlib_module_names):
                named += [vars(module)[name] for name in attributes if name in vars(module)]
        return [*_cells(value), *named, value.__defaults__ or (), value.__kwdefaults__ or {}]
    if (
        home[0] in sys.stdlib_module_names - {"__main__"}
        or home[0] in ("numpy", "cupy")
        or not hasattr(value, "__dict__")
    ):
        return None
    return vars(value).values()


def _cells(function: Any) -> list[Any]:
    """What a function has from the functions around it."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # not filled yet
            found.append(cell.cell_contents)
    return found


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """The globals that a function reads, and the attributes, those of the functions inside it too."""
    read = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    attributes = set(code.co_names)
    for inner in (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)):
        read, attributes = read | inner[0], attributes | inner[1]
    return read, attributes


MISSING = object()


class Numbers:
    """The plain values, lengths and arrays that objects hold, and which of them changed between two looks."""

    def __init__(self, objects: list[Any]):
        self.objects = objects
        self.changed: list[str] = []
        self.skip()

    def skip(self) -> None:
        """Take what is there now as what was there before."""
        self.before = self._now()

    def look(self) -> None:
        """Note what is not as it was."""
        now = self._now()
        for key in self.before.keys() | now.keys():
            (what, old), (_, new) = (found.get(key, ("", MISSING)) for found in (self.before, now))
            if not (old is new or (isinstance(old, PLAIN) and type(old) is type(new) and old == new)):
                self.changed.append(what or now[key][0])

    def _now(self) -> dict[Any, tuple[str, Any]]:
        found: dict[Any, tuple[str, Any]] = {}
        for one in self.objects:
            if type(one) is Tensor:
                found[id(one), "data"] = f"the memory of a Tensor of shape {one.shape}", one.data
                continue
            if isinstance(one, list | set | dict):
                found[id(one), "len"] = f"the length of a {type(one).__name__}", len(one)
            held: Any = ()
            if isinstance(one, dict):
                held, said = one.items(), "{key!r} of a dict"
            elif isinstance(one, list):
                held, said = enumerate(one), "element {key} of a list"
            elif not isinstance(one, tuple | set | frozenset | FunctionType | MethodType | functools.partial):
                held, said = vars(one).items(), f"{type(one).__name__}.{{key}}"
            for key, value in held:
                if isinstance(value, PLAIN) or type(value) is Tensor or type(value) in DEVICES:
                    found[id(one), key] = said.format(key=key), value
        return found


class Kept(NamedTuple):
    """A Tensor that the function uses, with its memory; ``added_to``: the gradient that the step adds to."""

    tensor: Tensor
    memory: Any
    requires_grad: bool
    grad: str  # what has to be there before: "none", "same" or "any"
    gradient: Any


class Recorded:
    """What a recording rests on: memory, modes, networks in training or not. A replay checks that it is still so."""

    def __init__(self, function: Any):
        self.objects = reached(function)
        self.tensors = [one for one in self.objects if type(one) is Tensor]
        self.gradients_before = [(t, t.grad) for t in self.tensors]
        self.gradient_memory = [None if t.grad is None else t.grad.data for t in self.tensors]
        self.training = [
            (one, one.training)
            for one in self.objects
            if isinstance(getattr(one, "__dict__", {}).get("training"), bool)
        ]
        self.modes = self._modes()
        self.result: Any = None
        self.kept: list[Kept] = []
        self.gradients: list[tuple[Tensor, Any]] = []

    def complete(self, changed: list[str], drew: bool, name: str) -> None:
        """After the recording: refuse it where the function did what a graph does not repeat."""
        if drew:
            raise DeviceError(
                f"capture: {name} draws random numbers on the host (rand, attention's dropout_p, ...), and a graph "
                "repeats those of its recording in every step; give them as arguments, or leave the step as it is"
            )
        if changed:
            raise DeviceError(
                f"capture: {name} changes {', '.join(dict.fromkeys(changed))}; a graph repeats what the GPU did, and "
                "nothing that Python did: change it outside"
            )
        for tensor, before in zip(self.tensors, self.gradient_memory):
            after = None if tensor.grad is None else tensor.grad.data
            needed = "none" if before is None else "same" if after is before else "any"
            self.kept.append(Kept(tensor, tensor.data, tensor.requires_grad, needed, after))
            self.gradients.append((tensor, tensor.grad))

    def check(self, name: str) -> None:
        """DeviceError where the recorded graphs would not do what the function does now."""
        for tensor, memory, requires_grad, grad, gradient in self.kept:
            if tensor.data is not memory:
                raise DeviceError(
                    f"capture: a Tensor that {name} uses ({describe(tensor)}) was given other memory since it was "
                    "recorded; write into it in place (t.data[...] = v), or call reset() to record anew"
                )
            if (tensor.node is not None) is not requires_grad:
                raise DeviceError(f"capture: requires_grad of a Tensor that {name} uses has changed; call reset()")
            if grad == "any":
                continue
            now = tensor.grad
            if (now is not None) if grad == "none" else (now is None or now.data is not gradient):
                raise DeviceError(
                    f"capture: the gradient of a Tensor that {name} uses ({describe(tensor)}) is "
                    f"{'not None' if grad == 'none' else 'another one'}, as it was not when {name} was recorded; treat "
                    "gradients alike before every step (zero_grad() inside it is simplest)"
                )
        for module, training in self.training:
            if module.training is not training:
                raise DeviceError(
                    f"capture: {type(module).__name__}, which {name} uses, was recorded with training {training} "
                    f"and has {module.training} now; {AGAIN}"
                )
        if self._modes() != self.modes:
            raise DeviceError(f"capture: {name} was recorded under other kernels, precision or no_grad; {AGAIN}")

    @staticmethod
    def _modes() -> tuple[Any, ...]:
        return is_grad_enabled(), kernels.PRECISION.get(), id(kernels._table.get())
