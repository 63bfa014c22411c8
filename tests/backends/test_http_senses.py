"""Pictures and sound, for models without eyes or ears."""

import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.core.handoff import Said
from acp_broker.core.history import Exchange
from acp_broker.core.names import TurnId
from acp_broker.errors import BackendFailure
from tests.support import apis
from tests.support.client import FakeClient, prompted, raw

pytestmark = pytest.mark.anyio

PICTURE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
ATTACHED = {"type": "resource", "resource": {"uri": "file:///a.png", "blob": "aGk=", "mimeType": "image/png"}}
SOUND = {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}
WORDS = {"type": "text", "text": "what is it?"}
APIS = {"chat": apis.CHAT, "responses": apis.RESPONSES, "anthropic": apis.MESSAGES, "gemini": apis.GEMINI}


async def sent(api: str, prompt: list[dict], past: list[dict], **members: object) -> bytes:
    order = prompted(prompt, (Exchange(raw(past), Said(TurnId("one"), "[the picture]", "a duck")),))
    _, request = await APIS[api].run(apis.given(), FakeClient(), apis.WORDS, order=order, **members)
    return request.body


@pytest.mark.parametrize("shown", [PICTURE, ATTACHED])
@pytest.mark.parametrize("api", APIS)
async def test_a_picture_of_an_earlier_turn_is_told_by_its_name(api, shown):
    """Another backend has answered it; this one's server would refuse the whole conversation, and end the turn."""
    body = await sent(api, [WORDS], [WORDS, shown], images=False)

    assert (True, False) == (b"[the picture]" in body, b"aGk=" in body)


@pytest.mark.parametrize("api", APIS)
async def test_a_picture_of_an_earlier_turn_is_sent_to_who_sees(api):
    """The next question may be about it."""
    body = await sent(api, [WORDS], [WORDS, PICTURE])

    assert (False, True) == (b"[the picture]" in body, b"aGk=" in body)


@pytest.mark.parametrize(("api", "audio"), [("chat", False), ("chat", True), ("gemini", False), ("gemini", True)])
async def test_sound_of_an_earlier_turn_is_sent_to_who_hears(api, audio):
    """Chat Completions have a place for it; not every model has."""
    body = await sent(api, [WORDS], [WORDS, SOUND], audio=audio)

    assert audio is (b"aGk=" in body)


@pytest.mark.parametrize("api", APIS)
async def test_a_picture_in_an_attachment_is_for_who_sees(api):
    """No frontend is told that a model takes none in there."""
    with pytest.raises(BackendFailure) as raised:
        await sent(api, [WORDS, ATTACHED], [WORDS], images=False)

    assert FailureKind.UNSUPPORTED is raised.value.failure.kind


@pytest.mark.parametrize(("blob", "is_text"), [("YSBkdWNr", True), ("YSBkdWNr!", False), ("/w==", False), ("", False)])
async def test_a_text_in_a_blob_is_a_text(blob, is_text):
    """Some editors send every file so; what is no text, or no base64, is not made into one."""
    attached = {"type": "resource", "resource": {"uri": "file:///a.md", "blob": blob, "mimeType": "text/markdown"}}
    try:
        body = await sent("chat", [WORDS, attached], [WORDS])
    except BackendFailure:
        body = b""

    assert is_text is (b"a duck\\n</resource>" in body)


async def test_a_picture_without_a_type_is_taken_for_png():
    """ACP v1 asks for one; a server without would refuse it."""
    body = await sent("chat", [WORDS, {"type": "image", "data": "aGk="}], [WORDS])

    assert b"data:image/png;base64,aGk=" in body


@pytest.mark.parametrize(("uri", "is_sent"), [("https://example.org/a.png", True), ("file:///a.png", False)])
async def test_a_picture_that_lies_elsewhere_is_sent_as_its_address(uri, is_sent):
    """A provider can fetch it from the web, and not from somebody's disk."""
    lying = {"type": "image", "data": "", "mimeType": "image/png", "uri": uri}
    try:
        body = await sent("chat", [WORDS, lying], [WORDS])
    except BackendFailure:
        body = b""

    assert is_sent is (uri.encode() in body)
