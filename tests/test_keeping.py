"""What a running broker deletes of what it keeps."""

import os
from functools import partial
from types import SimpleNamespace

import pytest

from acp_broker.app.keeping import keep_within
from acp_broker.config.shape import Sessions
from tests.support.harness import house

pytestmark = pytest.mark.anyio

OLD = SimpleNamespace(sessions=Sessions(keep_days=1))


async def test_a_session_that_somebody_attends_stays(tmp_path):
    """It may be open in an editor, without a word, for weeks: its next prompt must not find it gone."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.editor()
        attended, left = await editor.new(), await editor.new()
        await editor.result("session/close", sessionId=left)
        for session in (attended, left):
            os.utime(home.session(session).log.path, (0, 0))
        await home.doing(partial(keep_within, home.broker, lambda: OLD))

    assert [[left]] == [line["sessions"] for line in home.log.of("sessions_deleted")]
