"""Whatever ids an agent and an editor choose, each answer finds the one who asked, and nobody else."""

import json
import uuid
from pathlib import Path

from tests.support.broker import chain
from tests.support.wire import Wire, overheard, says

ASK = (
    b'{"jsonrpc":"2.0","id":%b,"method":"session/request_permission","params":{"sessionId":"session-1",'
    b'"toolCall":{"toolCallId":"c"},"options":[]}}'
)
OUTCOME = b'{"outcome":{"outcome":"selected","optionId":"\\u0061"},"_meta":{"n":1.50}}'
IDS = [b"0", b"-1", b'"0"', b'""', b'"\\u00e9\\/"', b"1.50", b"null", b"1" * 30, f'"{uuid.UUID(int=5)}"'.encode()]


def cancelled(wire: Wire, session: str, prompt: int) -> None:
    """End a turn whose agent waits for it: by then the agent has been sent all that came before."""
    wire.cancel(session)
    assert "cancelled" == wire.until_reply(prompt).reply["result"]["stopReason"]


def test_an_agents_ids_of_any_form_come_back_as_they_were_written(tmp_path: Path) -> None:
    """JSON-RPC 2.0, section 5. The answers themselves pass as the editor wrote them."""
    heard = tmp_path / "heard"
    script = {"turns": [[*(says(ASK % written) for written in IDS), {"do": "waitCancel"}]]}
    with Wire(tmp_path, chain(main=overheard(script, heard))) as wire:
        session = wire.open()
        prompt = wire.start(session)
        for _ in IDS:
            ask = wire.until_method("session/request_permission")
            wire.send(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (ask["id"], OUTCOME))
        cancelled(wire, session, prompt)

    assert [b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (written, OUTCOME) for written in IDS] == answers_in(heard)


def answers_in(heard: Path) -> list[bytes]:
    return [line for line in heard.read_bytes().splitlines() if b'"method"' not in line]


def test_an_agents_id_may_be_used_again_once_it_was_answered(tmp_path: Path) -> None:
    """Agents exist that number the requests of each turn from 0."""
    heard = tmp_path / "heard"
    script = {"turns": [[says(ASK % b"0"), {"do": "waitCancel"}]]}
    with Wire(tmp_path, chain(main=overheard(script, heard))) as wire:
        session = wire.open()
        for number in range(2):
            prompt = wire.start(session)
            wire.answer(wire.until_method("session/request_permission"), {"outcome": {"outcome": f"{number}"}})
            cancelled(wire, session, prompt)

    assert ["0", "1"] == [json.loads(line)["result"]["outcome"]["outcome"] for line in answers_in(heard)]


def test_each_answer_reaches_the_agent_that_asked_though_both_count_from_0(tmp_path: Path) -> None:
    """Two sessions have a process each; their questions have one and the same id, and cross on the wire."""
    asks = [{"do": "askPermission", "title": "1"}, {"do": "sayAnswer"}] * 3
    with Wire(tmp_path, chain(main={"turns": [asks]})) as wire:
        first = wire.open()
        second = wire.new()
        prompts = {wire.start(first): first, wire.start(second): second}
        open_asks: list[dict] = []
        for _ in range(3):
            while len(open_asks) < 2:
                open_asks.append(wire.until_method("session/request_permission"))
            # The latest question first.
            while open_asks:
                ask = open_asks.pop()
                choice = "first" if ask["params"]["sessionId"] == first else "second"
                wire.answer(ask, {"outcome": {"outcome": "selected", "optionId": choice}})
        for prompt in prompts:
            if not any(message.get("id") == prompt and "result" in message for message in wire.heard):
                wire.until_reply(prompt)
        said = {session: [] for session in (first, second)}
        for message in wire.heard:
            if message.get("method") == "session/update":
                said[message["params"]["sessionId"]].append(message["params"]["update"]["content"]["text"])

    assert {first: ["first"] * 3, second: ["second"] * 3} == said


def test_answers_that_nobody_asked_for_change_nothing(tmp_path: Path) -> None:
    """Of an answer that comes twice the first one counts; one to a question that is not put yet is nobody's."""
    script = {"turns": [[{"do": "askPermission"}, {"do": "sayAnswer"}, {"do": "askPermission"}, {"do": "sayAnswer"}]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        session = wire.open()
        prompt = wire.start(session)
        ask = wire.until_method("session/request_permission")
        wire.send(
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"m"}}',
            b'{"jsonrpc":"2.0","id":"%d","result":{"outcome":{"outcome":"selected","optionId":"a string"}}}'
            % ask["id"],
            b'{"jsonrpc":"2.0","id":%d,"result":{"outcome":{"outcome":"selected","optionId":"early"}}}'
            % (ask["id"] + 1),
        )
        wire.answer(ask, {"outcome": {"outcome": "selected", "optionId": "allow"}})
        wire.answer(ask, {"outcome": {"outcome": "selected", "optionId": "twice"}})
        wire.answer(wire.until_method("session/request_permission"), {"outcome": {"outcome": "cancelled"}})
        turn = wire.until_reply(prompt)
        said = [
            message["params"]["update"]["content"]["text"]
            for message in wire.heard
            if "update" in message.get("params", {})
        ]

    assert ["allow", "cancelled"] == said
    assert "end_turn" == turn.reply["result"]["stopReason"]


def test_an_agents_strings_for_ids_meet_nobody_elses(tmp_path: Path) -> None:
    """Some agents name their requests by strings; the editor sees only ours."""
    script = {"requestIds": "strings", "turns": [[{"do": "readFile", "path": "a"}, {"do": "sayAnswer"}]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        wire.answers["fs/read_text_file"] = {"content": "what is in it"}
        turn = wire.prompt(wire.open())

    assert ["say what is in it"] == turn.words


def test_an_agent_that_takes_its_question_back_is_not_answered_by_the_editor(tmp_path: Path) -> None:
    """ACP v1, cancellation: the editor is told under the id that it knows, and a late answer goes nowhere."""
    script = {"turns": [[{"do": "askPermission", "withdrawMs": 20}, {"do": "sayAnswer"}]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        session = wire.open()
        prompt = wire.start(session)
        ask = wire.until_method("session/request_permission")
        withdrawn = wire.until_method("$/cancel_request")
        wire.answer(ask, {"outcome": {"outcome": "selected", "optionId": "late"}})
        turn = wire.until_reply(prompt)

    assert {"requestId": ask["id"]} == withdrawn["params"]
    assert "late" not in str(turn.words)


def test_a_form_that_belongs_to_the_prompt_names_it_by_the_editors_id(tmp_path: Path) -> None:
    """ACP v1, elicitation: `requestId` is a request of the client's. In a vendor's extension it is the vendor's own."""
    form = (
        b'{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":"form","message":"m","requestId":2,'
        b'"requestedSchema":{"type":"object"}}}'
    )
    vendors = b'{"jsonrpc":"2.0","id":2,"method":"_vendor/asks","params":{"requestId":2}}'
    script = {"turns": [[says(form), says(vendors), {"do": "waitCancel"}]]}
    with Wire(tmp_path, chain(main=script), capabilities={"elicitation": {"form": {}}}) as wire:
        session = wire.open()
        wire.say("session/prompt", {"sessionId": session, "prompt": []}, "mine")
        named = [wire.until_method(method)["params"]["requestId"] for method in ("elicitation/create", "_vendor/asks")]
        wire.cancel(session)
        wire.until_reply("mine")

    assert ["mine", 2] == named


def test_a_question_of_another_shape_is_the_editors_to_refuse(tmp_path: Path) -> None:
    """The editor knows the schema; an agent that breaks it must get an answer, and its turn must go on."""
    odd = b'{"id":1,"method":"session/request_permission","params":{"sessionId":"session-1","toolCall":5}}'
    heard = tmp_path / "heard"
    script = {"turns": [[says(odd), says(ASK % b"2"), {"do": "waitCancel"}]]}
    with Wire(tmp_path, chain(main=overheard(script, heard))) as wire:
        session = wire.open()
        prompt = wire.start(session)
        asked = [wire.until_method("session/request_permission") for _ in range(2)]
        for ask in asked:
            wire.write({"id": ask["id"], "error": {"code": -32602, "message": "no tool call"}})
        cancelled(wire, session, prompt)

    assert 5 == asked[0]["params"]["toolCall"]
    assert [1, 2] == [json.loads(line)["id"] for line in answers_in(heard)]
