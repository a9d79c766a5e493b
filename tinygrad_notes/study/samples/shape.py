"""Samples of ops that move elements: shapes, axes, joining, splitting, padding."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.shape import broadcast_to, concat, stack
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _moved() -> list[Sample]:
    x, empty, row = normal(1, 2, 3, 4), normal(2, 0, 3, 2), normal(3, 6)
    strided = normal(4, 4, 6, 4)[::2, ::-2, 3::-1].swapaxes(0, 2)  # (4, 3, 2)
    samples = []
    uses: dict[str, list] = {
        "reshape": [({"shape": (4, 6)}, lambda a: a.reshape(4, 6)),
                    ({"shape": (2, -1, 2)}, lambda a: a.reshape(2, -1, 2)),
                    ({"shape": -1}, lambda a: a.reshape(-1)), ({"shape": 24}, lambda a: a.reshape(24))],
        "flatten": [({}, np.ravel), ({"start_axis": 1}, lambda a: a.reshape(a.shape[0], 12)),
                    ({"start_axis": -3, "end_axis": 1}, lambda a: a.reshape(6, 4)),
                    ({"start_axis": 1, "end_axis": 1}, np.copy)],
        "permute_dims": [({"axes": (2, 0, 1)}, lambda a: a.transpose(2, 0, 1)),
                         ({"axes": (-1, 1, 0)}, lambda a: a.transpose(2, 1, 0))],
        "transpose": [({}, np.transpose), ({"axes": (1, 2, 0)}, lambda a: np.transpose(a, (1, 2, 0)))],
        "swapaxes": [({"axis1": 0, "axis2": 2}, lambda a: a.swapaxes(0, 2)),
                     ({"axis1": -1, "axis2": 1}, lambda a: a.swapaxes(2, 1))],
        "matrix_transpose": [({}, lambda a: a.swapaxes(1, 2))],
        "moveaxis": [({"source": 0, "destination": 2}, lambda a: np.moveaxis(a, 0, 2)),
                     ({"source": -1, "destination": 0}, lambda a: np.moveaxis(a, -1, 0))],
        "expand_dims": [({"axis": 0}, lambda a: a[None]), ({"axis": -1}, lambda a: a[..., None]),
                        ({"axis": (1, 3)}, lambda a: a[:, None, :, None])],
        "broadcast_to": [({"shape": (5, 2, 3, 4)}, lambda a: np.broadcast_to(a, (5, 2, 3, 4))),
                         ({"shape": (2, 3, 4)}, np.copy),
                         ({"shape": (0, 2, 3, 4)}, lambda a: np.zeros((0, 2, 3, 4)))],
        "flip": [({}, np.flip), ({"axis": 1}, lambda a: a[:, ::-1]),
                 ({"axis": (0, -1)}, lambda a: a[::-1, :, ::-1])],
        "roll": [({"shift": 5}, lambda a: np.roll(a, 5)), ({"shift": -1, "axis": 2}, lambda a: np.roll(a, -1, 2)),
                 ({"shift": (1, 2), "axis": (0, -1)}, lambda a: np.roll(a, (1, 2), (0, 2)))],
    }  # fmt: skip
    for name, rows in uses.items():
        for options, reference in rows:
            label = ", ".join(f"{key} {value}" for key, value in options.items())
            samples.append(sample(name, x, label=label, **options, reference=reference))
    samples += [
        sample("reshape", normal(5, 1), label="to no axes", shape=(), reference=lambda a: a[0]),
        sample("reshape", normal(5, 1)[0], label="from no axes", shape=(1, 1), reference=lambda a: a.reshape(1, 1)),
        sample("reshape", empty, label="empty", shape=(3, 0), reference=lambda a: a.reshape(3, 0)),
        sample("reshape", strided, label="strided", shape=(6, 4), reference=lambda a: a.reshape(6, 4)),
        sample("reshape", row, label="method", call=lambda a: a.reshape(2, 3), reference=lambda a: a.reshape(2, 3)),
        sample("flatten", normal(6, 1)[0], label="no axes", reference=lambda a: a.reshape(1)),
        sample("flatten", strided, label="strided", end_axis=1, reference=lambda a: a.reshape(12, 2)),
        sample("permute_dims", strided, label="strided", axes=(1, 0, 2), reference=lambda a: a.transpose(1, 0, 2)),
        sample("permute_dims", empty, label="empty", axes=(2, 1, 0), reference=lambda a: a.transpose(2, 1, 0)),
        sample("permute_dims", x, label="method", call=lambda a: a.permute_dims(1, 0, 2),
               reference=lambda a: a.transpose(1, 0, 2)),
        sample("permute_dims", normal(6, 1)[0], label="no axes", axes=(), reference=np.copy),
        sample("transpose", x, label="T", call=lambda a: a.T, reference=lambda a: a.T),
        sample("matrix_transpose", x, label="mT", call=lambda a: a.mT, reference=lambda a: a.swapaxes(1, 2)),
        sample("squeeze", normal(7, 1, 3, 1), reference=lambda a: a[0, :, 0]),
        sample("squeeze", normal(7, 1, 3, 1), label="one axis", axis=0, reference=lambda a: a[0]),
        sample("squeeze", normal(7, 1, 3, 1), label="several axes", axis=(-1, 0), reference=lambda a: a[0, :, 0]),
        sample("squeeze", normal(7, 1, 1), label="one element", reference=lambda a: a[0, 0]),
        sample("squeeze", normal(7, 1, 0), label="empty", axis=0, reference=lambda a: a[0]),
        sample("squeeze", x, label="nothing to do", reference=np.copy),
        sample("expand_dims", normal(8, 1)[0], label="no axes", axis=0, reference=lambda a: a.reshape(1)),
        sample("broadcast_to", normal(9, 3, 1), label="columns", shape=(2, 3, 4),
               reference=lambda a: np.broadcast_to(a, (2, 3, 4))),
        sample("broadcast_to", normal(9, 1)[0], label="no axes", shape=3, reference=lambda a: np.full(3, a)),
        sample("broadcast_to", normal(9, 3, 1), label="large", call=lambda a: broadcast_to(a, (3, 2000)).sum(axis=1),
               reference=lambda a: 2000 * a[:, 0]),
        sample("flip", strided, label="strided", axis=0, reference=lambda a: a[::-1]),
        sample("flip", empty, label="empty", reference=np.copy),
        sample("roll", row, label="more than its size", shift=-20, axis=0, reference=lambda a: np.roll(a, -20)),
        sample("roll", strided, label="strided", shift=2, axis=1, reference=lambda a: np.roll(a, 2, 1)),
        sample("roll", empty, label="empty", shift=3, reference=np.copy),
    ]  # fmt: skip
    return samples


def _joined() -> list[Sample]:
    x, y, z, empty = normal(11, 2, 3), normal(12, 1, 3), normal(13, 2, 3), normal(14, 0, 3)
    return [
        sample("concat", x, y, call=lambda *a: concat(a), reference=lambda *a: np.concatenate(a)),
        sample("concat", x, z, normal(15, 2, 1), label="columns", call=lambda *a: concat(a, axis=-1),
               reference=lambda *a: np.concatenate(a, axis=1)),
        sample("concat", x, y, label="flattened", call=lambda *a: concat(list(a), axis=None),
               reference=lambda *a: np.concatenate(a, axis=None)),
        sample("concat", x, empty, y, label="one empty", call=lambda *a: concat(a),
               reference=lambda *a: np.concatenate(a)),
        sample("concat", x, label="one", call=lambda a: concat([a]), reference=np.copy),
        sample("concat", x, label="with itself", call=lambda a: concat([a, a * 2.0, a]),
               reference=lambda a: np.concatenate([a, 2 * a, a])),
        sample("concat", x.T[::-1], z.T, label="strided", call=lambda *a: concat(a, 1),
               reference=lambda *a: np.concatenate(a, 1)),
        sample("stack", x, z, call=lambda *a: stack(a), reference=lambda *a: np.stack(a)),
        sample("stack", x, z, label="last", call=lambda *a: stack(a, axis=-1), reference=lambda *a: np.stack(a, -1)),
        sample("stack", x, z, label="middle", call=lambda *a: stack(list(a), axis=1),
               reference=lambda *a: np.stack(a, 1)),
        sample("stack", x[0, 0], z[0, 0], label="no axes", call=lambda *a: stack(a), reference=lambda *a: np.stack(a)),
        sample("stack", empty, empty, label="empty", call=lambda *a: stack(a), reference=lambda *a: np.stack(a)),
        sample("stack", x.T[::-1], z.T, label="strided", call=lambda *a: stack(a, 2),
               reference=lambda *a: np.stack(a, 2)),
    ]  # fmt: skip


def _parted() -> list[Sample]:
    x = normal(21, 6, 4)
    return [
        sample("split", x, indices_or_sections=3, reference=lambda a: np.split(a, 3)),
        sample("split", x, label="columns", indices_or_sections=2, axis=-1,
               reference=lambda a: np.split(a, 2, axis=1)),
        sample("split", x, label="cuts", indices_or_sections=(1, 4), reference=lambda a: np.split(a, (1, 4))),
        sample("split", x, label="cuts with an empty part", indices_or_sections=[2, 2], axis=1,
               reference=lambda a: np.split(a, [2, 2], axis=1)),
        sample("split", normal(22, 0, 2), label="empty", indices_or_sections=2, reference=lambda a: np.split(a, 2)),
        sample("split", x[::-2, ::-1], label="strided", indices_or_sections=3, reference=lambda a: np.split(a, 3)),
        sample("unstack", normal(23, 3, 2), reference=list),
        sample("unstack", normal(23, 3, 2), label="columns", axis=-1, reference=lambda a: [a[:, 0], a[:, 1]]),
        sample("unstack", normal(23, 3, 2)[::-2].T, label="strided", axis=0, reference=list),
    ]  # fmt: skip


def _padded() -> list[Sample]:
    x = normal(31, 3, 4)
    widths = ((1, 2), (0, 3))
    samples = [
        sample("pad", x, label="by one", pad_width=1, reference=lambda a: np.pad(a, 1)),
        sample("pad", x, label="before and after", pad_width=(1, 2), reference=lambda a: np.pad(a, (1, 2))),
        sample("pad", x, label="each axis", pad_width=widths, constant_values=2.5,
               reference=lambda a: np.pad(a, widths, constant_values=2.5)),
        sample("pad", x, label="by nothing", pad_width=0, reference=np.copy),
        sample("pad", normal(32, 0, 2), label="empty", pad_width=((1, 1), (0, 0)),
               reference=lambda a: np.zeros((2, 2))),
        sample("pad", x[::-2, ::-1].T, label="strided", pad_width=1, reference=lambda a: np.pad(a, 1)),
        sample("pad", normal(34, 1, 2), label="edge of one", pad_width=((2, 1), (1, 0)), mode="edge",
               reference=lambda a: np.pad(a, ((2, 1), (1, 0)), mode="edge")),
        sample("pad", normal(35, 3), label="wrapped around twice", pad_width=(7, 4), mode="wrap",
               reference=lambda a: np.pad(a, (7, 4), mode="wrap")),
    ]  # fmt: skip
    modes = ("edge", "reflect", "symmetric", "wrap")
    return samples + [
        sample("pad", x, label=mode, pad_width=widths, mode=mode, reference=_numpy_pad(widths, mode)) for mode in modes
    ]


def _numpy_pad(widths, mode):
    return lambda a: np.pad(a, widths, mode=mode)


SAMPLES = [*_moved(), *_joined(), *_parted(), *_padded()]
