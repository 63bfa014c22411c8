"""What a broker starts ends with it, whichever way it ends, and never sooner because of another broker."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, agent, chain
from tests.support.processes import Seen, guardians_of, look

AT = {"do": "ext", "method": "_at"}
# An agent at its worst: it survives the end of stdin, SIGTERM and a cancel, and so do its children.
STUBBORN = {
    "turns": [
        [
            {"do": "ignoreCancel"},
            {"do": "spawn", "ignoreTerm": True},
            {"do": "spawn", "setsid": True, "ignoreTerm": True, "holdStdout": True},
            AT,
            {"do": "stall"},
        ]
    ],
    "exit": [{"do": "stall"}],
    "terminate": [{"do": "stall"}],
}


def in_the_middle(broker: BrokerProcess) -> tuple[str, int, list[Seen]]:
    """Bring a turn to where the agent has its family: the session, the prompt's id, the agent and its two children."""
    session = broker.open()
    request = broker.start(session)
    broker.until_at()
    everybody = broker.agents("primary")
    children = [seen for seen in everybody if seen.parent != broker.process.pid]
    family = [seen for seen in everybody if seen in children or seen.pid == children[0].parent]
    assert len(family) == 3
    return session, request, family


def stubborn(**limits: int) -> dict:
    return chain(primary=agent(STUBBORN, limits={"cancellingMs": 200, "stoppingMs": 100, **limits}))


def test_nothing_survives_the_sigkill_of_the_broker(tmp_path: Path) -> None:
    """Not even a grandchild that called setsid, ignores SIGTERM and holds our pipe: the guardian ends them."""
    with BrokerProcess(tmp_path, stubborn()) as broker:
        in_the_middle(broker)
        broker.kill()

        assert [] == broker.left_over()


@pytest.mark.parametrize("hook", ["initialize", "new"])
def test_nothing_survives_the_sigkill_of_the_broker_while_an_agent_opens(tmp_path: Path, hook: str) -> None:
    """It is ours from its first instruction on."""
    script = {
        hook: [{"do": "spawn", "setsid": True, "ignoreTerm": True}, AT, {"do": "stall"}],
        "exit": [{"do": "stall"}],
    }
    with BrokerProcess(tmp_path, chain(primary=script, limits={"learnMs": 1, "sessionNewMs": 1})) as broker:
        broker.open()
        broker.until_at()
        broker.kill()

        assert [] == broker.left_over()


def test_nothing_survives_the_sigkill_of_a_broker_that_is_starting_agents(tmp_path: Path) -> None:
    """Between fork and exec a child still looks like its broker; the guardian looks until it is sure."""
    with BrokerProcess(tmp_path, chain(primary={"exit": [{"do": "stall"}]}, limits={"learnMs": 1})) as broker:
        broker.write(
            broker.asking("initialize", protocolVersion=1, clientCapabilities={}),
            *(broker.asking("session/new", cwd=str(broker.work), mcpServers=[]) for _ in range(8)),
        )
        broker.until(lambda message: message.get("id") == 1)
        broker.kill()

        assert [] == broker.left_over()


def test_nothing_survives_the_sigkill_of_broker_and_guardian(tmp_path: Path) -> None:
    """The next broker of the same user sweeps what still carries the dead one's marker."""
    with BrokerProcess(tmp_path, stubborn()) as broker:
        in_the_middle(broker)
        for guardian in guardians_of(broker.seen):
            os.kill(guardian.pid, signal.SIGKILL)
        broker.kill()
        (tmp_path / "next").mkdir()
        with BrokerProcess(tmp_path / "next", chain(primary={}), home=broker.home) as following:
            following.initialize()

            assert [] == broker.left_over()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_turn_and_everything(tmp_path: Path, number: signal.Signals) -> None:
    """Whoever stops the broker politely gets the turn's reply, exit status 0, and no process left."""
    with BrokerProcess(tmp_path, stubborn()) as broker:
        _, request, _ = in_the_middle(broker)
        broker.process.send_signal(number)
        reply = broker.until_reply(request).reply
        broker.ended()

    assert "cancelled" == reply["result"]["stopReason"]


def test_the_end_of_stdin_cancels_the_turn_and_ends_everything(tmp_path: Path) -> None:
    """An editor that closes: the agent may end its turn, the reply is still written, then all of it is gone."""
    script = {"turns": [[AT, {"do": "waitCancel", "steps": [{"do": "say", "text": "tidied up"}]}]]}
    with BrokerProcess(tmp_path, chain(primary=script)) as broker:
        request = broker.start(broker.open())
        broker.until_at()
        broker.process.stdin.close()
        turn = broker.until_reply(request)
        broker.ended()

    assert ["say tidied up"] == turn.words
    assert "cancelled" == turn.reply["result"]["stopReason"]


def test_the_end_of_stdin_does_not_wait_for_an_agent_that_ignores_it(tmp_path: Path) -> None:
    """The grace is bounded: what does not end by itself is ended, family and all."""
    with BrokerProcess(tmp_path, stubborn()) as broker:
        _, request, _ = in_the_middle(broker)
        broker.process.stdin.close()
        reply = broker.until_reply(request).reply
        broker.ended()

    assert "cancelled" == reply["result"]["stopReason"]


@pytest.mark.parametrize("late", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_ends_its_agents_changes_nothing(tmp_path: Path, late: signal.Signals) -> None:
    """An editor closes stdin, waits a little and sends SIGTERM: the agents are still ended by us, not left behind."""
    slow = {"exit": [{"do": "spawn"}, {"do": "stall"}], "terminate": [{"do": "stall"}]}
    with BrokerProcess(tmp_path, chain(primary=slow)) as broker:
        broker.prompt(broker.open())
        broker.process.stdin.close()
        broker.until_agents("primary", 2)  # it has seen the end of its stdin, and is in no hurry
        broker.process.send_signal(late)
        broker.ended()


def test_the_end_of_stdin_while_an_agent_is_being_opened_leaves_nothing(tmp_path: Path) -> None:
    """It hangs in initialize and has nobody's attention yet; it is ours all the same."""
    script = {"initialize": [{"do": "spawn", "setsid": True}, AT, {"do": "stall"}]}
    with BrokerProcess(tmp_path, chain(primary=script, limits={"learnMs": 1, "sessionNewMs": 1})) as broker:
        broker.open()
        broker.until_at()
        broker.leave()


def test_a_failed_attempt_leaves_nothing_before_the_next_begins(tmp_path: Path) -> None:
    """Two agents never share a workspace: the silent one, its family included, is gone when the spare speaks."""
    spare = {"turns": [[{"do": "say", "text": "spare here"}]]}
    config = chain(primary=stubborn(firstOutputMs=500)["backends"]["primary"], spare=spare)
    with BrokerProcess(tmp_path, config) as broker:
        _, request, family = in_the_middle(broker)
        broker.until(lambda message: message.get("method") == "session/update")
        alive = [seen for seen in family if look(seen.pid) is not None]
        turn = broker.until_reply(request)

    assert ["primary silent", "spare"] == turn.attempts
    assert [] == alive


def test_brokers_leave_each_others_children_alone(tmp_path: Path) -> None:
    """One is killed and a third starts with its sweep, while the second works; all with the same state folder."""
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    home = tmp_path / "state"
    waiting = {"turns": [[AT, {"do": "waitCancel", "steps": [{"do": "say", "text": "still here"}]}]]}
    with (
        BrokerProcess(folders[0], stubborn(), home=home) as one,
        BrokerProcess(folders[1], chain(primary=waiting), home=home) as two,
    ):
        session = two.open()
        request = two.start(session)
        two.until_at()
        in_the_middle(one)
        one.kill()
        assert [] == one.left_over()
        with BrokerProcess(folders[2], chain(primary={}), home=home) as three:
            three.prompt(three.open())
        two.cancel(session)
        turn = two.until_reply(request)

    assert ["say still here"] == turn.words


def test_an_orphan_of_a_living_agent_ends_with_the_agent(tmp_path: Path) -> None:
    """An agent that dies in mid-turn leaves a child of another session behind: it must not outlive the attempt."""
    dies = {"turns": [[{"do": "spawn", "setsid": True, "ignoreTerm": True}, {"do": "die"}]]}
    with BrokerProcess(tmp_path, chain(primary=dies, spare={})) as broker:
        broker.initialize()
        session = broker.new()
        before = {seen.pid for seen in broker.agents("primary")}
        turn = broker.prompt(session)
        left = [seen for seen in broker.agents("primary") if seen.pid not in before]

    assert ["primary crashed", "spare"] == turn.attempts
    assert [] == left
