"""Items, ends and failures pass between two threads, in both directions, and nobody waits for ever."""

from __future__ import annotations

from threading import Thread

import pytest

from onnxpress.scoring.channel import AbandonedError, Channel


def test_a_failure_comes_behind_what_was_put_before_it() -> None:
    channel = Channel[int](3)
    channel.put(1)
    channel.put(2)
    channel.close(ValueError("three"))
    items = iter(channel)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(items)


def test_no_more_than_its_size_waits_and_all_arrives_in_order() -> None:
    channel, most = Channel[int](2), []

    def put() -> None:
        for number in range(1_000):
            channel.put(number)
            most.append(len(channel._items))
        channel.close()

    thread = Thread(target=put)
    thread.start()
    assert list(channel) == list(range(1_000))
    thread.join()
    assert max(most) <= 2


def test_whoever_waits_to_put_is_told_that_nothing_is_taken() -> None:
    channel, told = Channel[int](1), []

    def put() -> None:
        try:
            for number in range(3):
                channel.put(number)
        except AbandonedError as error:
            told.append(error)

    thread = Thread(target=put)
    thread.start()
    channel.abandon()
    thread.join(timeout=10)
    assert told and not thread.is_alive()
