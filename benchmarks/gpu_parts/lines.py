"""What the parts ``kernels: ...`` measure: the cases of ``bench ops`` and larger ones, and which target each names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from benchmarks.cases import attention, convolution, optimiser, pooling, products, recurrent, rows
from benchmarks.cases.case import OpCase, StepCase
from benchmarks.gpu_parts import targets

PRECISIONS = {"highest": "float32", "high": "TF32", "medium": "bfloat16"}  # tn.precision: what PyTorch is told


@dataclass(frozen=True)
class Line:
    """A case under a precision; ``targets`` by the name of the pass.

    With "medium" PyTorch runs under autocast on float32 arrays or, with ``theirs_short``, on arrays of bfloat16, which
    ours has not: then only ours rounds.
    """

    case: OpCase | StepCase
    targets: dict[str, str] = field(default_factory=dict)
    precision: str = "highest"
    theirs_short: bool = False

    @property
    def name(self) -> str:
        return f"{self.case.name}, {PRECISIONS[self.precision]}{' (PyTorch: arrays)' if self.theirs_short else ''}"


def each(cases: Iterable[OpCase | StepCase], target: str | None = None, precision: str = "highest") -> list[Line]:
    """All passes of the cases have the one target."""
    return [
        Line(case, {} if target is None else {one.name: target for one in case.passes}, precision) for case in cases
    ]


def of_products() -> list[Line]:
    cases = [*products.cases(), products.product("matmul 4096³", (4096, 4096), (4096, 4096), 0.7)]
    large = [case for case in cases if case.name in ("matmul 2048³", "matmul 4096³")]
    return each(cases, targets.PRODUCT) + each(large, precision="high") + each(large, precision="medium")


def convolutions() -> list[OpCase]:
    """Those of bench ops, and two of ResNet-50 at a batch that fills a GPU."""
    return [
        *convolution.cases(),
        convolution.convolution(
            "conv 128×128×28² 3×3", (128, 128, 28, 28), (128, 128, 3, 3), padding=1, forward={}
        ),
        convolution.convolution("conv 128×256×56² 1×1", (128, 256, 56, 56), (64, 256, 1, 1), forward={}),
    ]  # fmt: skip


def of_convolutions() -> list[Line]:
    return each(convolutions(), targets.CONVOLUTION)


def of_convolutions_in_tf32() -> list[Line]:
    """Without those that have too few products for tensor cores."""
    named = {"forward": targets.CONVOLUTION_TF32, "weight grad": targets.WEIGHT_GRAD_TF32}
    chosen = [case for case in convolutions() if not any(w in case.name for w in ("LeNet", "depthwise", "transposed"))]
    return [Line(case, named, "high") for case in chosen]


def of_attention() -> list[Line]:
    return each(attention.cases(), targets.ATTENTION)


def of_attention_in_bfloat16() -> list[Line]:
    named = {"forward": targets.ATTENTION_FORWARD, "backward": targets.ATTENTION_BACKWARD}
    shapes = ((8, 8, 512, 64), (4, 16, 2048, 64), (4, 16, 2048, 128))
    cases = [attention.attention(shape, causal) for shape in shapes for causal in (False, True)]
    return [Line(case, named, "medium", short) for case in cases for short in (False, True)]


def of_recurrent() -> list[Line]:
    lstm, gru, *others = recurrent.cases()
    return each((lstm, gru), targets.RECURRENT) + each(others)


def of_rows() -> list[Line]:
    return each([*rows.softmax_and_loss(), *rows.norms()], targets.MOVING)


def of_optimisers() -> list[Line]:
    adam, *others = optimiser.cases()
    return each((adam,), targets.MOVING) + each(others)


def of_the_rest() -> list[Line]:
    return each([*rows.elementwise(), *rows.expressions(), *pooling.cases()])


# In the order of their worth, should the time run out.
LINES: dict[str, Callable[[], list[Line]]] = {
    "convolution, float32": of_convolutions,
    "attention, bfloat16": of_attention_in_bfloat16,
    "convolution, TF32": of_convolutions_in_tf32,
    "product": of_products,
    "attention, float32": of_attention,
    "recurrent": of_recurrent,
    "rows": of_rows,
    "optimiser": of_optimisers,
    "the rest": of_the_rest,
}
