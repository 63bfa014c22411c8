"""Between two brokers a connection that is lost anywhere loses no turn and no word, and brings none twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess
from tests.support.cutting_proxy import CuttingProxy
from tests.support.daemon import Daemon
from tests.support.heard import Turn
from tests.support.two_brokers import far, near, port_of

ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
PERMISSION = "session/request_permission"
WORDS = "".join(f"<{number}>" for number in range(40))
ASKS = [{"do": "askPermission", "toolCallId": "call-1"}, {"do": "sayAnswer"}, {"do": "say", "text": WORDS, "chunks": 9}]
SCRIPT = {
    "turns": [
        [{"do": "ifText", "contains": "ask", "steps": ASKS, "else": [{"do": "say", "text": WORDS, "chunks": 40}]}]
    ]
}
# Both ways, from within the handshake of the next connection to behind the last word: TLS hides where a message ends.
SERVER, CLIENT = range(150, 9_000, 737), range(50, 1_200, 191)


class Line:
    """A broker, another one behind it, and the proxy between them."""

    def __init__(self, daemon: Daemon, proxy: CuttingProxy, broker: BrokerProcess) -> None:
        self.daemon = daemon
        self.proxy = proxy
        self.broker = broker

    def prompt(self, text: str = "hello", **cut: int) -> tuple[Turn, int, int]:
        """A turn in a session of its own whose connection is cut; how often it was, and how often the turn was run."""
        session = self.broker.new()
        cuts, runs = self.proxy.cuts, len(self.daemon.log("turn_over"))
        self.proxy.cut_after(**{"client": 1 << 30, "server": 1 << 30, **cut})
        turn = self.broker.prompt(session, text)
        self.proxy.cut_after()
        return turn, self.proxy.cuts - cuts, len(self.daemon.log("turn_over")) - runs


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder: Path = tmp_path_factory.mktemp("cuts")
    with (
        far(folder, main={"kind": "scripted", "script": SCRIPT}) as daemon,
        CuttingProxy(port_of(daemon)) as proxy,
        near(folder, daemon, port=proxy.port) as broker,
    ):
        broker.initialize()
        broker.answers[PERMISSION] = ALLOW
        yield Line(daemon, proxy, broker)


def text_of(turn: Turn) -> str:
    return "".join(word.removeprefix("say ") for word in turn.words if word.startswith("say "))


@pytest.mark.parametrize("after", SERVER)
def test_cut_after_any_number_of_bytes_from_there(line: Line, after: int) -> None:
    """In the words, in the answer, behind it."""
    turn, cuts, runs = line.prompt(server=after)

    assert (WORDS, "end_turn", 1, 1) == (text_of(turn), turn.reply["result"]["stopReason"], cuts, runs)


@pytest.mark.parametrize("after", CLIENT)
def test_cut_after_any_number_of_bytes_to_there(line: Line, after: int) -> None:
    """The prompt may have arrived, or not."""
    turn, _, runs = line.prompt("x" * 1_000, client=after)

    assert (WORDS, "end_turn", 1) == (text_of(turn), turn.reply["result"]["stopReason"], runs)


def test_a_question_is_asked_again_over_the_next_connection(line: Line) -> None:
    """The first one can be answered no more, and whoever sees it is told so; the second one is."""
    broker = line.broker
    session = broker.new()
    del broker.answers[PERMISSION]
    prompt = broker.start(session, "ask")
    first = broker.until_method(PERMISSION)
    line.proxy.lose()
    withdrawn = broker.until_method("$/cancel_request")
    second = broker.until_method(PERMISSION)
    broker.answers[PERMISSION] = ALLOW
    broker.answer(first, {"outcome": {"outcome": "selected", "optionId": "reject"}})
    broker.answer(second, ALLOW)
    turn = broker.until_reply(prompt)

    assert (first["id"], f"allow{WORDS}") == (withdrawn["params"]["requestId"], text_of(turn))


def test_a_cancel_without_a_connection_arrives_with_the_next_one(tmp_path: Path) -> None:
    """Who stops a turn must not have to see whether the network is up."""
    script = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
    with (
        far(tmp_path, main=script) as daemon,
        CuttingProxy(port_of(daemon)) as proxy,
        near(tmp_path, daemon, port=proxy.port) as broker,
    ):
        session = broker.open()
        prompt = broker.start(session)
        broker.until_method("session/update")
        there, proxy.to = proxy.to, 1  # nobody listens there
        proxy.lose()
        broker.until_logged("connection_lost")
        broker.cancel(session)
        proxy.to = there
        turn = broker.until_reply(prompt)
        over = daemon.until_logged("turn_over")

    assert ("cancelled", "cancelled") == (turn.reply["result"]["stopReason"], over["stop_reason"])


def test_a_session_of_an_earlier_broker_gets_no_word_of_earlier_turns(tmp_path: Path) -> None:
    """Where it was taken up, its past was known: from there on counts what the connection had brought."""
    with far(tmp_path, main={"kind": "scripted", "script": SCRIPT}) as daemon, CuttingProxy(port_of(daemon)) as proxy:
        with near(tmp_path, daemon, port=proxy.port) as broker:
            session = broker.open()
            broker.prompt(session)
        with near(tmp_path, daemon, port=proxy.port) as broker:
            broker.initialize()
            broker.call("session/load", sessionId=session, cwd=str(broker.work), mcpServers=[])
            broker.call("_is_open", sessionId=session)  # whatever it says, it says it from there
            proxy.cut_before_next_word()
            turn = broker.prompt(session)

    assert (WORDS, 1) == (text_of(turn), proxy.cuts)


@pytest.mark.parametrize("after", [1, 300, 500, 900])
def test_cut_around_a_question_it_is_answered_once(line: Line, after: int) -> None:
    """A permission that was asked when the connection was lost is asked again, and the agent hears one answer."""
    turn, _, runs = line.prompt("ask", server=after)

    assert (f"allow{WORDS}", "end_turn", 1) == (text_of(turn), turn.reply["result"]["stopReason"], runs)
