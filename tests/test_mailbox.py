"""Laws of the mailbox: only the latest of each kind and target, in order, from any thread."""

import threading
from queue import Empty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_viewer.reconstruct.messages import (
    Inspect,
    Mailbox,
    Message,
    Pause,
    Play,
    Query,
    Restart,
    SetParameter,
    SetResetEvery,
    SetRules,
    Step,
    Stop,
)

VALUES = st.floats(0, 1)
MESSAGES = st.one_of(
    st.sampled_from((Play(), Pause(), Step(), Restart(), Stop())),
    st.builds(SetParameter, st.integers(0, 2), st.sampled_from(("rate", "gain")), VALUES),
    st.builds(SetResetEvery, st.integers(0, 9)),
    st.builds(SetRules, st.just(("constant:0.5",))),
    st.builds(Inspect, st.integers(0, 3), st.integers(0, 9)),
    st.builds(Query, st.integers(0, 9), st.just((0.0,) * 7), VALUES),
)


def target(message: Message) -> object:
    if isinstance(message, SetParameter):
        return SetParameter, message.lane, message.name
    return type(message)


@given(st.lists(MESSAGES))
def test_what_no_later_message_replaces_is_taken_in_its_order(messages):
    mailbox = Mailbox()
    for message in messages:
        mailbox.put(message)
    left = [
        message
        for place, message in enumerate(messages)
        if isinstance(message, Step) or target(message) not in map(target, messages[place + 1 :])
    ]
    assert list(mailbox.waiting()) == left


@given(st.lists(MESSAGES))
def test_the_mode_of_a_run_is_that_of_every_message_in_turn(messages):
    def mode(given: list[Message]) -> tuple[bool, int]:
        """Paused, and steps that are still to be made."""
        paused, steps = False, 0
        for message in given:
            if isinstance(message, Play | Restart):
                paused, steps = False, 0
            elif isinstance(message, Pause | Step):
                paused, steps = True, steps + isinstance(message, Step)
        return paused, steps

    mailbox = Mailbox()
    for message in messages:
        mailbox.put(message)
    assert mode(list(mailbox.waiting())) == mode(messages)


def test_a_message_that_was_taken_is_replaced_by_none():
    mailbox = Mailbox()
    for sequence in range(3):
        mailbox.put(Inspect(0, sequence))
        assert mailbox.get() == Inspect(0, sequence)
    assert not list(mailbox.waiting())


def test_an_empty_mailbox_says_so_in_time():
    with pytest.raises(Empty):
        Mailbox().get(timeout=0.01)


def test_who_waits_gets_what_another_thread_puts():
    mailbox, taken = Mailbox(), []
    readers = [threading.Thread(target=lambda: taken.append(mailbox.get(60))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in readers:
        mailbox.put(Step())
    for reader in readers:
        reader.join()
    assert taken == [Step()] * 4
