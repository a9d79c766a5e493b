"""Worker processes: the same batches in the same order, errors with their origin, and no process left behind."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import DataLoader, Dataset, TensorDataset, Transformed
from tinygrad_notes.errors import DTypeError, ShapeError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="a system without fork"),
]
Loader = functools.partial(DataLoader, multiprocessing_context="fork")


class Squares(Dataset):
    def __init__(self, length=20, wrong=None, how=None):
        self.length, self.wrong, self.how = length, wrong, how

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.wrong:
            self.how()
        return np.float32(index) ** 2


class Uneven(Squares):
    """Even items take longer, so that workers finish out of order."""

    def __getitem__(self, index):
        time.sleep(0.02 if index % 4 == 0 else 0)
        return super().__getitem__(index)


class Awkward(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Unpicklable:
    def __reduce__(self):
        raise ValueError("this does not travel")


def value_error():
    raise ValueError("a torn page")


def awkward():
    raise Awkward("this", "that")


def noisy(x):
    return (x + tn.tensor(tn.generator().normal(size=x.shape)),)


def read(loader):
    return [batch.tolist() for batch in loader]


def children():
    return multiprocessing.active_children()


@pytest.fixture(autouse=True)
def no_process_left():
    yield
    assert children() == []


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("ahead", [1, 4])
def test_workers_give_the_batches_in_order(workers, ahead):
    data = Uneven(11)
    loader = Loader(data, 2, num_workers=workers, prefetch_factor=ahead)
    assert read(loader) == read(DataLoader(data, 2))
    assert len(read(loader)) == len(loader) == 6


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked(method):
    loader = DataLoader(Squares(7), 2, shuffle=True, generator=3, num_workers=1, multiprocessing_context=method)
    plain = Loader(Squares(7), 2, shuffle=True, generator=3, num_workers=1)
    assert read(loader) == read(plain)


def test_the_processes_are_others():
    class Process(Squares):
        def __getitem__(self, index):
            return os.getpid()

    seen = {pid for batch in read(Loader(Process(8), 2, num_workers=2)) for pid in batch}
    assert len(seen) == 2
    assert os.getpid() not in seen


def test_large_batches_block_nobody():
    data = TensorDataset(np.arange(40.0)[:, None] * np.ones(50_000))  # 3.2 MB a batch, far more than a pipe holds
    batches = list(Loader(data, 8, num_workers=2, prefetch_factor=3))
    assert [batch[0].data[0, -1].item() for batch in batches] == [0, 8, 16, 24, 32]


def test_prefetched_batches_are_made_while_nobody_reads():
    made = multiprocessing.get_context("fork").Value("i", 0)

    class Counted(Squares):
        def __getitem__(self, index):
            with made.get_lock():
                made.value += 1
            return np.zeros(100_000)

    batches = iter(Loader(Counted(20), 1, num_workers=1, prefetch_factor=3))
    next(batches)
    deadline = time.monotonic() + 5
    while made.value < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert made.value == 4  # the one that was read, and three ahead
    batches.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_back_as_it_was_with_item_and_traceback(workers):
    batches = iter(Loader(Squares(wrong=7, how=value_error), 3, num_workers=workers))
    assert [next(batches).tolist(), next(batches).tolist()] == [[0, 1, 4], [9, 16, 25]]
    with pytest.raises(ValueError, match="a torn page") as caught:
        next(batches)
    notes = "\n".join(caught.value.__notes__)
    assert "at item 7 of Squares" in notes
    if workers:
        assert "raised in DataLoader worker 0, on batch 2 (items 6, 7, 8)" in notes
        assert "in value_error" in notes
    assert children() == []
    with pytest.raises(StopIteration):
        next(batches)


def test_errors_that_do_not_travel_come_back_as_text():
    with pytest.raises(RuntimeError, match="Awkward: this and that"):
        read(Loader(Squares(wrong=0, how=awkward), 2, num_workers=1))
    loader = Loader(Squares(4), 2, num_workers=1, collate_fn=lambda items: Unpicklable())
    with pytest.raises(ValueError, match="this does not travel"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("how", "code"), [(functools.partial(os._exit, 3), 3), (functools.partial(signal.raise_signal, signal.SIGKILL), -9)]
)
def test_a_worker_that_dies_is_reported(how, code):
    with pytest.raises(RuntimeError, match=rf"worker 0 ended unexpectedly \(exit code {code}"):
        read(Loader(Squares(wrong=9, how=how), 2, num_workers=2))


def test_breaking_off_ends_the_workers():
    for batch in Loader(Uneven(1000), 1, num_workers=2):
        assert batch.tolist() == [0]
        break
    assert children() == []


def test_a_data_set_that_hangs_does_not_hold_the_loader():
    start = time.monotonic()
    batches = iter(Loader(Squares(10, wrong=3, how=functools.partial(time.sleep, 60)), 1, num_workers=1))
    next(batches)
    del batches
    assert children() == []
    assert time.monotonic() - start < 5


def test_persistent_workers_serve_every_epoch_and_end_with_the_loader():
    class Process(Squares):
        def __getitem__(self, index):
            return os.getpid()

    loader = Loader(Process(4), 1, num_workers=2, persistent_workers=True)
    first, second = read(loader), read(loader)
    assert first == second
    assert len(children()) == 2
    next(iter(loader))  # broken off
    assert read(loader) != first
    loader.close()
    assert children() == []
    assert read(loader) != first
    del loader
    assert children() == []


def test_an_iteration_left_standing_does_not_disturb_the_next():
    loader = Loader(Squares(6), 2, num_workers=2, persistent_workers=True)
    standing = iter(loader)
    next(standing)
    assert read(loader) == [[0, 1], [4, 9], [16, 25]]
    with pytest.raises(RuntimeError, match="one iterator at a time"):
        next(standing)
    standing = iter(loader)
    next(standing)
    loader.close()
    with pytest.raises(RuntimeError, match="closed while"):
        next(standing)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_loader_with_workers_goes_on_with_the_very_next_batch(given, own):
    def make(workers):
        data = Transformed(TensorDataset(np.arange(11.0)), noisy)
        return Loader(data, 3, shuffle=True, generator=8 if own else None, num_workers=workers)

    tn.manual_seed(1)
    loader = make(2)
    batches = iter(loader)
    for _ in range(given):
        next(batches)
    state, random_state = loader.state_dict(), tn.get_rng_state()
    rest = [batch[0].tolist() for batch in batches] + [batch[0].tolist() for batch in loader]
    tn.manual_seed(99)
    resumed = make(1)  # another number of workers draws the same random numbers
    tn.set_rng_state(random_state)
    resumed.load_state_dict(state)
    assert [batch[0].tolist() for batch in resumed] + [batch[0].tolist() for batch in resumed] == rest


def test_a_state_without_workers_is_taken_up_with_them():
    plain = Loader(Squares(6), 2, shuffle=True, generator=0)
    batches = iter(plain)
    next(batches)
    resumed = Loader(Squares(6), 2, shuffle=True, generator=0, num_workers=1)
    resumed.load_state_dict(plain.state_dict())
    assert read(resumed) == [batch.tolist() for batch in batches]


def test_every_batch_and_epoch_draws_other_random_numbers():
    loader = Loader(Transformed(TensorDataset(np.zeros(6)), noisy), 1, num_workers=2)
    numbers = [batch[0].item() for _ in range(2) for batch in loader]
    assert len(set(numbers)) == 12


def test_worker_init_fn_runs_once_in_every_worker():
    class Initialised(Squares):
        def __getitem__(self, index):
            return self.number

    data = Initialised(4)

    def number_it(worker):
        data.number = getattr(data, "number", 10) + worker

    assert read(Loader(data, 1, num_workers=2, worker_init_fn=number_it)) == [[10], [11], [10], [11]]


def test_nothing_but_an_end_comes_of_an_empty_data_set():
    assert read(Loader(Squares(0), 2, num_workers=2)) == []


def test_what_cannot_be_pickled_says_so_under_spawn():
    loader = DataLoader(Squares(4), 2, collate_fn=lambda items: items, num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(Exception, match="lambda") as caught:
        next(iter(loader))
    assert "takes no lambda" in caught.value.__notes__[0]


def test_a_killed_parent_takes_its_workers_along():
    program = (
        "import os, signal, sys, time, multiprocessing, numpy as np\n"
        "from tinygrad_notes.data import DataLoader, TensorDataset\n"
        "loader = DataLoader(TensorDataset(np.zeros((9, 90_000))), 1, num_workers=2, multiprocessing_context='fork')\n"
        "batches = iter(loader); next(batches)\n"
        "print(*[p.pid for p in multiprocessing.active_children()], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    pids = [int(pid) for pid in done.stdout.split()]  # run returns only once the workers too have closed the pipes
    assert len(pids) == 2
    assert done.returncode == -9


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_workers": -1}, ShapeError, "num_workers is -1"),
        ({"num_workers": 1.5}, DTypeError, r"num_workers is 1\.5"),
        ({"num_workers": 1, "prefetch_factor": 0}, ShapeError, "prefetch_factor is 0"),
        ({"num_workers": 1, "multiprocessing_context": "thread"}, ShapeError, "'thread', expected one of"),
        ({"num_workers": 1, "worker_init_fn": 3}, DTypeError, "worker_init_fn is 3"),
        ({"persistent_workers": True}, DTypeError, "need num_workers"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(Squares(), 2, **options)
