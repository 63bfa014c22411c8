"""Sessions over a real connection: prompts that wait, cancels, and sessions that are left and taken up again."""

import json
from pathlib import Path

from tests.support.broker import chain
from tests.support.wire import Wire, error_of, overheard

BUSY, NOT_FOUND = -33003, -32002
# A turn that lasts until its question is answered.
ASKS = {"turns": [[{"do": "askPermission"}, {"do": "echo", "chunks": 1}]]}
WAITS = {"turns": [[{"do": "say", "text": "working"}, {"do": "waitCancel"}]]}
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
ALL_SHOWN = {
    "turns": [
        [
            {"do": "think", "text": "hm", "chunks": 2},
            {"do": "toolCall", "toolCallId": "c", "title": "t", "status": "pending"},
            {"do": "askPermission", "toolCallId": "c"},
            {"do": "toolCallUpdate", "toolCallId": "c", "status": "completed"},
            {"do": "update", "update": {"sessionUpdate": "not_invented_yet", "n": 1.5}},
            {"do": "say", "text": "an answer", "chunks": 3},
        ]
    ]
}


def replies(wire: Wire, *prompts: int) -> dict[int, str]:
    """How each of these prompts ended, in the order in which they did."""
    ended: dict[int, str] = {}
    while len(ended) < len(prompts):
        message = wire.until(lambda message: message.get("id") in prompts and "method" not in message)[-1]
        ended[message["id"]] = message["result"]["stopReason"] if "result" in message else message["error"]["code"]
    return ended


def updates(messages: list[dict]) -> list[dict]:
    return [message["params"]["update"] for message in messages if message.get("method") == "session/update"]


def test_a_prompt_in_a_busy_session_waits_for_its_turn(tmp_path: Path) -> None:
    """Agents take one prompt at a time; the second one must neither be refused nor mixed into the first."""
    with Wire(tmp_path, chain(main=ASKS)) as wire:
        session = wire.open()
        first, second = wire.start(session, "one"), wire.start(session, "two")
        story = []
        for _ in range(2):
            wire.answer(wire.until_method("session/request_permission"), ALLOW)
            got = wire.until(lambda message: message.get("id") in (first, second) and "method" not in message)
            story += [update["content"]["text"] for update in updates(got)] + [got[-1]["id"]]

    assert ["one", first, "two", second] == story


def test_a_prompt_too_many_is_refused_by_name(tmp_path: Path) -> None:
    """-33003 tells a bridge to wait; what was accepted is not touched by it."""
    with Wire(tmp_path, chain(main=WAITS, limits={"queuedPrompts": 2})) as wire:
        session = wire.open()
        running, *waiting = [wire.start(session) for _ in range(3)]
        refused = wire.start(session)
        reply = wire.until_reply(refused).reply
        wire.cancel(session)
        ended = replies(wire, running, *waiting)

    assert (refused, BUSY) == error_of(reply)
    assert dict.fromkeys([running, *waiting], "cancelled") == ended


def test_a_cancel_ends_the_running_prompt_and_those_that_wait(tmp_path: Path) -> None:
    """ACP v1, prompt-turn, "Cancellation"; unknown members change nothing. What waited never reaches the agent."""
    heard = tmp_path / "heard"
    with Wire(tmp_path, chain(main=overheard(WAITS, heard))) as wire:
        session = wire.open()
        prompts = [wire.start(session) for _ in range(3)]
        wire.until_method("session/update")
        wire.notify("session/cancel", sessionId=session, _meta={"why": None}, reason="impatience", force=True)
        ended = replies(wire, *prompts)

    assert dict.fromkeys(prompts, "cancelled") == ended
    assert 1 == heard.read_bytes().count(b'"session/prompt"')


def test_a_cancelled_request_is_a_cancelled_prompt(tmp_path: Path) -> None:
    """ACP v1, cancellation: `$/cancel_request` names one prompt, in any spelling of its id; the others go on."""
    with Wire(tmp_path, chain(main=WAITS)) as wire:
        session = wire.open()
        for id in ("first", "second", "third"):  # noqa: A001 - JSON-RPC's own word
            wire.say("session/prompt", {"sessionId": session, "prompt": []}, id)
        wire.until_method("session/update")
        wire.notify("$/cancel_request", requestId="second")
        second = wire.until(lambda message: "id" in message)[-1]
        wire.send(b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":"f\\u0069rst"}}')
        first = wire.until(lambda message: "id" in message)[-1]
        wire.until_method("session/update")
        wire.cancel(session)
        third = wire.until(lambda message: "id" in message)[-1]

    assert ("second", {"stopReason": "cancelled"}) == (second["id"], second["result"])
    assert [("first", "cancelled"), ("third", "cancelled")] == [
        (message["id"], message["result"]["stopReason"]) for message in (first, third)
    ]


def test_a_cancel_answers_the_question_that_is_open(tmp_path: Path) -> None:
    """ACP v1, prompt-turn: a client answers its permissions `cancelled`; we do it for one that does not, and say so."""
    script = {"turns": [[{"do": "ignoreCancel"}, {"do": "askPermission"}, {"do": "sayAnswer"}]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        session = wire.open()
        prompt = wire.start(session)
        ask = wire.until_method("session/request_permission")
        wire.cancel(session)
        turn = wire.until_reply(prompt)

    assert {"requestId": ask["id"]} == next(m for m in turn.heard if m.get("method") == "$/cancel_request")["params"]
    assert (["say cancelled"], "cancelled") == (turn.words, turn.reply["result"]["stopReason"])


def test_a_loaded_session_replays_what_was_shown(tmp_path: Path) -> None:
    """ACP v1, session setup, "Loading Sessions": the whole conversation, the prompts as user messages, ids kept."""
    with Wire(tmp_path, chain(main=ALL_SHOWN)) as wire:
        wire.answers["session/request_permission"] = ALLOW
        session = wire.open()
        live = []
        for text in ("one", "two"):
            live.append({"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": text}})
            live += wire.prompt(session, text).updates
        loaded = wire.until_reply(wire.request("session/load", sessionId=session, cwd=str(wire.work), mcpServers=[]))
        again = [
            {key: value for key, value in update.items() if key != "messageId" or "user" not in update["sessionUpdate"]}
            for update in loaded.updates
        ]

    assert live == again
    assert [] == [message for message in loaded.heard if message.get("method") not in (None, "session/update")]


def test_a_resumed_session_goes_on_without_a_replay(tmp_path: Path) -> None:
    """ACP v1, session resume: the client still has what was shown."""
    with Wire(tmp_path, chain(main={})) as wire:
        session = wire.open()
        wire.prompt(session)
        resumed = wire.until_reply(wire.request("session/resume", sessionId=session, cwd=str(wire.work), mcpServers=[]))
        turn = wire.prompt(session, "and on")

    assert [{}] == [message.get("result") for message in resumed.heard]
    assert "and on" == "".join(update["content"]["text"] for update in turn.updates)


def test_a_closed_session_is_cancelled_and_can_be_taken_up_again(tmp_path: Path) -> None:
    """ACP v1, session close: what runs and waits ends `cancelled`, its agent goes, its words stay."""
    with Wire(tmp_path, chain(main=WAITS)) as wire:
        session = wire.open()
        prompts = [wire.start(session) for _ in range(2)]
        wire.until_method("session/update")
        close = wire.request("session/close", sessionId=session)
        ended: list[object] = []
        while close not in ended:
            ended.append(wire.until(lambda message: "id" in message)[-1]["id"])
        agents = wire.agents("main")
        listed = wire.call("session/list")["result"]["sessions"]
        loaded = wire.until_reply(wire.request("session/load", sessionId=session, cwd=str(wire.work), mcpServers=[]))
        prompt = wire.start(session)
        wire.until_method("session/update")
        wire.cancel(session)
        again = wire.until_reply(prompt)

    assert [{*prompts}, close] == [set(ended[:-1]), ended[-1]]
    assert ([], [session]) == (agents, [one["sessionId"] for one in listed])
    assert ["echo hello", "say working"] == loaded.words[:2]
    assert "cancelled" == again.reply["result"]["stopReason"]


def test_a_deleted_session_is_gone(tmp_path: Path) -> None:
    """ACP v1, session delete: out of the list, not to be loaded, and its log off the disk."""
    with Wire(tmp_path, chain(main={})) as wire:
        kept, session = wire.open(), wire.new()
        wire.prompt(session)
        deleted = wire.call("session/delete", sessionId=session)
        listed = wire.call("session/list", cwd=str(wire.work))["result"]["sessions"]
        loaded = wire.call("session/load", sessionId=session, cwd=str(wire.work), mcpServers=[])
        logs = [path.stem for path in (wire.home / "sessions").iterdir()]

    assert ({}, [kept], [kept]) == (deleted["result"], [one["sessionId"] for one in listed], logs)
    assert NOT_FOUND == loaded["error"]["code"]


def test_what_an_agent_says_before_its_session_is_named_comes_after_our_answer(tmp_path: Path) -> None:
    """Clients drop updates of sessions that they do not know."""
    early = [
        {"do": "usage", "used": 1, "size": 2},
        {"do": "commands", "availableCommands": [{"name": "x", "description": "d"}]},
    ]
    with Wire(tmp_path, chain(main={"new": early})) as wire:
        wire.initialize()
        request = wire.request("session/new", cwd=str(wire.work), mcpServers=[])
        got = wire.until(lambda message: "available_commands_update" in json.dumps(message))

    assert request == got[0]["id"]
    assert ["usage_update", "available_commands_update"] == [update["sessionUpdate"] for update in updates(got)]


def test_a_session_is_loaded_in_the_midst_of_its_turn(tmp_path: Path) -> None:
    """An editor's window reloads: what was shown is replayed, the open question stays, the rest comes once."""
    script = {"turns": [[{"do": "say", "text": "before"}, {"do": "askPermission"}, {"do": "say", "text": "after"}]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        session = wire.open()
        prompt = wire.start(session)
        ask = wire.until_method("session/request_permission")
        loaded = wire.until_reply(wire.request("session/load", sessionId=session, cwd=str(wire.work), mcpServers=[]))
        wire.answer(ask, ALLOW)
        turn = wire.until_reply(prompt)

    assert ["echo hello", "say before"] == loaded.words
    assert (["say after"], "end_turn") == (turn.words, turn.reply["result"]["stopReason"])
