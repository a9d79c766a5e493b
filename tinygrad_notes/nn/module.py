"""Module: what layers and networks have in common. Parameters, buffers and submodules are found by their attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tinygrad_notes.errors import WITHOUT_MEMORY, DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.nn.tree import tree
from tinygrad_notes.tensor import (
    Tensor,
    as_dtype,
    has_memory,
    to_array,
    to_device,
    without_memory,
    wrap,
)
from tinygrad_notes.writes import mark_written

PreHook = Callable[["Module", tuple[Any, ...]], Any]
Hook = Callable[["Module", tuple[Any, ...], Any], Any]


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(..., strict=False)`` found no value for, and no place for.

    >>> nn.Linear(2, 1).load_state_dict({"weight": np.ones((1, 2)), "scale": 1.0}, strict=False)
    IncompatibleKeys(missing_keys=['bias'], unexpected_keys=['scale'])
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer or a network: define ``__init__`` and ``forward``, call it like a function.

    A parameter is an attribute that is a Tensor which requires a gradient (and stays one when it is frozen), a
    submodule an attribute that is a Module. State that is saved but not trained is a buffer: :meth:`register_buffer`.
    Names and order of ``state_dict`` are PyTorch's: ``"0.weight"``, ``"encoder.layers.1.bias"``.

    >>> class Scale(nn.Module):
    ...     def __init__(self, size):
    ...         super().__init__()
    ...         self.weight = tn.ones(size, requires_grad=True)
    ...
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> Scale(2)([3.0, 4.0]).sum().item(), [name for name, _ in Scale(2).named_parameters()]
    (7.0, ['weight'])
    """

    training: bool
    _parameters: dict[str, None]  # names that hold parameters, frozen ones too
    _buffers: dict[str, bool]  # names that hold buffers: whether state_dict has them
    _pre_hooks: dict[int, PreHook] = {}  # of the class: no instance has hooks until one is registered
    _hooks: dict[int, Hook] = {}
    _hooked = False
    _computed: dict[str, Any] = {}  # names whose value a parametrisation computes, whenever it is asked for

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        # Made here, so that attributes may be set before, or without, super().__init__().
        module = object.__new__(cls)
        module.__dict__.update(training=True, _parameters={}, _buffers={})
        return module

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward, so it cannot be called")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._hooked:
            return self._call_with_hooks(arguments, options)
        return self.forward(*arguments, **options)

    # ------------------------------------------------------------------ attributes

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # called only where the usual way found nothing
            if name in self._computed:
                return self._computed[name]()
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._computed:
            self._computed[name].assign(value)
            return
        if type(value) is Tensor:
            self._check_tensor(name, value)
        elif isinstance(value, Module):
            self._forget(name)
        elif value is not None and (name in self._parameters or name in self._buffers):
            kind = "parameter" if name in self._parameters else "buffer"
            raise DTypeError(
                f"{type(self).__name__}: {kind} {name!r} is {type(value).__name__}, expected a Tensor or None"
            )
        elif isinstance(value, list | tuple | dict):
            _refuse_hidden_modules(self, name, value)
        object.__setattr__(self, name, value)

    def _check_tensor(self, name: str, value: Tensor) -> None:
        if value.node is not None and value.is_leaf:
            self._buffers.pop(name, None)
            self._parameters[name] = None
        elif name in self._parameters:
            made = f"was made by {value.node.name}" if value.node is not None else "requires no gradient"
            raise GradientError(
                f"{type(self).__name__}: parameter {name!r} is replaced by a Tensor that {made}; "
                "give nn.Parameter(t), or copy the values in with nn.init.copy_"
            )

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._parameters.pop(name, None)
        self._buffers.pop(name, None)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Give the module a Tensor (or None) that moves and is saved with it but is not trained.

        One that is not ``persistent`` moves, but is not in ``state_dict``.

        >>> layer = nn.Linear(2, 1)
        >>> layer.register_buffer("seen", tn.zeros(1))
        >>> list(layer.state_dict()), len(list(layer.parameters()))
        (['weight', 'bias', 'seen'], 2)
        """
        if not isinstance(name, str) or not name or "." in name:
            raise DTypeError(f"register_buffer: name is {name!r}, expected a name without a dot")
        if tensor is not None and type(tensor) is not Tensor:
            raise DTypeError(f"register_buffer: {name} is {type(tensor).__name__}, expected a Tensor or None")
        if tensor is not None and tensor.node is not None and tensor.is_leaf:
            raise GradientError(
                f"register_buffer: {name} requires a gradient, so it would be a parameter; register t.detach()"
            )
        if name not in self._buffers and hasattr(self, name):
            raise DTypeError(f"register_buffer: {type(self).__name__} has an attribute {name!r} already")
        self._buffers[name] = persistent
        object.__setattr__(self, name, tensor)

    # ------------------------------------------------------------------ what it is made of

    def _own_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in list(self.__dict__.items()):
            if type(value) is Tensor and name not in self._buffers:
                if value.node is not None and value.is_leaf:
                    self._parameters[name] = None
                if name in self._parameters:
                    yield name, value

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._buffers:
            value = self.__dict__.get(name)
            if value is not None:
                yield name, value

    def _submodules(self) -> Iterator[tuple[str, Module]]:
        """Every submodule under every name it has."""
        for name, value in list(self.__dict__.items()):
            if isinstance(value, Module):
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The submodules of this module itself with their names; a shared one once.

        >>> [name for name, _ in nn.Sequential(nn.Linear(2, 1), nn.ReLU()).named_children()]
        ['0', '1']
        """
        seen: set[int] = set()
        for name, child in self._submodules():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The submodules of this module itself; a shared one once.

        >>> list(nn.Sequential(nn.ReLU(), nn.Tanh()).children())
        [ReLU(), Tanh()]
        """
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "", _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """This module (under the name ``prefix``) and all modules below it with their paths; a shared one once.

        >>> [path for path, _ in nn.Sequential(nn.Sequential(nn.ReLU())).named_modules("net")]
        ['net', 'net.0', 'net.0.0']
        """
        seen = set() if _seen is None else _seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self._submodules():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it; a shared one once.

        >>> [type(module).__name__ for module in nn.Sequential(nn.ReLU()).modules()]
        ['Sequential', 'ReLU']
        """
        return (module for _, module in self.named_modules())

    def _named(
        self, own: Callable[[Module], Iterator[tuple[str, Tensor]]], prefix: str, recurse: bool
    ) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, tensor in own(module):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their paths; a shared one once, under its first name.

        >>> [(name, p.shape) for name, p in nn.Sequential(nn.Linear(2, 1)).named_parameters()]
        [('0.weight', (1, 2)), ('0.bias', (1,))]
        """
        return self._named(lambda module: module._own_parameters(), prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """The parameters, frozen ones too; a shared one once.

        >>> sum(p.size for p in nn.Linear(2, 3).parameters())
        9
        """
        return (tensor for _, tensor in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their paths; a shared one once.

        >>> [name for name, _ in nn.BatchNorm1d(3).named_buffers()]
        ['running_mean', 'running_var', 'num_batches_tracked']
        """
        return self._named(lambda module: module._own_buffers(), prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers; a shared one once.

        >>> len(list(nn.BatchNorm1d(3).buffers()))
        3
        """
        return (tensor for _, tensor in self.named_buffers(recurse=recurse))

    # ------------------------------------------------------------------ state

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters, then persistent buffers, then the submodules' own, under every name they have."""
        for name, tensor in self._own_parameters():
            yield prefix + name, tensor
        for name, tensor in self._own_buffers():
            if self._buffers[name]:
                yield prefix + name, tensor
        for name, child in self._submodules():
            yield from child._state(f"{prefix}{name}.")

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and persistent buffers by path, off the tape. They share the module's memory.

        >>> list(nn.Sequential(nn.Linear(2, 1)).state_dict())
        ['0.weight', '0.bias']
        """
        return {name: wrap(tensor.data) for name, tensor in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy ``state`` (Tensors or arrays by path) into the parameters and buffers.

        Missing, unexpected and misshapen keys raise one ShapeError that lists them all, and nothing is changed. With
        ``strict=False`` only misshapen ones do; the others are returned.

        >>> layer = nn.Linear(2, 1)
        >>> layer.load_state_dict({"weight": np.ones((1, 2)), "bias": np.zeros(1)})
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        >>> layer.weight
        Tensor([[1., 1.]], requires_grad=True)
        """
        if not isinstance(state, Mapping):
            raise DTypeError(
                f"load_state_dict: state is {type(state).__name__}, expected a dict of Tensors or arrays by path"
            )
        own = dict(self._state())
        missing, unexpected = [name for name in own if name not in state], [name for name in state if name not in own]
        problems = [f"missing: {', '.join(missing)}"] if strict and missing else []
        problems += [f"unexpected: {', '.join(unexpected)}"] if strict and unexpected else []
        values = {}
        for name, tensor in own.items():
            if name in state:
                try:
                    values[name] = value = to_array(state[name])
                except (ShapeError, DTypeError) as error:
                    problems.append(f"{name}: {error}")
                    continue
                if not has_memory(tensor.data):
                    raise DeviceError(f"load_state_dict: {name} {WITHOUT_MEMORY}")
                if value.shape != tensor.shape:
                    problems.append(f"{name} has shape {tuple(value.shape)}, expected {tensor.shape}")
                elif value.dtype.kind == "f" and tensor.dtype.kind != "f":
                    problems.append(f"{name} is {value.dtype}, expected {tensor.dtype}")
        if problems:
            raise ShapeError(
                f"load_state_dict: the state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems)
            )
        for name, value in values.items():
            target = own[name]
            target.data[...] = to_device(value, target.device)
            mark_written(target.data)
        return IncompatibleKeys(missing, unexpected)

    # ------------------------------------------------------------------ changes to all

    def train(self, mode: bool = True) -> Self:
        """Set ``training`` here and below: dropout and batch normalisation behave accordingly.

        >>> nn.Dropout(0.5).train(False)(tn.ones(3))
        Tensor([1., 1., 1.])
        """
        if not isinstance(mode, bool):
            raise DTypeError(f"train: mode is {mode!r}, expected True or False")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The opposite of :meth:`train`: no dropout, running statistics.

        >>> nn.Sequential(nn.Dropout(0.5)).eval()[0].training
        False
        """
        return self.train(False)

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call ``function`` on every module below, then on this one.

        >>> net = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        >>> net = net.apply(lambda m: nn.init.zeros_(m.bias) if isinstance(m, nn.Linear) else None)
        >>> net[0].bias
        Tensor([0.], requires_grad=True)
        """
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self, *targets: Any) -> Self:
        """Move parameters, gradients and buffers to a device, and those of floating dtype to a dtype, in place.

        ``net.to("cuda")``, ``net.to(tn.float64)``. The Tensors stay the same objects, so an optimiser keeps them.

        >>> nn.Linear(2, 1).to(tn.float64).weight.dtype
        dtype('float64')
        """
        device = next((t for t in targets if isinstance(t, str) and t in ("cpu", "cuda")), None)
        try:
            dtypes = [as_dtype(t) for t in targets if not (isinstance(t, str) and t in ("cpu", "cuda"))]
        except DTypeError as error:
            raise DTypeError(f"to: {targets} holds what is no device ('cpu' or 'cuda'); as a dtype: {error}") from None
        dtype = dtypes[0] if dtypes else None
        if dtype is not None and dtype.kind != "f":
            raise DTypeError(f"to: a module holds floating-point numbers, not {dtype}")
        for tensor in [*self.parameters(), *self.buffers()]:
            _convert(tensor, device, dtype)
            if tensor.grad is not None:
                _convert(tensor.grad, device, dtype)
            if tensor.node is not None:
                tensor.node.dtype = tensor.data.dtype
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros in place.

        >>> layer = nn.Linear(2, 1)
        >>> layer(tn.ones((1, 2))).sum().backward()
        >>> layer.zero_grad()
        >>> layer.weight.grad is None
        True
        """
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.data[...] = 0
                mark_written(parameter.grad.data)

    def requires_grad_(self, flag: bool = True) -> Self:
        """Freeze all parameters, or train them again. A frozen one stays a parameter.

        >>> layer = nn.Linear(2, 1).requires_grad_(False)
        >>> layer.weight.requires_grad, len(list(layer.parameters()))
        (False, 2)
        """
        for parameter in self.parameters():
            parameter.requires_grad_(flag)
        return self

    # ------------------------------------------------------------------ hooks

    def register_forward_pre_hook(self, hook: PreHook) -> Callable[[], None]:
        """Call ``hook(module, arguments)`` before forward; what it returns, if not None, replaces the arguments.

        A result that is no tuple is the only argument. Returns a function that removes the hook.

        >>> layer = nn.ReLU()
        >>> remove = layer.register_forward_pre_hook(lambda module, arguments: 10 * tn.tensor(arguments[0]))
        >>> layer([1.0, -1.0])
        Tensor([10.,  0.])
        """
        return self._register("_pre_hooks", hook)

    def register_forward_hook(self, hook: Hook) -> Callable[[], None]:
        """Call ``hook(module, arguments, output)`` after forward; what it returns, if not None, replaces the output.

        Returns a function that removes the hook.

        >>> layer = nn.ReLU()
        >>> remove = layer.register_forward_hook(lambda module, arguments, output: print("shape", output.shape))
        >>> y = layer([1.0, -1.0])
        shape (2,)
        """
        return self._register("_hooks", hook)

    def _register(self, kind: str, hook: Any) -> Callable[[], None]:
        if not callable(hook):
            raise DTypeError(f"{type(self).__name__}: the hook is {hook!r}, expected a function")
        hooks = self.__dict__.setdefault(kind, {})
        key = max(hooks, default=0) + 1
        hooks[key] = hook
        object.__setattr__(self, "_hooked", True)

        def remove() -> None:
            hooks.pop(key, None)
            object.__setattr__(self, "_hooked", bool(self._pre_hooks or self._hooks))

        return remove

    def _call_with_hooks(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        for before in list(self._pre_hooks.values()):
            replaced = before(self, arguments)
            if replaced is not None:
                arguments = replaced if type(replaced) is tuple else (replaced,)
        output = self.forward(*arguments, **options)
        for after in list(self._hooks.values()):
            replaced = after(self, arguments, output)
            if replaced is not None:
                output = replaced
        return output

    # ------------------------------------------------------------------ what it looks like

    def extra_repr(self) -> str:
        """The arguments that a line of ``repr`` shows; layers say theirs."""
        return ""

    def __repr__(self) -> str:
        return tree(self)


def _refuse_hidden_modules(module: Module, name: str, value: Any) -> None:
    """A plain list of modules would silently be left out of parameters() and state_dict()."""
    if _holds_parameters(value):
        kind = type(value).__name__
        held = "Dict" if kind == "dict" else "List"
        raise DTypeError(
            f"{type(module).__name__}: {name} is a {kind} that holds modules or parameters, which a Module does not "
            f"look into; use nn.Module{held} or nn.Parameter{held}, or an attribute for each"
        )


def _holds_parameters(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return any(map(_holds_parameters, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Module) or (type(value) is Tensor and value.node is not None and value.is_leaf)


def _convert(tensor: Tensor, device: str | None, dtype: Any) -> None:
    if not has_memory(tensor.data):
        tensor.data = without_memory(tensor.shape, tensor.dtype if dtype is None else dtype)
        return
    array = to_device(tensor.data, device)
    tensor.data = array if dtype is None or array.dtype.kind != "f" else array.astype(dtype, copy=False)
