"""Messages of any size: what is too long is refused by name, and what is long holds nobody up."""

import json
import sys
from pathlib import Path

from tests.support.broker import chain
from tests.support.wire import Wire, error_of

INVALID_REQUEST = -32600
LIMIT = 65_536
# The largest message of the official TypeScript SDK, and ours by default.
LARGEST = 32 * 1024 * 1024
SPEAKS = {"turns": [[{"do": "ifText", "contains": "x", "steps": [{"do": "say", "text": "got it"}], "else": [
    {"do": "repeat", "steps": [{"do": "say", "text": "tick"}, {"do": "stall", "ms": 2}]}]}]]}  # fmt: skip


def test_a_line_that_never_ends_is_refused_at_once_and_the_next_message_works(tmp_path: Path) -> None:
    """Waiting for its end would fill the memory; closing would cost the editor its sessions."""
    with Wire(tmp_path, chain(main={}, limits={"maxMessageBytes": LIMIT})) as wire:
        wire.initialize()
        wire.put(b'{"jsonrpc":"2.0","id":1,"method":"session/list","params":{"cwd":"' + b"x" * LIMIT)
        told = json.loads(wire.next_line())
        wire.put(b"x" * (4 * LIMIT) + b'"}}\n')

        assert wire.lives()
    assert (1, INVALID_REQUEST) == error_of(told)
    assert "message is longer than the limit" == told["error"]["message"]


def test_a_message_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    """A limit is the largest size that works."""
    with Wire(tmp_path, chain(main={}, limits={"maxMessageBytes": LIMIT})) as wire:
        wire.initialize()
        head, tail = b'{"jsonrpc":"2.0","id":1,"method":"session/list","params":{"cwd":"/', b'"}}'
        line = head + b"x" * (LIMIT - len(head) - len(tail)) + tail
        fits = wire.answer_to(line)
        too_long = wire.answer_to(line[:-3] + b'x"}}')

    assert [] == fits["result"]["sessions"]
    assert (1, INVALID_REQUEST) == error_of(too_long)


def test_an_agents_message_that_passes_the_limit_is_garbled(tmp_path: Path) -> None:
    """The limit bounds what the broker keeps of anybody; the next one answers."""
    says_much = {"turns": [[{"do": "say", "text": "x" * LIMIT}]]}
    with Wire(tmp_path, chain(main=says_much, spare=SPEAKS, limits={"maxMessageBytes": LIMIT})) as wire:
        turn = wire.prompt(wire.open(), "x")

    assert (["main garbled", "spare"], ["say got it"]) == (turn.attempts, turn.words)


def test_the_largest_message_holds_up_nobody_else(tmp_path: Path) -> None:
    """While it comes in piece by piece another session's words go on; then it is taken like any other prompt."""
    with Wire(tmp_path, chain(main=SPEAKS)) as wire:
        large, other = wire.open(), wire.new()
        ticking = wire.start(other, "tick")
        wire.until_method("session/update")
        head = b'{"jsonrpc":"2.0","id":"large","method":"session/prompt","params":{"sessionId":"%b",' % large.encode()
        head += b'"prompt":[{"type":"text","text":"'
        tail = b'"}]}}'
        body = b"x" * (LARGEST - len(head) - len(tail))
        ticks = []
        for piece in (head + body[: LARGEST // 2], body[LARGEST // 2 :] + tail):
            wire.put(piece)
            ticks += [wire.until_method("session/update")["params"]["sessionId"] for _ in range(20)]
        wire.put(b"\n")
        got = wire.until(lambda message: message.get("id") == "large")
        wire.until_method("session/update")
        wire.cancel(other)
        ended = wire.until_reply(ticking).reply
        said = {message["params"]["update"]["content"]["text"]: message["params"]["sessionId"] for message in got[:-1]}

    assert [other] * 40 == ticks
    assert ("end_turn", "cancelled") == (got[-1]["result"]["stopReason"], ended["result"]["stopReason"])
    assert large == said["got it"]


def test_a_client_that_closes_behind_a_long_prompt_is_answered(tmp_path: Path) -> None:
    """The end of its stream comes while the prompt is read beside the event loop, and is seen behind it."""
    with Wire(tmp_path, chain(main=SPEAKS)) as wire:
        long = wire.start(wire.open(), "tick" * (1024 * 1024))
        wire.process.stdin.close()
        turn = wire.until_reply(long)

    assert "cancelled" == turn.reply["result"]["stopReason"]


def test_an_agent_that_reads_nothing_holds_up_nobody_but_itself(tmp_path: Path) -> None:
    """What it does not take waits outside the loop; it is silent, and the next one answers."""
    agent = [sys.executable, "-m", "backends.scripted"]
    two_lines = "for n in 1 2; do IFS= read -r line; printf '%s\\n' \"$line\"; done"
    deaf = {"kind": "acp", "command": ["/bin/sh", "-c", f'{{ {two_lines}; sleep 99; }} | "$@"', "sh", *agent]}
    with Wire(tmp_path, chain(deaf=deaf, main=SPEAKS, limits={"firstOutputMs": 500})) as wire:
        session = wire.open()
        prompt = wire.start(session, "x" * (8 * 1024 * 1024))
        listed = wire.until_reply(wire.request("session/list"))
        turn = wire.until_reply(prompt)

    assert [] == listed.words
    assert (["deaf silent", "main"], ["say got it"]) == (turn.attempts, turn.words)
