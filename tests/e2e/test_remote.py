"""A chain across machines: a broker whose backend is another broker, over WebSocket and TLS; exactly one answer."""

import subprocess
from pathlib import Path

from tests.support.certificates import trust
from tests.support.cutting_proxy import CuttingProxy
from tests.support.two_brokers import box, far, near, port_of, trusts

DIES = {"turns": [[{"do": "die"}]]}
OVERLOADED = {"turns": [[{"do": "fail", "message": "529 overloaded"}]]}
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
# It says that it has the prompt, which shows nothing: its own broker holds that back, and logs it.
STALLS = {"turns": [[{"do": "ext", "method": "_at"}, {"do": "stall"}]]}
TOKEN = "one-word-for-both-of-them"
HAS_PROMPT = "notification_held"
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
BRIEF = {"reconnectMs": 200}
PERMISSION = "session/request_permission"
NUMBERS = {"_meta": {"acp-broker": {"seq": True}}}


def says(text: str, chunks: int = 1) -> dict:
    return {"turns": [[{"do": "say", "text": text, "chunks": chunks, "everyMs": 1}]]}


def text_of(words: list[str]) -> str:
    return "".join(word.removeprefix("say ") for word in words if word.startswith("say "))


def test_a_turn_is_answered_by_an_agent_of_the_other_machine(tmp_path: Path) -> None:
    """The whole way, healthy; and who answered there is told here."""
    with far(tmp_path, main=says("from afar")) as daemon, near(tmp_path, daemon, spare=SPARE) as broker:
        turn = broker.prompt(broker.open())

    assert ("from afar", ["box"]) == (text_of(turn.words), turn.attempts)
    assert ("main", [{"backend": "main"}]) == (
        turn.told["remote"]["backend"],
        [{"backend": one["backend"]} for one in turn.told["remote"]["attempts"]],
    )


def test_the_other_machine_fails_over_by_itself(tmp_path: Path) -> None:
    """Its chain is its own business; the story has both."""
    with far(tmp_path, main=DIES, second=says("second")) as daemon, near(tmp_path, daemon, spare=SPARE) as broker:
        turn = broker.prompt(broker.open())
        tried = [(one["backend"], one.get("failure")) for one in turn.told["remote"]["attempts"]]

    assert ("second", ["box"]) == (text_of(turn.words), turn.attempts)
    assert [("main", "crashed"), ("second", None)] == tried


def test_a_chain_that_failed_as_a_whole_over_there_goes_on_here(tmp_path: Path) -> None:
    """One failure domain is used up; the next backend is another."""
    with (
        far(tmp_path, main=OVERLOADED, second=OVERLOADED) as daemon,
        near(tmp_path, daemon, spare=SPARE) as broker,
    ):
        turn = broker.prompt(broker.open())

    assert ("spare", ["box server_error", "spare"]) == (text_of(turn.words), turn.attempts)
    assert "All ACP backends failed (2): main" in turn.told["attempts"][0]["text"]


def test_a_wrong_token_is_named_and_the_next_backend_answers(tmp_path: Path) -> None:
    """And it stands in no log."""
    with far(tmp_path, main=says("x")) as daemon, near(tmp_path, daemon, token="wrong-word", spare=SPARE) as broker:
        turn = broker.prompt(broker.open())
        logged = broker.log_file.read_text()

    assert ("spare", ["box auth_rejected", "spare"]) == (text_of(turn.words), turn.attempts)
    assert "wrong-word" not in logged


def test_the_longest_message_is_what_config_says(tmp_path: Path) -> None:
    """Who has raised it for an agent here, or lowered it, means those elsewhere, too."""
    with (
        far(tmp_path, main=says("y" * 66_000)) as daemon,
        near(tmp_path, daemon, own={"maxMessageBytes": 65_536}) as broker,
    ):
        turn = broker.prompt(broker.open())

    assert "sent a message longer than `limits.maxMessageBytes`" in turn.reply["error"]["message"]


def test_a_permission_goes_the_whole_way_and_back(tmp_path: Path) -> None:
    """A person is asked here what an agent there wants to do."""
    script = {"turns": [[{"do": "askPermission", "toolCallId": "call-1"}, {"do": "sayAnswer"}]]}
    with far(tmp_path, main=script) as daemon, near(tmp_path, daemon) as broker:
        broker.answers[PERMISSION] = ALLOW
        turn = broker.prompt(broker.open())

    assert "allow" == text_of(turn.words)


def test_a_cancel_reaches_the_agent_over_there(tmp_path: Path) -> None:
    """Else it would work on, and be paid for."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    with far(tmp_path, main=script) as daemon, near(tmp_path, daemon) as broker:
        session = broker.open()
        prompt = broker.start(session)
        broker.until_method("session/update")
        broker.cancel(session)
        reply = broker.until_reply(prompt).reply
        over = daemon.until_logged("turn_over")

    assert ("cancelled", "cancelled") == (reply["result"]["stopReason"], over["stop_reason"])


def test_a_session_is_taken_up_by_the_next_broker_with_all_that_was_said(tmp_path: Path) -> None:
    """The other machine's session outlives ours: both turns are of one."""
    with far(tmp_path, main=says("one")) as daemon:
        with near(tmp_path, daemon) as broker:
            session = broker.open()
            broker.prompt(session)
        with near(tmp_path, daemon) as broker:
            broker.initialize()
            broker.call("session/load", sessionId=session, cwd=str(broker.work), mcpServers=[])
            turn = broker.prompt(session)
        sessions = [line["session"] for line in daemon.log("turn_over")]

    assert ("one", 2, 1) == (text_of(turn.words), len(sessions), len(set(sessions)))


def test_words_of_a_turn_that_another_client_has_begun_are_not_ours(tmp_path: Path) -> None:
    """A session over there is open to its own machine, too; our prompt waits for its turn."""
    asks = [{"do": "askPermission", "toolCallId": "call-1"}, {"do": "say", "text": "theirs"}]
    script = {"turns": [[{"do": "ifText", "contains": "ask", "steps": asks, "else": [{"do": "say", "text": "ours"}]}]]}
    with far(tmp_path, main={"kind": "scripted", "script": script}) as daemon, near(tmp_path, daemon) as broker:
        session = broker.open()
        broker.prompt(session)
        there = daemon.log("turn_over")[0]["session"]
        other = daemon.websocket(daemon.token, ssl=trust(Path(trusts(tmp_path))))
        other.call("initialize", protocolVersion=1, clientCapabilities=NUMBERS)
        other.call("session/load", sessionId=there, cwd=str(broker.work), mcpServers=[])
        theirs = other.start(there, "ask")
        question = other.until_method(PERMISSION)
        prompt = broker.start(session)
        other.until(lambda one: one.get("params", {}).get("state") == "queued" and "idempotencyKey" in one["params"])
        other.answer(question, ALLOW)
        turn = broker.until_reply(prompt)
        other.until_reply(theirs)

    assert ("ours", ["box"]) == (text_of(turn.words), turn.attempts)


# --- the other machine dies


def test_killed_before_it_spoke_the_next_backend_answers(tmp_path: Path) -> None:
    """Nobody has seen anything: exactly one answer comes, from somebody else."""
    with (
        far(tmp_path, main=STALLS) as daemon,
        near(tmp_path, daemon, limits=BRIEF, spare=SPARE) as broker,
    ):
        prompt = broker.start(broker.open())
        daemon.until_logged(HAS_PROMPT)
        daemon.kill()
        turn = broker.until_reply(prompt)

    assert ("spare", ["box crashed", "spare"]) == (text_of(turn.words), turn.attempts)


def test_killed_after_it_spoke_the_words_stay_and_nobody_else_is_tried(tmp_path: Path) -> None:
    """The promise of the commit point holds across machines."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    with (
        far(tmp_path, main=script) as daemon,
        near(tmp_path, daemon, limits=BRIEF, spare=SPARE) as broker,
    ):
        prompt = broker.start(broker.open())
        heard = broker.until_method("session/update")
        daemon.kill()
        turn = broker.until_reply(prompt)

    assert "half" == heard["params"]["update"]["content"]["text"]
    assert (-33002, "") == (turn.reply["error"]["code"], text_of(turn.words))
    assert "could not be taken up again within 0.2 s" in turn.reply["error"]["message"]


def test_restarted_in_a_turn_it_runs_nothing_again(tmp_path: Path) -> None:
    """Its agent may have acted. The words stay, with one error that says what happened over there."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    with (
        far(tmp_path, main=script) as daemon,
        CuttingProxy(port_of(daemon)) as proxy,
        near(tmp_path, daemon, port=proxy.port, spare=SPARE) as broker,
    ):
        prompt = broker.start(broker.open())
        broker.until_method("session/update")
        daemon.kill()
        with far(tmp_path, main=script) as second:
            proxy.to = port_of(second)
            turn = broker.until_reply(prompt)
            runs = second.log("turn_over")

    assert (-33002, "", []) == (turn.reply["error"]["code"], text_of(turn.words), runs)
    assert "acp-broker ended before this prompt had its answer" in turn.reply["error"]["message"]


def test_restarted_before_a_word_the_next_backend_answers(tmp_path: Path) -> None:
    """It says itself that the turn is lost: nobody waits any longer."""
    with (
        far(tmp_path, main=STALLS) as daemon,
        CuttingProxy(port_of(daemon)) as proxy,
        near(tmp_path, daemon, port=proxy.port, limits={"reconnectMs": 20_000}, spare=SPARE) as broker,
    ):
        prompt = broker.start(broker.open())
        daemon.until_logged(HAS_PROMPT)
        daemon.kill()
        with far(tmp_path, main=STALLS) as second:
            proxy.to = port_of(second)
            turn = broker.until_reply(prompt)

    assert ("spare", ["box crashed", "spare"]) == (text_of(turn.words), turn.attempts)


def test_a_turn_that_was_given_up_is_cancelled_when_the_way_is_there_again(tmp_path: Path) -> None:
    """Nobody could tell it so before; it would go on, at somebody's cost."""
    with (
        far(tmp_path, main=STALLS) as daemon,
        CuttingProxy(port_of(daemon)) as proxy,
        near(tmp_path, daemon, port=proxy.port, limits=BRIEF, spare=SPARE) as broker,
    ):
        session = broker.open()
        prompt = broker.start(session)
        daemon.until_logged(HAS_PROMPT)
        there, proxy.to = proxy.to, 1  # nobody listens there
        proxy.lose()
        turn = broker.until_reply(prompt)
        proxy.to = there
        over = daemon.until_logged("turn_over")

    assert ("spare", "cancelled") == (text_of(turn.words), over["stop_reason"])


def test_two_brokers_that_name_each_other_end_with_one_clear_error(tmp_path: Path) -> None:
    """And not with a prompt that goes to and fro until somebody's money is gone."""
    with CuttingProxy(1) as to_far, CuttingProxy(1) as to_near:
        env = {"BOX_TOKEN": TOKEN, "OWN_TOKEN": TOKEN, "SSL_CERT_FILE": trusts(tmp_path)}
        with (
            far(tmp_path, env=env, back=box(to_near.port)) as daemon,
            far(tmp_path, "near", env=env, box=box(to_far.port)) as front,
        ):
            to_far.to, to_near.to = port_of(daemon), port_of(front)
            bridge = front.websocket(TOKEN, ssl=trust(Path(trusts(tmp_path))))
            turn = bridge.prompt(bridge.open())

    error = turn.reply["error"]
    assert (-33001, True) == (error["code"], "leads back to this one" in error["message"]), error


def test_check_connects_and_says_what_is_wrong(tmp_path: Path) -> None:
    """Before the first prompt does."""
    with far(tmp_path, main=says("x")) as daemon, near(tmp_path, daemon) as broker:
        good = subprocess.run(broker.command("check"), env=broker.env, capture_output=True, text=True, check=False)
        env = {**broker.env, "BOX_TOKEN": "wrong-word"}
        bad = subprocess.run(broker.command("check"), env=env, capture_output=True, text=True, check=False)

    assert (0, True) == (good.returncode, "box  primary  ACP Broker" in good.stdout)
    assert "auth_rejected" in bad.stdout
    assert "put the token that it takes into $BOX_TOKEN" in bad.stdout
    assert "can  " in good.stdout
    assert not {"can", "starts"} & {line.split()[0] for line in bad.stdout.splitlines() if line.startswith("  ")}
    assert "wrong-word" not in bad.stdout + bad.stderr
