"""Calls of compiled functions through their address, with arguments in a block of memory.

Numba compiles a function again into each that calls it. An *entry* of two numbers, the address of a block of arguments
and a thread, can be called through its address instead, so that one loop over threads serves all kernels.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.buffers import address

BLOCK_BYTES = 1024  # the last 8 say whether an exception was raised
INT32, INT64, VOID = ir.IntType(32), ir.IntType(64), ir.VoidType()
ENTRY = ir.FunctionType(VOID, [INT64, INT64])
_kept: list[Any] = []  # machine code of entries, and what they call, which must not be freed


@intrinsic
def enter(context, entry, block, thread):
    """Call an entry."""

    def generate(context, builder, signature, arguments):
        builder.call(builder.inttoptr(arguments[0], ENTRY.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


def plan(function: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., None], int]:
    """How to write such arguments into a block, ``write(buffer, offset, *arguments)``, and the address of an entry.

    ``function`` is Numba's, which takes one more argument, the thread, before the last of ``arguments``.
    """
    wanted = len(inspect.signature(function.py_func).parameters) - 1
    if len(arguments) != wanted:
        raise TypeError(f"{function.__name__}: {len(arguments)} arguments, expected {wanted}")
    kinds = [_kind(argument) for argument in arguments]
    layout = struct.Struct("=" + "".join(_slots(kind) for kind in kinds))
    if layout.size > BLOCK_BYTES - 8:
        raise TypeError(f"{function.__name__}: {layout.size} bytes of arguments, at most {BLOCK_BYTES - 8}")
    simple = all(isinstance(argument, int | float | np.floating) for argument in arguments)
    arrays = [(i, numba.np.numpy_support.as_dtype(kind.dtype)) for i, kind in enumerate(kinds) if _is_array(kind)]

    def write(buffer: Any, offset: int, *arguments: Any) -> None:
        flat: list[Any] = []
        for i, dtype in arrays:  # the machine code is of one dtype, and does not look at strides
            if arguments[i].dtype != dtype or not arguments[i].flags.c_contiguous:
                raise TypeError(
                    f"{function.__name__}: argument {i} must be an array of {dtype} in one piece, in C order"
                )
        for argument in arguments:
            _flatten(argument, flat)
        layout.pack_into(buffer, offset, *flat)

    return layout.pack_into if simple else write, _entry(function, (*kinds[:-1], types.int64, kinds[-1]))


def _kind(argument: Any) -> Any:
    """The type that Numba compiles for; True and False are integers."""
    if isinstance(argument, bool | np.bool_ | int | np.integer):
        return types.int64
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise TypeError("a kernel takes arrays whose elements lie in one piece, in C order")
        return types.Array(numba.typeof(argument).dtype, argument.ndim, "C")
    if not isinstance(argument, tuple):
        return numba.typeof(argument)
    kinds = [_kind(item) for item in argument]
    if hasattr(argument, "_fields"):
        return types.NamedTuple(kinds, type(argument))
    return types.Tuple(kinds)


def _is_array(kind: Any) -> bool:
    return isinstance(kind, types.Array)


def _slots(kind: Any) -> str:
    """The slots of an argument, as ``struct`` writes them."""
    if _is_array(kind):
        return "q" * (5 + 2 * kind.ndim)
    if isinstance(kind, types.BaseTuple):
        items: Any = kind  # a tuple type is iterated over the types of its items
        return "".join(_slots(item) for item in items)
    return {types.int64: "q", types.float32: "f4x", types.float64: "d"}[kind]


def _flatten(argument: Any, slots: list[Any]) -> None:
    if isinstance(argument, tuple):
        for item in argument:
            _flatten(item, slots)
    elif isinstance(argument, np.ndarray):  # as Numba passes one: its owner, the object, its size, where it is
        slots += [0, 0, argument.size, argument.itemsize, address(argument), *argument.shape, *argument.strides]
    else:
        slots.append(int(argument) if isinstance(argument, np.bool_) else argument)


@global_compiler_lock
def _entry(function: Any, kinds: tuple[Any, ...]) -> int:
    """The address of an entry of ``function``, compiled for arguments of these kinds."""
    function.compile(kinds)
    compiled = function.overloads[kinds]
    target = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    context = cpu_target.target_context
    passed = context.get_arg_packer(kinds).argument_types
    thread = len(passed) - 2
    kind = context.call_conv.get_function_type(types.none, kinds)
    name = f"entry_{len(_kept)}_{function.__name__}"
    library = context.codegen().create_library(name)
    module = library.create_ir_module(name)
    entry = ir.Function(module, ENTRY, name)
    builder = ir.IRBuilder(entry.append_basic_block())
    values = []
    for i, type_ in enumerate(passed):
        if i == thread:
            values.append(entry.args[1])
        else:
            place = builder.add(entry.args[0], INT64(8 * (i - (i > thread))))
            values.append(builder.load(builder.inttoptr(place, type_.as_pointer())))
    result, exception = (builder.alloca(pointer.pointee) for pointer in kind.args[:2])
    status = builder.call(builder.inttoptr(INT64(target), kind.as_pointer()), [result, exception, *values])
    fine = [builder.icmp_signed("==", status, code) for code in (RETCODE_OK, RETCODE_NONE)]
    with builder.if_then(builder.not_(builder.or_(*fine)), likely=False):
        place = builder.add(entry.args[0], INT64(BLOCK_BYTES - 8))
        builder.store(INT64(1), builder.inttoptr(place, INT64.as_pointer()))
    builder.ret_void()
    library.add_ir_module(module)
    library.finalize()
    _kept.append((library, compiled))
    return int(library.get_pointer_to_function(name))
