"""What is not the broker's passes both ways as it was written: `_meta`, unknown members, numbers, escapes."""

import json
from pathlib import Path

from tests.support.broker import chain
from tests.support.wire import Wire, overheard, says

# Decoding and encoding again would change every one of these.
ODD = b'{ "n" : 1.50, "e":"\\u00e9\\/", "z":1e+05,\r"big":123456789012345678901234567890, "again":1, "again":2 }'
CONTENT = b'"content":{"type":"text","text":"\\u0068i","annotations":{"priority":1.0}}'


def from_agent(method: bytes, members: bytes, id: bytes = b"") -> dict:  # noqa: A002 - JSON-RPC's own word
    named = b'"id":%b,' % id if id else b""
    return says(b'{"jsonrpc":"2.0",%b"method":"%b","params":{"sessionId":"session-1",%b}}' % (named, method, members))


def lines_of_turn(wire: Wire, session: str) -> list[bytes]:
    """Every line of a turn, the reply last; its session's id as `<session>`."""
    prompt = wire.start(session)
    lines = [wire.next_line()]
    while json.loads(lines[-1]).get("id") != prompt or b'"method"' in lines[-1]:
        lines.append(wire.next_line())
    return [line.replace(session.encode(), b"<session>") for line in lines]


def test_an_agents_updates_pass_as_they_were_written(tmp_path: Path) -> None:
    """Kinds of later versions, vendors' members and exact numbers must reach an editor that knows them."""
    updates = [
        b'"update":{"sessionUpdate":"agent_message_chunk","messageId":"m",%b,"_meta":%b},"_meta":%b'
        % (CONTENT, ODD, ODD),
        b'"update":{"sessionUpdate":"not_invented_yet","what":%b},"more":%b' % (ODD, ODD),
        b'"update":{"sessionUpdate":"tool_call","toolCallId":"c","title":"t","rawInput":%b}' % ODD,
        b'"update":{"sessionUpdate":"agent_thought_chunk","messageId":null,%b}' % CONTENT,
    ]
    script = {"turns": [[from_agent(b"session/update", update) for update in updates]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        *shown, last, _ = lines_of_turn(wire, wire.open())

    head = b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"<session>",%b}}'
    assert [head % update for update in updates[:-1]] == shown
    assert CONTENT in last


def test_an_agents_requests_and_extensions_pass_as_they_were_written(tmp_path: Path) -> None:
    """A permission's `_meta` carries what vendors' editors show; an extension is nobody's business but theirs."""
    asks = [
        (
            b"session/request_permission",
            b'"toolCall":{"toolCallId":"c","rawInput":%b},"options":[],"_meta":%b' % (ODD, ODD),
        ),
        (b"_vendor/asks", b'"params":%b' % ODD),
        (b"terminal/create", b'"command":"c","env":[],"unknown":%b' % ODD),
    ]
    script = {
        "turns": [
            [
                *(from_agent(method, members, b"%d" % (100 + number)) for number, (method, members) in enumerate(asks)),
                from_agent(b"_vendor/tells", b'"n":%b' % ODD),
                {"do": "waitCancel"},
            ]
        ]
    }
    with Wire(tmp_path, chain(main=script)) as wire:
        session = wire.open()
        prompt = wire.start(session)
        lines = [wire.next_line().replace(session.encode(), b"<session>") for _ in range(4)]
        wire.cancel(session)
        wire.until_reply(prompt)

    head = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":{"sessionId":"<session>",%b}}'
    expected = [head % (number, method, members) for number, (method, members) in enumerate(asks, 1)]
    assert expected == lines[:3]
    assert b'{"jsonrpc":"2.0","method":"_vendor/tells","params":{"sessionId":"<session>","n":%b}}' % ODD == lines[3]


def test_what_an_editor_says_reaches_the_agent_as_it_was_written(tmp_path: Path) -> None:
    """Prompt, set-up, settings, capabilities, extensions: known members and unknown ones."""
    heard = tmp_path / "heard"
    prompt = b'[%b,{"type":"not_invented_yet","what":%b}]' % (CONTENT.removeprefix(b'"content":'), ODD)
    with Wire(tmp_path, chain(main=overheard({}, heard))) as wire:
        capabilities = b'{"fs":{"readTextFile":true},"_meta":%b,"unknown":1.0}' % ODD
        info = b'{"name":"e","version":"1","_meta":%b}' % ODD
        wire.send(
            b'{"id":0,"method":"initialize","params":{"protocolVersion":1,"clientCapabilities":%b,"clientInfo":%b}}'
            % (capabilities, info)
        )
        wire.until_reply(0)
        work = json.dumps(str(tmp_path)).encode()
        wire.send(b'{"id":1,"method":"session/new","params":{"cwd":%b,"mcpServers":[],"_meta":%b}}' % (work, ODD))
        session = json.dumps(wire.until_reply(1).reply["result"]["sessionId"]).encode()
        wire.send(
            b'{"id":2,"method":"session/prompt","params":{"sessionId":%b,"prompt":%b,"_meta":%b,"unknown":%b}}'
            % (session, prompt, ODD, ODD)
        )
        wire.until_reply(2)
        wire.send(b'{"id":3,"method":"_vendor/asks","params":{"sessionId":%b,"n":%b}}' % (session, ODD))
        wire.until_reply(3)
        wire.send(
            b'{"id":4,"method":"session/set_mode","params":{"sessionId":%b,"modeId":"m","_meta":%b}}' % (session, ODD)
        )
        wire.until_reply(4)
    got = {json.loads(line)["method"]: line for line in heard.read_bytes().split(b"\n") if line}

    # The agent that tells of itself is started once more for the session: both times it is told the same.
    assert b'"clientCapabilities":%b' % capabilities in got["initialize"]
    assert b'"clientInfo":%b' % info in got["initialize"]
    assert b'"_meta":%b' % ODD in got["session/new"]
    assert b'"prompt":%b' % prompt in got["session/prompt"]
    assert b'"_meta":%b,"unknown":%b' % (ODD, ODD) in got["session/prompt"]
    assert b'"method":"_vendor/asks","params":{"sessionId":"session-1","n":%b}' % ODD in got["_vendor/asks"]
    assert b'"modeId":"m","_meta":%b' % ODD in got["session/set_mode"]


def test_an_agents_answers_pass_as_they_were_written(tmp_path: Path) -> None:
    """Its `_meta` is merged with ours; numbers of its usage are not rounded; an error's data is the agent's own."""
    script = {
        "calls": {
            "session/set_mode": [says(b'{"id":3,"result":{"_meta":%b}}' % ODD), {"do": "stall"}],
            "_vendor/asks": [says(b'{"id":4,"result":{"x":%b}}' % ODD), {"do": "stall"}],
            "_vendor/fails": [says(b'{"id":5,"error":{"code":7,"message":"m","data":%b}}' % ODD), {"do": "stall"}],
        },
        "turns": [
            [
                {"do": "say", "text": "hi"},
                says(b'{"id":2,"result":{"stopReason":"end_turn","usage":%b,"_meta":{"mine":%b}}}' % (ODD, ODD)),
                {"do": "stall"},
            ]
        ],
    }
    with Wire(tmp_path, chain(main=script)) as wire:
        session = wire.open()
        reply = lines_of_turn(wire, session)[-1]
        wire.say("session/set_mode", {"sessionId": session, "modeId": "m"}, "a")
        mode = wire.next_line()
        wire.say("_vendor/asks", {"sessionId": session}, "b")
        asked = wire.next_line()
        wire.say("_vendor/fails", {"sessionId": session}, "c")
        failed = wire.next_line()

    assert b'"usage":%b' % ODD in reply
    assert b'"_meta":{"mine":%b,"acp-broker":{' % ODD in reply
    assert b'{"jsonrpc":"2.0","id":"a","result":{"_meta":%b}}' % ODD == mode
    assert b'{"jsonrpc":"2.0","id":"b","result":{"x":%b}}' % ODD == asked
    assert b'{"jsonrpc":"2.0","id":"c","error":{"code":7,"message":"m","data":%b}}' % ODD == failed


def test_an_agents_broken_bytes_are_skipped_and_half_an_emoji_is_mended(tmp_path: Path) -> None:
    """An editor that decodes strictly would lose its connection over one byte of an agent's."""
    head = b'"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"%b"}}'
    steps = [
        from_agent(b"session/update", head % b"\xff"),
        from_agent(b"session/update", head % rb"cut \ud83d"),
        says(b'{"jsonrpc":"2.0","method":"$/cancel_request"}'),
        says(b'{"jsonrpc":"2.0","method":"_vendor/tells","params":[1]}'),
        says(b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"result":{}}'),
        says(b'{"jsonrpc":"2.0","method":"session/update","params":' + b"[" * 9000 + b"]" * 9000 + b"}"),
        {"do": "say", "text": "done"},
    ]
    with Wire(tmp_path, chain(main={"turns": [steps]})) as wire:
        turn = wire.prompt(wire.open())

    assert ["say cut \ufffd", "say done"] == turn.words
