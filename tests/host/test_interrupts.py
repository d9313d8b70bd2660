from __future__ import annotations

import signal
import threading

import pytest

from keras_classics.host.interrupts import handled


def press():
    signal.raise_signal(signal.SIGINT)


def test_at_once_until_there_is_something_to_lose():
    with pytest.raises(KeyboardInterrupt), handled():
        press()
        pytest.fail("not reached")


def test_only_the_first_disturbs_the_tidying_up():
    tidied = []
    with pytest.raises(KeyboardInterrupt), handled():
        try:
            press()
        finally:
            press()
            press()
            tidied.append(True)
    assert tidied == [True]


def test_later_it_waits_for_a_safe_place():
    with handled() as interrupts:
        interrupts.at_once = False
        interrupts.check()
        press()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_work_that_may_be_broken_off():
    with handled() as interrupts:
        interrupts.at_once = False
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            press()
        press()  # held again
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            pytest.fail("not begun, as Ctrl-C was pressed before")


def test_the_handler_is_restored():
    before = signal.getsignal(signal.SIGINT)
    with handled():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_outside_the_main_thread():
    results = []

    def work():
        with handled() as interrupts:
            interrupts.check()
            results.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["done"]
