"""no_grad, enable_grad and their kin: nested, as decorators, per thread and per asyncio task."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import leaf
from tinygrad_notes import GradientError
from tinygrad_notes.modes import RECORD, SILENT, mode, watch


def records() -> bool:
    """What an op really does, not what the mode says."""
    return (leaf(1.0) * 2.0).requires_grad


def test_nested():
    assert records()
    with tn.no_grad():
        assert not records()
        assert not tn.is_grad_enabled()
        with tn.enable_grad():
            assert records()
            with tn.no_grad():
                assert not records()
            assert records()
        assert not records()
    assert records()
    assert mode.get() is RECORD


def test_leaves_made_under_no_grad_still_ask_for_gradients():
    with tn.no_grad():
        x = tn.ones(2, requires_grad=True)
        assert x.requires_grad
        assert not (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad


def test_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), tn.no_grad(), tn.enable_grad(), tn.detect_anomaly():
        raise ZeroDivisionError
    assert mode.get() is RECORD
    x = leaf(1.0)
    x.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        (x * 2.0).sum().backward()
    h = x * 2.0
    h.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        h.sum().backward()
    assert mode.get() is RECORD


def test_one_object_entered_again():
    silent = tn.no_grad()
    with silent:
        with tn.enable_grad(), silent:
            assert not records()
        assert not records()
    with silent:
        assert not records()
    assert records()


def test_as_decorator():
    @tn.no_grad()
    def silent(a, *, b=1):
        """Its text."""
        return records(), a, b

    @tn.enable_grad()
    def loud():
        return records(), silent(2)[0], records()

    assert silent(3, b=4) == (False, 3, 4)
    assert silent.__name__ == "silent"
    assert silent.__doc__ == "Its text."
    assert silent.__wrapped__(1) == (True, 1, 1)
    with tn.no_grad():
        assert loud() == (True, False, True)
    assert records()


def test_decorated_function_calls_itself():
    @tn.no_grad()
    def down(n):
        return [records()] + (down(n - 1) if n else [])

    assert down(3) == [False] * 4
    assert records()


def test_decorated_method_and_error():
    class Thing:
        @tn.no_grad()
        def method(self):
            assert not records()
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        Thing().method()
    assert records()


def test_decorated_coroutine():
    """Its body runs when it is awaited, which is when the mode must hold."""

    @tn.no_grad()
    async def silent():
        await asyncio.sleep(0)
        return records()

    async def main():
        return await silent(), records()

    assert asyncio.run(main()) == (False, True)


def test_decorated_generator_is_refused():
    """Its body would run between other code, whose mode it would change, or not at all in its own."""
    with pytest.raises(TypeError, match="numbers is a generator"):

        @tn.no_grad()
        def numbers():
            yield records()


def test_block_around_and_inside_a_generator():
    def numbers():
        with tn.no_grad():
            yield records()
        yield records()

    with tn.enable_grad():
        assert list(numbers()) == [False, True]
    assert mode.get() is RECORD
    running = numbers()
    with tn.enable_grad():
        next(running)
    running.close()
    assert mode.get() is RECORD


def test_per_thread():
    seen = []
    with tn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(records()))
        thread.start()
        thread.join()
        assert not records()
    assert seen == [True]


def test_thread_that_was_given_the_context():
    seen = []
    with tn.no_grad():
        context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(lambda: seen.append(records())))
    thread.start()
    thread.join()
    assert seen == [False]


def test_one_object_shared_by_threads():
    silent = tn.no_grad()
    inside, errors = threading.Barrier(2), []

    def run(order):
        try:
            for _ in range(20):
                with silent:
                    inside.wait(10)
                    if order:
                        inside.wait(10)  # the other one leaves first
                    assert not records()
                assert records()
                if not order:
                    inside.wait(10)
        except Exception as error:
            errors.append(error)
            inside.abort()

    threads = [threading.Thread(target=run, args=(order,)) for order in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_per_asyncio_task():
    silent = tn.no_grad()

    async def task(is_silent):
        seen = []
        for _ in range(5):
            if is_silent:
                with silent:
                    await asyncio.sleep(0)
                    seen.append(records())
            else:
                await asyncio.sleep(0)
                seen.append(records())
        return seen

    async def main():
        return await asyncio.gather(task(True), task(False), task(True))

    assert asyncio.run(main()) == [[False] * 5, [True] * 5, [False] * 5]


def test_task_inherits_the_mode_it_was_made_in():
    async def child():
        return records()

    async def main():
        with tn.no_grad():
            task = asyncio.create_task(child())
        return await task, records()

    assert asyncio.run(main()) == (False, True)


def test_gradients_under_no_grad():
    """backward itself may run there: the graph was made before."""
    x = leaf(3.0)
    y = (x * x).sum()
    with tn.no_grad():
        y.backward()
    assert x.grad.item() == 6.0
    with tn.no_grad(), pytest.raises(GradientError, match="computed under no_grad"):
        (x * x).sum().backward()


def test_no_grad_modes_are_two_objects():
    """The wrapper compares the mode by identity: nesting must not make new ones."""
    with tn.no_grad(), tn.no_grad():
        assert mode.get() is SILENT
        with tn.enable_grad():
            assert mode.get() is RECORD


def test_watchers_see_every_call_in_every_mode():
    seen = []
    x = leaf(1.0, 2.0)
    with watch(lambda op, operands, value: seen.append((op.name, value.shape if op.name != "lstm_scan" else None))):
        y = x * 2.0
        with tn.no_grad():
            tn.exp(y)
            with tn.enable_grad():
                y.sum()
        tn.argmax(x)
        tn.concat([x, y])
    tn.sin(x)
    assert [name for name, _ in seen] == ["multiply", "exp", "sum", "argmax", "concat"]
    assert seen[-1] == ("concat", (4,))


def test_watcher_inside_anomaly_detection():
    seen = []
    look = watch(lambda op, operands, value: seen.append(op.name))
    with tn.detect_anomaly(), look, tn.no_grad(), np.errstate(all="ignore"):
        assert not records()
        with pytest.raises(GradientError, match="inf in the value of log"):
            tn.log(tn.tensor([0.0]))
    assert seen == ["multiply", "log"]


def test_watchers_are_told_the_other_arguments_when_they_ask():
    seen = []
    x = leaf(1.0, 2.0)
    with watch(lambda op, operands, value, static: seen.append(dict(zip(op.static, static))), static=True):
        tn.sum(x, keepdims=True)
        with tn.no_grad():
            tn.reshape(x, (2, 1))
        tn.concat([x, x])
        tn.argmax(x, 0)
        tn.batch_norm(tn.zeros((2, 1)), None, None, training=True)  # an op with an argument called observe
    assert seen[:3] == [{"axis": None, "keepdims": True}, {"shape": (2, 1)}, {"axis": 0}]
    assert seen[3] == {"axis": 0, "keepdims": False}
    assert seen[4]["observe"] is None
