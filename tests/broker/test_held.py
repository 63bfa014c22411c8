"""What an attempt said before its commit point: in order, within bounds."""

from acp_broker.broker import held as module
from acp_broker.broker.held import Held
from acp_broker.wire.acp import Update, message, update


def usage(used: int) -> Update:
    return update("usage_update", used=used, padding="x" * 100)


def title(text: str) -> Update:
    return update("session_info_update", title=text, padding="x" * 100)


def thought(text: str) -> Update:
    return update("agent_thought_chunk", content={"type": "text", "text": text + "x" * 100})


def test_what_is_held_comes_back_in_order():
    """It is shown as it was said."""
    held, said = Held(), [usage(1), message("API Error"), title("T")]
    held.add(said[:1])
    held.add(said[1:])

    assert said == held.take()


def test_what_was_taken_is_held_no_more():
    """Shown once, or dropped once."""
    held = Held()
    held.add([usage(1)])
    held.take()

    assert [] == held.take()


def test_within_bounds_every_note_is_kept():
    """An agent's title, and then its better title."""
    held, said = Held(), [title("a"), title("b")]
    held.add(said)

    assert said == held.take()


def test_past_the_bound_the_latest_note_of_each_kind_is_kept(monkeypatch):
    """Each replaces the one before it."""
    monkeypatch.setattr(module, "HELD_BYTES", 500)
    held, last = Held(), [title("b"), usage(9)]
    held.add([usage(number) for number in range(9)])
    held.add([title("a"), *last])

    assert last == held.take()


def test_past_the_bound_the_oldest_words_go(monkeypatch):
    """A runtime that talks for ever before it commits costs no memory."""
    monkeypatch.setattr(module, "HELD_BYTES", 500)
    held, said = Held(), [thought(str(number)) for number in range(9)]
    held.add(said)
    kept = held.take()

    assert (said[-len(kept) :], True) == (kept, 0 < len(kept) < 9)


def test_one_update_larger_than_the_bound_is_kept(monkeypatch):
    """To drop all that was said would be an empty answer."""
    monkeypatch.setattr(module, "HELD_BYTES", 500)
    held, large = Held(), message("x" * 1000)
    held.add([large])

    assert [large] == held.take()
