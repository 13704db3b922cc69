import threading

import pytest

from featherweight.container.ahead import ahead


def square(number):
    return number * number


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("worth", [lambda _: True, lambda _: False, lambda number: number % 3 == 0])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_results_come_in_order(threads, worth, count):
    assert list(ahead(square, range(count), threads, worth)) == [square(number) for number in range(count)]


def test_what_is_not_worth_a_thread_stays_in_the_one_of_the_caller():
    def where(number):
        return number, threading.current_thread()

    found = dict(ahead(where, range(30), 4, lambda number: number >= 20))
    assert all(found[number] is threading.current_thread() for number in range(20))


def test_two_are_in_work_at_a_time():
    both = threading.Barrier(2, timeout=20)

    def met(number):
        both.wait()
        return number

    assert list(ahead(met, range(6), 2, lambda _: True)) == list(range(6))


def test_no_more_are_begun_than_there_are_threads():
    begun = []
    found = ahead(begun.append, range(100), 3, lambda _: True)
    next(found)
    found.close()
    assert len(begun) <= 4


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_an_error_comes_in_its_turn(threads):
    def fails(number):
        if number == 5:
            raise ValueError("five")
        return number

    found = ahead(fails, range(20), threads, lambda number: number % 2 == 1)
    assert [next(found) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="five"):
        next(found)
