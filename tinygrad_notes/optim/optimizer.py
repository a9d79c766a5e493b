"""Optimizer: groups of parameters with their settings, and the state that a method keeps for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinygrad_notes.errors import WITHOUT_MEMORY, DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import describe
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import apart, enable_grad
from tinygrad_notes.ops.arguments import at_least, flag
from tinygrad_notes.tensor import Tensor, has_memory, to_array, to_device, wrap
from tinygrad_notes.writes import mark_written

Group = dict[str, Any]
# Settings that are True or False.
FLAGS = {"adaptive", "centered", "decoupled_weight_decay", "maximize", "nesterov"}


class Optimizer:
    """What optimisers share. A subclass lists its per-parameter state in ``slots`` and defines ``update``.

    ``counters``: those of the slots that are whole numbers, and ``scalars`` those that are other numbers; the rest are
    arrays of the parameter's shape. ``optional``: slots that some settings do without.

    PyTorch's ``foreach``, ``capturable``, ``differentiable`` and ``fused`` do not exist: a step is one call of a kernel
    over lists of arrays, or array code. A frozen parameter is refused.

    ``param_groups``: dicts with ``"params"`` and the settings of these parameters, to be read and changed at any time.

    >>> weight, bias = tn.ones((2, 3), requires_grad=True), tn.zeros(2, requires_grad=True)
    >>> optim.AdamW([{"params": [weight]}, {"params": [bias], "weight_decay": 0}]).param_groups[1]["weight_decay"]
    0
    """

    slots: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]):
        if not isinstance(defaults, Mapping):
            raise DTypeError(f"{type(self).__name__}: defaults is {defaults!r}, expected a dict of settings")
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self._slots: list[
            dict[str, list[Any]]
        ] = []  # for each group and slot: one value per parameter, None before its first step
        name = type(self).__name__
        if isinstance(params, Tensor | Mapping) or not isinstance(params, Iterable):
            raise DTypeError(
                f"{name}: params is a {type(params).__name__}, expected a list of Tensors or of groups (dicts)"
            )
        given = list(params)
        if not given:
            raise ShapeError(f"{name}: there are no parameters")
        if not any(isinstance(entry, Mapping) for entry in given):
            given = [{"params": given}]
        for entry in given:
            if not isinstance(entry, Mapping):
                raise DTypeError(f"{name}: params mixes groups (dicts) and {type(entry).__name__}, expected one kind")
            self.add_param_group(entry)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take more parameters: ``{"params": [...], "lr": ...}``; settings that are not given are the defaults."""
        name = type(self).__name__
        if "params" not in group:
            raise ShapeError(f"{name}: a group has no entry 'params', only {sorted(group)}")
        unknown = sorted(set(group) - {"params", "initial_lr", *self.defaults})
        if unknown:
            raise ShapeError(f"{name}: a group sets {unknown}, expected settings of {sorted(self.defaults)}")
        given = group["params"]
        if not isinstance(given, Iterable):
            raise DTypeError(f"{name}: params of a group is {type(given).__name__}, expected a list of Tensors")
        params = [given] if type(given) is Tensor else list(given)
        if not params:
            raise ShapeError(f"{name}: a group has no parameters")
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for i, parameter in enumerate(params):
            if type(parameter) is not Tensor:
                raise DTypeError(f"{name}: parameter {i} is {type(parameter).__name__}, expected a Tensor")
            if parameter.node is None:
                raise GradientError(
                    f"{name}: parameter {i}, of shape {parameter.shape}, requires no gradient; leave frozen ones out"
                )
            if not parameter.is_leaf:
                raise GradientError(f"{name}: parameter {i} was made by {parameter.node.name}; only leaves are trained")
            if id(parameter) in known:
                raise ShapeError(f"{name}: parameter {i}, of shape {parameter.shape}, is given twice")
            if not has_memory(parameter.data):
                raise DeviceError(f"{name}: parameter {i}, of shape {parameter.shape}, {WITHOUT_MEMORY}")
            known.add(id(parameter))
        settings = {**self.defaults, **{key: value for key, value in group.items() if key != "params"}}
        for key in FLAGS & settings.keys():
            flag(settings[key], f"{name}: {key}")
        self.check(settings)
        self.param_groups.append({"params": params, **settings})
        self._slots.append({slot: [None] * len(params) for slot in self.slots})

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that make no sense."""
        check_least(self, settings, lr=0.0, weight_decay=0.0)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros in place."""
        for group in self.param_groups:
            if set_to_none:
                for parameter in group["params"]:
                    parameter.grad = None
            else:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.data[...] = 0
                        mark_written(parameter.grad.data)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters that have a gradient, in place. ``closure`` computes loss and gradients before.

        A gradient that does not fit its parameter raises GradientError before anything is changed.
        """
        loss = None
        if closure is not None:
            if not callable(closure):
                raise DTypeError(f"{type(self).__name__}.step: closure is {closure!r}, expected a function or None")
            with enable_grad():
                loss = closure()
        between_graphs = apart.get()
        if between_graphs is None:
            self._step()
        else:
            between_graphs(self._step, [p for group in self.param_groups for p in group["params"]])
        return loss

    def _step(self) -> None:
        work = []
        for group, slots in zip(self.param_groups, self._slots):
            parameters: list[Any] = []
            gradients: list[Any] = []
            chosen: list[int] = []
            for i, parameter in enumerate(group["params"]):
                gradient = parameter.grad
                if gradient is not None:
                    if (
                        type(gradient) is not Tensor
                        or gradient.data.shape != parameter.data.shape
                        or gradient.data.dtype != parameter.data.dtype
                        or type(gradient.data) is not type(parameter.data)
                    ):
                        raise self._misfit(i, parameter, gradient)
                    if parameters and type(parameter.data) is not type(parameters[0]):
                        raise DeviceError(
                            f"{type(self).__name__}.step: parameter {chosen[0]} is on {DEVICES[type(parameters[0])]}, "
                            f"parameter {i} on {parameter.device}; move the network with .to(device), or give each "
                            "device a group of its own"
                        )
                    parameters.append(parameter.data)
                    gradients.append(gradient.data)
                    chosen.append(i)
            if chosen:
                work.append((group, slots, chosen, parameters, gradients))
        for task in work:
            _follow(task[1], task[2], task[3])
            self.update(*task)
            for array in task[3]:
                mark_written(array)

    def _misfit(self, number: int, parameter: Tensor, gradient: Any) -> GradientError:
        return GradientError(
            f"{type(self).__name__}.step: the gradient of parameter {number} is {describe(gradient)}, "
            f"expected a Tensor of its shape {list(parameter.shape)} and dtype {parameter.dtype} on {parameter.device}"
        )

    def update(
        self, group: Group, slots: dict[str, list[Any]], chosen: list[int], parameters: list[Any], gradients: list[Any]
    ) -> None:
        """One step in place for the parameters numbered ``chosen``; ``slots`` holds a value for each of the group."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on, named and laid out as PyTorch's.

        ``"state"``: what is kept for each parameter, by its number over all groups: Tensors that share the memory, and
        numbers. ``"param_groups"``: the settings, with numbers for the parameters.
        """
        state, groups, start = {}, [], 0
        for group, slots in zip(self.param_groups, self._slots):
            count = len(group["params"])
            for i in range(count):
                kept = {slot: _as_tensor(values[i]) for slot, values in slots.items() if values[i] is not None}
                if kept:
                    state[start + i] = kept
            settings = {key: value for key, value in group.items() if key != "params"}
            groups.append({**settings, "params": list(range(start, start + count))})
            start += count
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``, which is copied. What does not fit raises ShapeError and changes nothing."""
        name = type(self).__name__
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise ShapeError(f"{name}.load_state_dict: expected a dict with 'state' and 'param_groups'")
        groups, entries = state_dict["param_groups"], state_dict["state"]
        if not isinstance(groups, list | tuple) or not all(isinstance(g, Mapping) and "params" in g for g in groups):
            raise ShapeError(f"{name}.load_state_dict: expected 'param_groups' to be a list of dicts with 'params'")
        if not isinstance(entries, Mapping) or not all(
            str(number).isdecimal() and isinstance(kept, Mapping) for number, kept in entries.items()
        ):
            raise ShapeError(f"{name}.load_state_dict: expected 'state' to be a dict of dicts by parameter number")
        given, own = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if given != own:
            raise ShapeError(f"{name}.load_state_dict: the state is of groups of {given} parameters, expected {own}")
        settings = []
        for saved, group in zip(groups, self.param_groups):
            known = {key: saved[key] for key in saved if key in group and key != "params"}
            known |= {"initial_lr": saved["initial_lr"]} if "initial_lr" in saved else {}
            missing = sorted(set(self.defaults) - set(known))
            if missing:
                raise ShapeError(f"{name}.load_state_dict: a group lacks {missing}")
            settings.append({**known, **{key: tuple(v) for key, v in known.items() if isinstance(v, list)}})
            self.check(settings[-1])
        entries = {int(number): kept for number, kept in entries.items()}
        unexpected = sorted(set(entries) - set(range(sum(own))))
        if unexpected:
            raise ShapeError(
                f"{name}.load_state_dict: there is state for parameters {unexpected}, expected 0 to {sum(own) - 1}"
            )
        fresh, number = [], 0
        for group in self.param_groups:
            slots: dict[str, list[Any]] = {slot: [] for slot in self.slots}
            for parameter in group["params"]:
                kept = entries.get(number, {})
                _check_slots(kept, self, f"{name}.load_state_dict: state of parameter {number}")
                for slot in self.slots:
                    what, value = f"{name}.load_state_dict: {slot} of parameter {number}", kept.get(slot)
                    if value is not None and slot in self.counters + self.scalars:
                        value = _number(value, what, slot in self.counters)
                    elif value is not None:
                        value = _fitted(value, parameter, what)
                    slots[slot].append(value)
                number += 1
            fresh.append(slots)
        for group, values in zip(self.param_groups, settings):
            group.update(values)
        self._slots = fresh

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            count = sum(p.size for p in group["params"])
            settings = ", ".join(f"{key}={value}" for key, value in group.items() if key != "params")
            lines.append(f"  group {i}: {settings}  # {len(group['params'])} Tensors, {count:,} parameters")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def _follow(slots: dict[str, list[Any]], chosen: list[int], parameters: list[Any]) -> None:
    """Bring what is kept for parameters to their dtype and device, which ``net.to(...)`` may have changed."""
    for values in slots.values():
        for i, parameter in zip(chosen, parameters):
            kept = values[i]
            if type(kept) in DEVICES and (type(kept) is not type(parameter) or kept.dtype != parameter.dtype):
                values[i] = to_device(kept, DEVICES[type(parameter)]).astype(parameter.dtype)


def _as_tensor(value: Any) -> Any:
    return value if isinstance(value, int | float) else wrap(value)


def _check_slots(kept: Mapping[str, Any], optimizer: Optimizer, what: str) -> None:
    present = {key for key, value in kept.items() if value is not None}
    needed = set(optimizer.slots) - set(optimizer.optional)
    if present and not needed <= present <= set(optimizer.slots):
        raise ShapeError(f"{what} has {sorted(present)}, expected {sorted(optimizer.slots)}")


def _array(value: Any, what: str) -> Any:
    try:
        return to_array(value, copy=True)
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"{what}: {error}") from None


def _number(value: Any, what: str, whole: bool) -> int | float:
    """A saved number of steps, or another number."""
    if not isinstance(value, int | float):  # which an array would round to float32
        array = _array(value, what)
        value = array.item() if array.size == 1 else array
    if not isinstance(value, int | float) or not value >= 0:
        raise ShapeError(f"{what} is {describe(value)}, expected one number of at least 0")
    return int(value) if whole else float(value)


def _fitted(value: Any, parameter: Tensor, what: str) -> Any:
    """A copy of a saved value, in the dtype and on the device of its parameter."""
    array = _array(value, what)
    if array.shape != parameter.shape:
        raise ShapeError(f"{what} has shape {tuple(array.shape)}, expected {parameter.shape}")
    return to_device(array.astype(parameter.dtype, copy=False), parameter.device)


def check_least(optimizer: Optimizer, settings: Mapping[str, Any], **least: float) -> None:
    """Each named setting is a finite number of at least the given one."""
    for name, low in least.items():
        if name in settings:
            at_least(settings[name], f"{type(optimizer).__name__}: {name}", low)


def check_betas(optimizer: Optimizer, settings: Mapping[str, Any]) -> None:
    """``betas`` is two numbers of at least 0 and less than 1."""
    name, betas = type(optimizer).__name__, settings["betas"]
    if not isinstance(betas, list | tuple) or len(betas) != 2 or not all(isinstance(b, int | float) for b in betas):
        raise DTypeError(f"{name}: betas is {betas!r}, expected two numbers")
    if not all(0 <= beta < 1 for beta in betas):
        raise ShapeError(f"{name}: betas is {betas!r}, expected numbers of at least 0 and less than 1")
