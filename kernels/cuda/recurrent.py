"""Recurrent scans: what does not depend on the state is one product over all steps, before or after the scan.

The scan itself runs in one of three ways. A block can do all steps of a few sequences (``recurrent_block.cu``): no
launch between steps, but every block reads all weights at every step, so it is for small states. From sm_90 on a
cluster of blocks can (``recurrent_cluster.cu``), whose blocks share out the weights. Otherwise every step is a matrix
product and one kernel for all that is pointwise (``recurrent.cu``); a graph makes their launches cheap.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, WITHOUT_ASKING, Kernels, aligned, blocks, contiguous, numbers

Array = np.ndarray
KINDS = dict.fromkeys((f"{cell}_scan{step}" for cell in ("rnn", "lstm", "gru") for step in ("", "_grad")), "kernel")

GATES = {"TANH": 1, "RELU": 1, "LSTM": 4, "GRU": 3, "GRU_BEFORE": 3}  # of the kinds of cells, as C++ names them
REVERSE, PADDED, BIASED = 1, 2, 4  # recurrent_cells.cuh
STEP_THREADS = 256
MOST_BLOCKS_ALONG_Y = 65535
BLOCKS_OF_SUMS, ROWS_OF_A_PART = 264, 256  # of sums of columns: blocks that keep a GPU busy; rows that repay a block
# The largest H, of float32, for which blocks do all steps. To be measured: beyond it a block's reading of the weights
# from the L2 cache, in every step, is taken to cost more than the launches that are saved.
LARGEST_HIDDEN = {"TANH": 256, "RELU": 256, "LSTM": 128, "GRU": 128, "GRU_BEFORE": 128}
ROWS, PACK, MOST_THREADS = 4, 4, 512  # recurrent_block.cuh: sequences of a block, columns of a thread, threads
# The same of clusters, before blocks are asked. 0: none, until one was measured; none ran on a GPU yet.
LARGEST_IN_CLUSTER = dict.fromkeys(GATES, 0)
CLUSTER = 8  # recurrent_cluster.cu: blocks of a cluster, which divide H
SHARED_OF_SM_90 = 227 * 1024  # bytes for a block; sm_80 and sm_120 have less, and what has them has clusters
LARGEST_BATCH = 1024  # beyond, the products of steps are worth more than what their launches cost
DEPTH_OF_A_SLICE = 8  # units that a thread adds up before it repays to share a column between threads

STEPS = Kernels(
    "recurrent.cu",
    [
        f"{name}<{type_name}{kind}>"
        for type_name in TYPES.values()
        for name, kind in [
            *((f"rnn_step{step}", f", {kind}") for step in ("", "_grad") for kind in ("TANH", "RELU")),
            *((name, "") for name in ("lstm_step", "lstm_step_grad", "gru_step", "gru_reset", "gru_candidate")),
            *(("gru_step_grad", f", {kind}") for kind in ("GRU", "GRU_BEFORE")),
            *((name, "") for name in ("gru_reset_grad", "last_product", "previous_states", "valid_rows")),
        ]
    ]
    + [f"column_sums<{of_rows}, {of_sums}>" for of_rows, of_sums in itertools.product(TYPES.values(), repeat=2)],
)
BLOCKS = Kernels(
    "recurrent_block.cu",
    [
        f"{name}<{kind}, {resident}>"
        for name in ("scan_block", "scan_grad_block")
        for kind in GATES
        for resident in ("false", "true")
    ],
)
CLUSTERS = Kernels(
    "recurrent_cluster.cu", [f"{name}<{kind}>" for name in ("scan_cluster", "scan_grad_cluster") for kind in GATES]
)
_shared_of_device: dict[int, int] = {}


class _Scan:
    """A kind of cell on operands of one shape: which steps there are, how kernels are launched.

    ``cluster`` is how many blocks share out the units.
    """

    def __init__(
        self, kind: str, x: Array, h0: Array, lengths: Array | None, reverse: bool, bias_n: Array | None = None
    ):
        self.kind, self.like, self.type, self.gates = kind, x, TYPES[x.dtype], GATES[kind]
        self.steps, self.batch, self.hidden = x.shape[0], *h0.shape
        self.order = range(self.steps - 1, -1, -1) if reverse else range(self.steps)
        self.flags = REVERSE * reverse + PADDED * (lengths is not None) + BIASED * (bias_n is not None)
        self.lengths = np.empty(1, np.int64, like=x) if lengths is None else contiguous(lengths.astype(np.int64))
        self.of_units = self.sizes(self.hidden)
        small = self.type == "float" and self.batch <= LARGEST_BATCH
        in_cluster = small and self.hidden <= LARGEST_IN_CLUSTER[kind] and self.hidden % CLUSTER == 0
        self.cluster = CLUSTER if in_cluster and _most_shared(x) >= SHARED_OF_SM_90 else 1
        self.in_blocks = self.cluster > 1 or (small and self.hidden <= LARGEST_HIDDEN[kind])

    def sizes(self, width: int) -> Any:
        return numbers((self.steps, self.batch, width, self.flags), 4, np.int32)

    def new(self, width: int) -> Array:
        """(T, N, width): zeros where lengths were given, because kernels write valid steps only."""
        make = np.zeros if self.flags & PADDED else np.empty
        return make((self.steps, self.batch, width), self.like.dtype, like=self.like)

    def step(self, kernel: str, *arguments: Any, **times: int) -> None:
        """A kernel of one step, with a thread for each unit; its ``times`` are t, and the step that came before."""
        name = kernel.format(self.type, self.kind)
        steps = [np.int32(t) for t in times.values()]
        grid = blocks(self.batch * self.hidden, STEP_THREADS)
        STEPS.launch(name, grid, (STEP_THREADS,), (*arguments, self.lengths, *steps, self.of_units))

    def rows(self, kernel: str, *arguments: Array, width: int) -> Array:
        """A kernel that makes an array (T, N, width) of others."""
        made = np.empty((self.steps, self.batch, width), self.like.dtype, like=self.like)
        grid = (*blocks(self.batch * width, STEP_THREADS), min(self.steps, MOST_BLOCKS_ALONG_Y))
        arguments = (*arguments, made, self.lengths, self.sizes(width))
        STEPS.launch(f"{kernel}<{self.type}>", grid, (STEP_THREADS,), arguments)
        return made

    def launch(self, kernel: str, weights: Array, columns: int, depth: int, floats: int, arguments: Any) -> None:
        """All steps in one launch. ``columns`` of a product, its ``depth``, and the ``floats`` of shared memory."""
        wanted = max(_padded(columns) // PACK * (depth // DEPTH_OF_A_SLICE), ROWS * self.hidden // self.cluster)
        threads = min(MOST_THREADS, -(-wanted // 32) * 32)
        shared = weights.itemsize * (floats + ROWS * PACK * threads)
        with_weights = shared + weights.nbytes // self.cluster
        arguments = (*arguments, self.lengths, self.of_units)
        (groups,) = blocks(self.batch, ROWS)
        if self.cluster > 1:
            name = f"{kernel}_cluster<{self.kind}>"
            CLUSTERS.launch(name, (groups * self.cluster,), (threads,), arguments, with_weights)
            return
        resident = with_weights <= _most_shared(weights)
        name = f"{kernel}_block<{self.kind}, {'true' if resident else 'false'}>"
        BLOCKS.launch(name, (groups,), (threads,), arguments, with_weights if resident else shared)

    def forward(self, projected: Array, weight_hh: Array, bias_n: Array, h0: Array, *results: Array) -> None:
        """All steps in blocks; ``results`` are h, c, outputs, gates and cells, any array where there is none."""
        hidden, own = self.hidden, self.hidden // self.cluster
        together = 2 if self.kind == "GRU_BEFORE" else self.gates  # gates of a step's first product
        of_gates = weight_hh.reshape(self.gates, self.cluster, own, hidden)
        parts = [slice(together), slice(together, None)][: 1 + (together < self.gates)]
        matrices = [of_gates[part, rank].reshape(-1, hidden).T for rank in range(self.cluster) for part in parts]
        states = 1 + (self.cluster > 1) + (self.kind == "GRU_BEFORE")
        floats = ROWS * (states * hidden + (self.gates + (self.kind == "LSTM")) * own)
        weights = _packed(matrices)
        self.launch(
            "scan", weights, together * own, hidden, floats, (projected, weights, bias_n, contiguous(h0), *results)
        )

    def backward(self, g_outputs: Array, weight_hh: Array, *others: Array) -> None:
        """All steps in blocks; ``others`` as scan_grad_block names them."""
        own, depth = self.hidden // self.cluster, self.gates * self.hidden
        weights = _packed([weight_hh[:, first : first + own] for first in range(0, self.hidden, own)])
        fields = {"TANH": 3, "RELU": 3, "LSTM": 9}.get(self.kind, 7)  # what is staged of a unit, and what is kept of it
        floats = ROWS * ((1 + (self.cluster > 1)) * depth + fields * own)
        self.launch("scan_grad", weights, own, depth, floats, (g_outputs, weights, *others))

    def previous(self, outputs: Array, h0: Array) -> Array:
        """The state that each valid step started from, (T, N, H)."""
        return self.rows("previous_states", outputs, h0, width=self.hidden)

    def input_grads(self, g_projected: Array, x: Array, weight_ih: Array) -> tuple[Array, Array]:
        """Gradients of x and weight_ih, from that of the input's projection (T, N, G*H)."""
        if self.flags & PADDED:  # padding may hold anything, NaN too
            x = self.rows("valid_rows", contiguous(x), width=x.shape[-1])
        dx = _product(_rows(g_projected), weight_ih)
        return dx.reshape(x.shape), _weight_grad(g_projected, x)

    def bias_grad(self, g: Array) -> Array:
        """The sum of ``g`` (T, N, F) over all steps and sequences, by parts where its columns alone fill no GPU."""
        rows, columns = self.steps * self.batch, g.shape[-1]
        parts = max(1, min(BLOCKS_OF_SUMS // blocks(columns, 32)[0], rows // ROWS_OF_A_PART))
        if parts == 1:
            return _column_sums(g, rows, rows, columns, g.dtype)[0]
        sums = _column_sums(g, rows, -(-rows // parts), columns, np.dtype(np.float64))
        return _column_sums(sums, len(sums), len(sums), columns, g.dtype)[0]


def rnn_scan(
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    nonlinearity: str,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array]:
    """Simple (Elman) RNN; its outputs and last state."""
    if not _fits(x, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return reference.rnn_scan(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, nonlinearity, lengths, reverse)
    scan = _Scan(nonlinearity.upper(), x, h0, lengths, reverse)
    projected = _project(x, weight_ih, _add(bias_ih, bias_hh))
    h, outputs = h0.copy(), scan.new(scan.hidden)
    if scan.in_blocks:
        scan.forward(projected, weight_hh, h, h0, h, h, outputs, outputs, outputs)
        return outputs, h
    for t in scan.order:
        scan.step("rnn_step<{}, {}>", projected, _product(h, weight_hh.T), h, outputs, t=t)
    return outputs, h


def rnn_scan_grad(
    g_outputs: Array,
    g_h_n: Array,
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    outputs: Array,
    nonlinearity: str,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Gradients of :func:`rnn_scan`: dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    if not _fits(g_outputs, g_h_n, x, h0, weight_ih, weight_hh, outputs):
        operands = g_outputs, g_h_n, x, h0, weight_ih, weight_hh, outputs
        return reference.rnn_scan_grad(*operands, nonlinearity, lengths, reverse)
    scan = _Scan(nonlinearity.upper(), x, h0, lengths, reverse)
    g_outputs, outputs, h0 = contiguous(g_outputs), contiguous(outputs), contiguous(h0)
    g_h, g_projected = g_h_n.copy(), scan.new(scan.hidden)
    if scan.in_blocks:
        scan.backward(g_outputs, weight_hh, outputs, outputs, h0, g_h, g_h, g_projected, g_projected)
    else:
        product, before = g_h, -1
        for t in reversed(scan.order):
            states = g_outputs, outputs, product, g_h, g_projected
            scan.step("rnn_step_grad<{}, {}>", *states, t=t, before=before)
            product, before = _product(g_projected[t], weight_hh), t
        scan.step("last_product<{}>", product, g_h, before=before)
    dx, dweight_ih = scan.input_grads(g_projected, x, weight_ih)
    dweight_hh = _weight_grad(g_projected, scan.previous(outputs, h0))
    dbias = scan.bias_grad(g_projected)
    return dx, g_h, dweight_ih, dweight_hh, dbias, dbias.copy()


def lstm_scan(
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array]:
    """LSTM: outputs, h_n, c_n, the gates i, f, g, o after their activations, and the cells."""
    if not _fits(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return reference.lstm_scan(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    scan = _Scan("LSTM", x, h0, lengths, reverse)
    projected = _project(x, weight_ih, _add(bias_ih, bias_hh))
    h, c = h0.copy(), c0.copy()
    outputs, gates, cells = scan.new(scan.hidden), scan.new(4 * scan.hidden), scan.new(scan.hidden)
    if scan.in_blocks:
        scan.forward(projected, weight_hh, h, h0, h, c, outputs, gates, cells)
        return outputs, h, c, gates, cells
    for t in scan.order:
        scan.step("lstm_step<{}>", projected, _product(h, weight_hh.T), h, c, outputs, gates, cells, t=t)
    return outputs, h, c, gates, cells


def lstm_scan_grad(
    g_outputs: Array,
    g_h_n: Array,
    g_c_n: Array,
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    outputs: Array,
    gates: Array,
    cells: Array,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Gradients of :func:`lstm_scan`: dx, dh0, dc0, dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    if not _fits(g_outputs, g_h_n, g_c_n, x, h0, c0, weight_ih, weight_hh, outputs, gates, cells):
        upper, operands = (g_outputs, g_h_n, g_c_n), (x, h0, c0, weight_ih, weight_hh)
        return reference.lstm_scan_grad(*upper, *operands, outputs, gates, cells, lengths, reverse)
    scan = _Scan("LSTM", x, h0, lengths, reverse)
    g_outputs, outputs, gates, cells = (contiguous(kept) for kept in (g_outputs, outputs, gates, cells))
    h0, c0 = contiguous(h0), contiguous(c0)
    g_h, g_c, g_projected = g_h_n.copy(), g_c_n.copy(), scan.new(4 * scan.hidden)
    if scan.in_blocks:
        scan.backward(g_outputs, weight_hh, gates, cells, c0, g_h, g_c, g_projected, g_projected)
    else:
        product, before = g_h, -1
        for t in reversed(scan.order):
            states = g_outputs, gates, cells, c0, product, g_h, g_c, g_projected
            scan.step("lstm_step_grad<{}>", *states, t=t, before=before)
            product, before = _product(g_projected[t], weight_hh), t
        scan.step("last_product<{}>", product, g_h, before=before)
    dx, dweight_ih = scan.input_grads(g_projected, x, weight_ih)
    dweight_hh = _weight_grad(g_projected, scan.previous(outputs, h0))
    dbias = scan.bias_grad(g_projected)
    return dx, g_h, g_c, dweight_ih, dweight_hh, dbias, dbias.copy()


def gru_scan(
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    reset_after: bool,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array]:
    """GRU: outputs, h_n, and the gates r, z, n with what r stands at, or r h."""
    if not _fits(x, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return reference.gru_scan(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, reset_after, lengths, reverse)
    split, bias_n = 2 * h0.shape[1], None
    if reset_after and bias_hh is not None:  # r stands at b_hn: it is no part of the projection
        bias_hh, bias_n = bias_hh.copy(), bias_hh[split:].copy()
        bias_hh[split:] = 0
    scan = _Scan("GRU" if reset_after else "GRU_BEFORE", x, h0, lengths, reverse, bias_n)
    h, outputs, gates = h0.copy(), scan.new(scan.hidden), scan.new(4 * scan.hidden)
    bias_n = h if bias_n is None else bias_n  # h: not read
    projected = _project(x, weight_ih, _add(bias_ih, bias_hh))
    if scan.in_blocks:
        scan.forward(projected, weight_hh, bias_n, h0, h, h, outputs, gates, outputs)
        return outputs, h, gates
    if reset_after:
        for t in scan.order:
            scan.step("gru_step<{}>", projected, _product(h, weight_hh.T), bias_n, h, outputs, gates, t=t)
        return outputs, h, gates
    kept = np.zeros(h.shape, h.dtype, like=h)
    for t in scan.order:
        scan.step("gru_reset<{}>", projected, _product(h, weight_hh[:split].T), h, kept, gates, t=t)
        scan.step("gru_candidate<{}>", projected, _product(kept, weight_hh[split:].T), h, outputs, gates, t=t)
    return outputs, h, gates


def gru_scan_grad(
    g_outputs: Array,
    g_h_n: Array,
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    outputs: Array,
    gates: Array,
    reset_after: bool,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Gradients of :func:`gru_scan`: dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    if not _fits(g_outputs, g_h_n, x, h0, weight_ih, weight_hh, outputs, gates):
        operands = g_outputs, g_h_n, x, h0, weight_ih, weight_hh, outputs, gates, reset_after, lengths, reverse
        return reference.gru_scan_grad(*operands)
    scan = _Scan("GRU" if reset_after else "GRU_BEFORE", x, h0, lengths, reverse)
    split = 2 * scan.hidden
    g_outputs, outputs, gates, h0 = (contiguous(kept) for kept in (g_outputs, outputs, gates, h0))
    g_h, g_projected = g_h_n.copy(), scan.new(3 * scan.hidden)
    g_hidden = scan.new(3 * scan.hidden) if reset_after else g_projected  # of W_hh h + b_hh: differs in n
    if scan.in_blocks:
        scan.backward(g_outputs, weight_hh, gates, outputs, h0, g_h, g_h, g_projected, g_hidden)
    else:
        product, before = g_h, -1
        for t in reversed(scan.order):
            states = g_outputs, gates, outputs, h0, product, g_h, g_projected, g_hidden
            scan.step("gru_step_grad<{}, {}>", *states, t=t, before=before)
            if reset_after:
                product = _product(g_hidden[t], weight_hh)
            else:
                product = _product(g_projected[t, :, split:], weight_hh[split:])
                scan.step("gru_reset_grad<{}>", gates, outputs, h0, product, g_h, g_projected, t=t)
                product = _product(g_projected[t, :, :split], weight_hh[:split])
            before = t
        scan.step("last_product<{}>", product, g_h, before=before)
    dx, dweight_ih = scan.input_grads(g_projected, x, weight_ih)
    previous, dbias_ih = scan.previous(outputs, h0), scan.bias_grad(g_projected)
    if reset_after:
        return dx, g_h, dweight_ih, _weight_grad(g_hidden, previous), dbias_ih, scan.bias_grad(g_hidden)
    of_gates = g_projected[..., :split], g_projected[..., split:]
    into = previous, gates[..., 3 * scan.hidden :]  # what the two parts of W_hh are multiplied with
    dweight_hh = np.concatenate([_weight_grad(g, states) for g, states in zip(of_gates, into)])
    return dx, g_h, dweight_ih, dweight_hh, dbias_ih, dbias_ih.copy()


def _fits(*arrays: Array | None) -> bool:
    """Whether the kernels take these arrays: of one dtype, float32 or float64, and none of them empty."""
    dtypes = {array.dtype for array in arrays if array is not None}
    return len(dtypes) == 1 and dtypes <= TYPES.keys() and all(array is None or array.size for array in arrays)


def _rows(x: Array) -> Array:
    """(T, N, F) to (T * N, F)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _product(a: Array, b: Array) -> Array:
    return contiguous(kernels.matmul(a, b))


def _project(x: Array, weight_ih: Array, bias: Array | None) -> Array:
    """The input's part of every pre-activation, (T * N, G*H)."""
    return contiguous(kernels.linear(_rows(x), weight_ih, bias))


def _weight_grad(g: Array, inputs: Array) -> Array:
    """Gradient of a weight (F, I), from those of its results (T, N, F) and its inputs (T, N, I)."""
    return _product(_rows(g).T, _rows(inputs))


def _column_sums(x: Array, rows: int, part: int, columns: int, dtype: np.dtype) -> Array:
    """Sums of the columns of x (rows, columns), ``part`` rows at a time: (parts, columns) of ``dtype``."""
    sums = np.empty((-(-rows // part), columns), dtype, like=x)
    grid = (*blocks(columns, 32), len(sums))
    arguments = (x, sums, np.int64(rows), np.int64(part), np.int32(columns))
    STEPS.launch(f"column_sums<{TYPES[x.dtype]}, {TYPES[dtype]}>", grid, (32, 32), arguments)
    return sums


def _add(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a + b


def _padded(columns: int) -> int:
    """The columns of a matrix of weights whose rows are whole packs."""
    return -(-columns // PACK) * PACK


def _packed(matrices: list[Array]) -> Array:
    """Matrices with rows of whole packs, one behind the other."""
    first = matrices[0]
    rows_are_packs = first.shape[1] % PACK == 0 and first.flags.c_contiguous and aligned(PACK * first.itemsize, first)
    if len(matrices) == 1 and rows_are_packs:
        return first
    sizes = [matrix.shape[0] * _padded(matrix.shape[1]) for matrix in matrices]
    packed = np.zeros(sum(sizes), first.dtype, like=first)
    begin = 0
    for matrix, size in zip(matrices, sizes):
        packed[begin : begin + size].reshape(matrix.shape[0], -1)[:, : matrix.shape[1]] = matrix
        begin += size
    return packed


def _most_shared(array: Array) -> int:
    """Bytes of shared memory that a block may have on the array's device."""
    device: Any = array.device
    if isinstance(device, str):  # the stand-in
        return SHARED_OF_SM_90
    if device.id not in _shared_of_device:
        _shared_of_device[device.id] = device.attributes.get("MaxSharedMemoryPerBlockOptin", WITHOUT_ASKING)
    return _shared_of_device[device.id]
