"""Micro-kernels along a row of memory: maps and reductions, unrolled, with a masked tail.

:func:`row` makes one from a body that is written for vectors. A softmax is three of them: the maximum of a row, the
exponentials of its differences to it with their sum, and a scaling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes

Body = Callable[[Lanes, list[Any], list[Any]], tuple[Sequence[Any], Sequence[Any]]]
LINE = 64  # bytes of a line of the caches
IDENTITY = {"sum": 0.0, "max": -math.inf}


def combine(v: Lanes, kind: str, total: Any, value: Any) -> Any:
    """One step of a reduction. A maximum passes over NaN."""
    if kind == "sum":
        return v.builder.fadd(total, value)
    return v.builder.select(v.builder.fcmp_ordered(">", value, total), value, total)


def fold(v: Lanes, kind: str, value: Any) -> Any:
    """Reduce the lanes of one vector, always in the same order, halves first."""
    width = v.count // 2
    while width:
        turned = ir.Constant(ir.VectorType(INT32, v.count), [(lane + width) % v.count for lane in range(v.count)])
        value = combine(v, kind, value, v.builder.shuffle_vector(value, value, turned))
        width //= 2
    return v.builder.extract_element(value, ir.Constant(INT32, 0))


def row(
    inputs: int,
    outputs: int,
    scalars: int,
    body: Body,
    reductions: tuple[str, ...] = (),
    unroll: int = 4,
    streams: bool = False,
) -> Callable[..., Any]:
    """A micro-kernel ``f((input addresses..., output addresses..., count), (scalars...), like)`` for ``@kernel`` code.

    ``body(v, inputs, scalars)`` gets vectors (scalars spread over the lanes) and gives a vector for each output and one
    for each of ``reductions``, "sum" or "max". ``f`` returns None, the one reduction, or a tuple of them, in the dtype
    of ``like``; of no elements they are 0 and -inf. An output may be an input. Without scalars pass ``()``. Sums run
    in ``unroll`` vectors of lanes: for more than some thousand elements add the sums of pieces in float64.
    With ``streams`` the whole lines of the one output are stored past the caches; there are no reductions then.
    """
    assert not streams or (outputs == 1 and not reductions), "what is summed first would depend on where a row lies"

    @intrinsic
    def micro_kernel(context, places, numbers, like):
        result = types.UniTuple(like, len(reductions)) if len(reductions) > 1 else like if reductions else types.none
        signature = result(
            types.UniTuple(types.int64, inputs + outputs + 1),
            types.UniTuple(like, scalars) if scalars else numbers,
            like,
        )

        def generate(context, builder, signature, arguments):
            v = Lanes(builder, like)
            place = [builder.extract_value(arguments[0], i) for i in range(inputs + outputs + 1)]
            sources, targets, count = place[:inputs], place[inputs:-1], place[-1]
            spread = [v.splat(builder.extract_value(arguments[1], i)) for i in range(scalars)]
            totals = [
                [cgutils.alloca_once_value(builder, v.constant(IDENTITY[kind])) for kind in reductions]
                for _ in range(unroll)
            ]

            def number(value):
                return ir.Constant(INT64, value)

            def step(offset, lane, mask, past=False):
                values = [
                    v.load(source, offset) if mask is None else v.load_masked(source, offset, mask)
                    for source in sources
                ]
                made, reduced = body(v, values, spread)
                for target, value in zip(targets, made):
                    if past:
                        v.stream(value, target, offset)
                    elif mask is None:
                        v.store(value, target, offset)
                    else:
                        v.store_masked(value, target, offset, mask)
                for kind, total, value in zip(reductions, totals[lane], reduced):
                    if mask is not None:
                        value = builder.select(mask, value, v.constant(IDENTITY[kind]))
                    builder.store(combine(v, kind, builder.load(total), value), total)

            def few(done, end):
                """The elements from ``done`` to ``end`` one vector after the other, the last of them in part."""
                left = builder.sub(end, done)
                single = builder.sdiv(left, number(v.count))
                with cgutils.for_range(builder, single, intp=INT64) as loop:
                    first = builder.add(done, builder.mul(loop.index, number(v.count)))
                    step(builder.mul(first, number(v.itemsize)), 0, None)
                tail = builder.srem(left, number(v.count))
                with builder.if_then(builder.icmp_signed(">", tail, number(0))):
                    first = builder.sub(end, tail)
                    step(builder.mul(first, number(v.itemsize)), 0, v.first(tail))

            begin = number(0)
            if streams:  # a line that is stored in part, past the caches, costs more than it saves
                ahead = builder.and_(builder.neg(targets[0]), number(LINE - 1))
                ahead = builder.sdiv(ahead, number(v.itemsize))
                begin = builder.select(builder.icmp_signed("<", ahead, count), ahead, count)
                few(number(0), begin)
            many = builder.sdiv(builder.sub(count, begin), number(v.count * unroll))
            with cgutils.for_range(builder, many, intp=INT64) as loop:
                first = builder.add(begin, builder.mul(loop.index, number(v.count * unroll)))
                start = builder.mul(first, number(v.itemsize))
                for i in range(unroll):
                    step(builder.add(start, number(v.bytes * i)), i, None, streams)
            few(builder.add(begin, builder.mul(many, number(v.count * unroll))), count)
            results = []
            for i, kind in enumerate(reductions):
                total = builder.load(totals[0][i])
                for part in totals[1:]:
                    total = combine(v, kind, total, builder.load(part[i]))
                results.append(fold(v, kind, total))
            if not results:
                return context.get_dummy_value()
            return results[0] if len(results) == 1 else context.make_tuple(builder, signature.return_type, results)

        return signature, generate

    return micro_kernel
