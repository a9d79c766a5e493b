"""Worker processes that make a DataLoader's batches ahead of time, in order, and end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import as_batch
from tinygrad_notes.generator import manual_seed

BATCH, ERROR = 0, 1
SHOWN = 8  # indices of a batch that an error names


class WorkerPool:
    """``count`` processes, each with a copy of the data set; worker w makes batches w, w + count, w + 2·count, ...

    A worker is given the epoch's whole order at its start and after that only numbers of batches, a few bytes each: so
    neither side can ever block while it writes to the other. What a worker has finished is sent by a thread of its
    own, so that it goes on with the next batch while nobody reads.
    """

    def __init__(
        self,
        count: int,
        dataset: Any,
        collate_fn: Callable[[list], Any] | None,
        start_method: str | None,
        worker_init_fn: Callable[[int], None] | None,
    ):
        context: Any = multiprocessing.get_context(start_method)
        self.processes: list[Any] = []
        self.connections: list[Connection] = []
        self.idle = True  # nothing that was asked for is unread
        self._end = weakref.finalize(self, _end, self.processes, self.connections, os.getpid())
        try:
            for worker in range(count):
                ours, theirs = context.Pipe()
                self.connections.append(ours)
                # A forked worker inherits our ends of the pipes; unless it closes them, it outlives a killed parent.
                inherited = list(self.connections) if context.get_start_method() == "fork" else []
                process = context.Process(
                    target=_work,
                    args=(worker, theirs, inherited, dataset, collate_fn, worker_init_fn),
                    name=f"DataLoader worker {worker}",
                    daemon=True,
                )
                try:
                    process.start()
                finally:
                    theirs.close()
                self.processes.append(process)
        except BaseException as error:
            self.close()
            if isinstance(error, pickle.PicklingError | TypeError | AttributeError):
                error.add_note(
                    f"DataLoader: under {context.get_start_method()!r} workers get the data set, collate_fn and "
                    "worker_init_fn by pickle, which takes no lambda and no function defined inside another"
                )
            raise

    def batches(self, order: np.ndarray, ends: list[int], first: int, seed: int, ahead: int) -> Iterator[Any]:
        """Batches ``first``, ``first + 1``, ... of the epoch, with at most ``ahead`` unread ones in each worker."""
        number_of_workers, count = len(self.processes), len(ends)
        self.idle = False
        for worker in range(number_of_workers):
            self._send(worker, (order, ends, seed))
        sent = min(count, first + ahead * number_of_workers)
        for number in range(first, sent):
            self._send(number % number_of_workers, number)
        for number in range(first, count):
            worker = number % number_of_workers
            kind, value = self._receive(worker)
            if kind == ERROR:
                raise _error(*value)
            if sent < count:
                self._send(sent % number_of_workers, sent)
                sent += 1
            self.idle = number + 1 == count
            yield value

    def _send(self, worker: int, message: Any) -> None:
        try:
            self.connections[worker].send(message)
        except OSError:
            raise self._dead(worker) from None

    def _receive(self, worker: int) -> tuple[int, Any]:
        if not self.processes:
            raise RuntimeError("DataLoader: it was closed while an iteration over it was under way")
        connection, process = self.connections[worker], self.processes[worker]
        wait([connection, process.sentinel])
        try:
            if connection.poll():
                return connection.recv()
        except (EOFError, OSError):
            pass
        raise self._dead(worker)

    def _dead(self, worker: int) -> RuntimeError:
        self.processes[worker].join(1)
        return RuntimeError(
            f"DataLoader: worker {worker} ended unexpectedly (exit code {self.processes[worker].exitcode}; "
            "a negative one is the signal that ended it, -9 often for lack of memory)"
        )

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._end()


def _end(processes: list[Any], connections: list[Connection], owner: int) -> None:
    if os.getpid() != owner:  # a fork's copy of the pool is not the one to end it
        return
    for connection in connections:
        connection.close()
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)
        if process.is_alive():  # a data set that holds back SIGTERM
            process.kill()
            process.join()
        process.close()
    processes.clear()
    connections.clear()


# ---------------------------------------------------------------------- in the worker


def _work(
    worker: int,
    connection: Connection,
    inherited: list[Connection],
    dataset: Any,
    collate_fn: Callable[[list], Any] | None,
    worker_init_fn: Callable[[int], None] | None,
) -> None:
    for other in inherited:
        other.close()
    with contextlib.suppress(ValueError):  # the parent is told of Ctrl-C too, and ends its workers
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    results: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_send_all, args=(results, connection), daemon=True).start()
    order, ends, seed = np.zeros(0, np.int64), [0], 0
    started = False
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):  # the loader is gone
            return
        if isinstance(message, tuple):
            order, ends, seed = message
            continue
        indices = order[ends[message - 1] if message else 0 : ends[message]]
        try:
            if not started and worker_init_fn is not None:
                worker_init_fn(worker)
            started = True
            # A batch draws the same random numbers whoever makes it, and also when an epoch goes on after a break.
            manual_seed(int(np.random.SeedSequence([seed, message]).generate_state(1, np.uint64)[0]))
            result = bytes(ForkingPickler.dumps((BATCH, as_batch(dataset, indices, collate_fn))))
        except Exception as error:
            result = bytes(ForkingPickler.dumps((ERROR, _report(error, worker, message, indices))))
        results.put(result)


def _send_all(results: queue.SimpleQueue[bytes], connection: Connection) -> None:
    with contextlib.suppress(OSError):  # the loader is gone, which the main thread of the worker sees too
        while True:
            connection.send_bytes(results.get())


def _report(error: Exception, worker: int, number: int, indices: np.ndarray) -> tuple[bytes | None, str]:
    """The error for the parent, pickled where that works, and where and how it was raised."""
    shown = ", ".join(str(i) for i in indices[:SHOWN]) + (", ..." if len(indices) > SHOWN else "")
    trace = "".join(traceback.format_exception(error)).rstrip()
    text = f"raised in DataLoader worker {worker}, on batch {number} (items {shown}):\n{trace}"
    pickled: bytes | None
    try:
        pickled = pickle.dumps(error)
        if type(pickle.loads(pickled)) is not type(error):
            pickled = None
    except Exception:  # an error that cannot travel comes back as a RuntimeError with its text
        pickled = None
    return pickled, text


def _error(pickled: bytes | None, text: str) -> Exception:
    if pickled is None:
        return RuntimeError(text)
    error = pickle.loads(pickled)
    error.add_note(text)
    return error
