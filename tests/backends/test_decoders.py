"""What the decoders of all kinds have in common."""

from collections.abc import Iterable

import pytest

from backends.anthropic.stream import MessageDecoder
from backends.gemini.stream import GeminiDecoder
from backends.http.sse import EventStream
from backends.openai.chat import ChatDecoder
from backends.openai.responses import ResponseDecoder
from tests.support.chat_player import CHAT
from tests.support.gemini_speech import GEMINI
from tests.support.messages_speech import MESSAGES
from tests.support.responses_speech import RESPONSES

SPOKEN = {
    "chat": (ChatDecoder, CHAT),
    "responses": (ResponseDecoder, RESPONSES),
    "anthropic": (MessageDecoder, MESSAGES),
    "gemini": (GeminiDecoder, GEMINI),
}


def read(decoder, reads: Iterable[bytes]) -> tuple:
    """What was thought and said, and how it ended."""
    events, told = EventStream(), {True: "", False: ""}
    for one in reads:
        for event in events.feed(one):
            for text, is_thought in decoder.pieces(event):
                told[is_thought] += text
    return told[True], told[False], decoder.stop, decoder.usage is not None, decoder.is_over


@pytest.mark.parametrize("api", SPOKEN)
def test_an_answer_may_be_cut_anywhere(api):
    """A network cuts where it likes: in a word, in a letter, between an event and its end."""
    decoder, speech = SPOKEN[api]
    said = [speech.think("hm…"), speech.say("ä duck"), speech.say(" 🦆")]
    stream = b"".join([speech.beginning, *said, speech.end("max_tokens")])
    whole = ("hm…", "ä duck 🦆", "max_tokens", True, True)
    cuts = [[stream[:at], stream[at:]] for at in range(len(stream) + 1)]
    single = [stream[at : at + 1] for at in range(len(stream))]

    assert {whole} == {read(decoder(), reads) for reads in (*cuts, single)}


@pytest.mark.parametrize("api", SPOKEN)
def test_no_beginning_of_an_answer_is_its_end(api):
    """Wherever the connection breaks: what has not come to its end has none."""
    decoder, speech = SPOKEN[api]
    begun = speech.beginning + speech.think("hm") + speech.say("a duck")

    assert {(None, False)} == {read(decoder(), [begun[:at]])[2::2] for at in range(len(begun) + 1)}


@pytest.mark.parametrize("api", ["chat", "gemini"])
def test_of_several_answers_the_first_is_heard(api):
    """Word by word in turn they are none; `body` may ask Gemini for more than one."""
    decoder, speech = SPOKEN[api]
    one = speech.say("a duck")
    other = one.replace(b'"index":0', b'"index":1').replace(b"duck", b"goose") + speech.end("max_tokens").replace(
        b'"index":0', b'"index":1'
    )

    assert ("", "a duck", None) == read(decoder(), [speech.beginning + one + other])[:3]
