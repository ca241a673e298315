import itertools
import threading
import time

import pytest

from pvn.data.prefetch import Prefetch


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize(("start", "stop"), [(0, 20), (13, 17), (5, 5)])
def test_in_order(start, stop, depth):
    with Prefetch((step * step for step in range(start, stop)), depth) as items:
        assert list(items) == [step * step for step in range(start, stop)]


def test_each_is_made_once_and_in_another_thread():
    made = []

    def make(step):
        made.append((step, threading.current_thread()))

    with Prefetch(map(make, range(10))) as items:
        assert list(items) == [None] * 10
    assert [step for step, _ in made] == list(range(10))
    assert threading.main_thread() not in {thread for _, thread in made}


def test_made_ahead_of_the_consumer():
    third = threading.Event()

    def make(step):
        if step == 2:
            third.set()
        return step

    with Prefetch(map(make, range(9)), depth=2) as items:
        # Takes nothing until three are made: a Prefetch that does not work ahead fails here.
        assert third.wait(timeout=30)
        assert list(items) == list(range(9))


@pytest.mark.parametrize("depth", [1, 4])
def test_not_further_ahead_than_depth(depth):
    made = []
    with Prefetch(map(made.append, range(1000)), depth) as items:
        for taken, _ in enumerate(items, 1):
            time.sleep(0.001)
            assert len(made) <= taken + depth + 1  # those in the queue, and one in the thread
            if taken == 20:
                break


class Broken(Exception):
    pass


@pytest.mark.parametrize("error", [Broken("x"), KeyboardInterrupt("x")])
def test_an_exception_is_raised_in_the_consumer(error):
    def make(step):
        if step == 3:
            raise error
        return step

    with Prefetch(map(make, range(10))) as items:
        taken = iter(items)
        assert [next(taken), next(taken), next(taken)] == [0, 1, 2]
        with pytest.raises(type(error)) as caught:
            next(taken)
    assert caught.value is error


def test_nothing_is_made_after_an_exception():
    made = []

    def make(step):
        made.append(step)
        raise Broken

    before = set(threading.enumerate())
    with Prefetch(map(make, range(4, 100))) as items:
        with pytest.raises(Broken):
            next(iter(items))
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=30)  # ends by itself, inside the context
            assert not thread.is_alive()
    assert made == [4]


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_leaving_early_ends_the_thread(taken):
    before = set(threading.enumerate())
    with Prefetch(itertools.count(), depth=2) as items:
        assert len(set(threading.enumerate()) - before) == 1
        for _, _ in zip(range(taken), items, strict=False):
            pass
    assert set(threading.enumerate()) <= before


def test_leaving_by_an_exception_ends_the_thread():
    before = set(threading.enumerate())
    with pytest.raises(Broken), Prefetch(itertools.count()) as items:
        assert next(iter(items)) == 0
        raise Broken
    assert set(threading.enumerate()) <= before


def test_waiting_is_counted():
    asked = threading.Event()

    def make(step):
        asked.wait(timeout=30)  # not made before the consumer waits for it
        return step

    with Prefetch(map(make, range(3))) as items:
        assert items.waited == 0
        threading.Timer(0.05, asked.set).start()
        assert list(items) == [0, 1, 2]
        assert items.waited > 0
