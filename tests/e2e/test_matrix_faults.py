"""Every other way in which a primary fails: it cannot be started, ends, goes mute, talks nonsense, answers with each
class of error, or with nothing, or with a lie. With `cancel` the fault is its answer to the user's cancel.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, agent, chain
from tests.support.matrix import Cell, Outcome, each, outcome, played

TABLE = """
# phase     fault      commit       cancel | reply     | shown                         | tried
spawn       ENOENT     first_output -      | end_turn  | say spare                     | primary unreachable, spare
spawn       ENOENT     submitted    -      | end_turn  | say spare                     | primary unreachable, spare
spawn       ENOENT     first_output cancel | cancelled | -                             | primary
spawn       EACCES     first_output -      | end_turn  | say spare                     | primary unreachable, spare
spawn       EACCES     submitted    -      | end_turn  | say spare                     | primary unreachable, spare
spawn       EACCES     first_output cancel | cancelled | -                             | primary
spawn       ENOEXEC    first_output -      | end_turn  | say spare                     | primary unreachable, spare
spawn       ENOEXEC    submitted    -      | end_turn  | say spare                     | primary unreachable, spare
spawn       ENOEXEC    first_output cancel | cancelled | -                             | primary
#
initialize  version    first_output -      | end_turn  | say spare                     | primary garbled, spare
initialize  exit0      first_output -      | end_turn  | say spare                     | primary crashed, spare
initialize  exit3      first_output -      | end_turn  | say spare                     | primary crashed, spare
initialize  eof        first_output -      | end_turn  | say spare                     | primary crashed, spare
initialize  garbage    first_output -      | end_turn  | say spare                     | primary garbled, spare
initialize  auth       first_output -      | end_turn  | say spare                     | primary auth_missing, spare
initialize  internal   first_output -      | end_turn  | say spare                     | primary unclassified, spare
new         exit0      first_output -      | end_turn  | say spare                     | primary crashed, spare
new         exit3      first_output -      | end_turn  | say spare                     | primary crashed, spare
new         eof        first_output -      | end_turn  | say spare                     | primary crashed, spare
new         garbage    first_output -      | end_turn  | say spare                     | primary garbled, spare
new         auth       first_output -      | end_turn  | say spare                     | primary auth_missing, spare
new         internal   first_output -      | end_turn  | say spare                     | primary unclassified, spare
#
initialize  exit3      submitted    -      | end_turn  | say spare                     | primary crashed, spare
new         exit3      submitted    -      | end_turn  | say spare                     | primary crashed, spare
#
message     exit0      first_output -      | -33002    | say half                      | primary crashed
message     exit3      first_output -      | -33002    | say half                      | primary crashed
message     eof        first_output -      | -33002    | say half                      | primary crashed
message     garbage    first_output -      | -33002    | say half                      | primary garbled
message     internal   first_output -      | -33002    | say half                      | primary unclassified
message     bad        first_output -      | -33002    | say half                      | primary garbled
message     unasked    first_output -      | -33002    | say half                      | primary crashed
#
submitted   exit0      first_output -      | end_turn  | say spare                     | primary crashed, spare
submitted   exit3      first_output -      | end_turn  | say spare                     | primary crashed, spare
submitted   eof        first_output -      | end_turn  | say spare                     | primary crashed, spare
submitted   garbage    first_output -      | end_turn  | say spare                     | primary garbled, spare
submitted   noise      first_output -      | end_turn  | say done                      | primary
submitted   auth       first_output -      | end_turn  | say spare                     | primary auth_missing, spare
submitted   limited    first_output -      | end_turn  | say spare                     | primary rate_limited, spare
submitted   overloaded first_output -      | end_turn  | say spare                     | primary server_error, spare
submitted   internal   first_output -      | end_turn  | say spare                     | primary unclassified, spare
submitted   params     first_output -      | end_turn  | say spare                     | primary unsupported, spare
submitted   unknown    first_output -      | end_turn  | say spare                     | primary unsupported, spare
submitted   http401    first_output -      | end_turn  | say spare                     | primary auth_rejected, spare
submitted   http402    first_output -      | end_turn  | say spare                     | primary billing, spare
submitted   http429    first_output -      | end_turn  | say spare                     | primary rate_limited, spare
submitted   http529    first_output -      | end_turn  | say spare                     | primary overloaded, spare
submitted   http400    first_output -      | end_turn  | say spare                     | primary unsupported, spare
submitted   novel      first_output -      | end_turn  | say spare                     | primary unclassified, spare
submitted   empty      first_output -      | end_turn  | say spare                     | primary empty_turn, spare
submitted   dressed    first_output -      | end_turn  | say spare                     | primary overloaded, spare
submitted   retrying   first_output -      | end_turn  | say spare                     | primary silent, spare
submitted   unasked    first_output -      | end_turn  | say spare                     | primary crashed, spare
submitted   bad        first_output -      | end_turn  | say spare                     | primary garbled, spare
submitted   twice      first_output -      | end_turn  | say done                      | primary
#
submitted   exit3      submitted    -      | -33002    | -                             | primary crashed
submitted   eof        submitted    -      | -33002    | -                             | primary crashed
submitted   garbage    submitted    -      | -33002    | -                             | primary garbled
submitted   auth       submitted    -      | -33002    | -                             | primary auth_missing
submitted   limited    submitted    -      | -33002    | -                             | primary rate_limited
submitted   internal   submitted    -      | -33002    | -                             | primary unclassified
submitted   http400    submitted    -      | -33002    | -                             | primary unsupported
submitted   empty      submitted    -      | end_turn  | -                             | primary
submitted   dressed    submitted    -      | end_turn  | say API Error: 529 Overloaded | primary
submitted   unasked    submitted    -      | -33002    | -                             | primary crashed
submitted   bad        submitted    -      | -33002    | -                             | primary garbled
submitted   twice      submitted    -      | end_turn  | say done                      | primary
#
submitted   exit0      first_output cancel | cancelled | -                             | primary
submitted   exit3      first_output cancel | cancelled | -                             | primary
submitted   eof        first_output cancel | cancelled | -                             | primary
submitted   garbage    first_output cancel | cancelled | -                             | primary
submitted   auth       first_output cancel | cancelled | -                             | primary
submitted   internal   first_output cancel | cancelled | -                             | primary
submitted   empty      first_output cancel | cancelled | -                             | primary
submitted   dressed    first_output cancel | cancelled | say API Error: 529 Overloaded | primary
submitted   bad        first_output cancel | cancelled | -                             | primary
submitted   twice      first_output cancel | cancelled | say done                      | primary
#
message     exit0      first_output cancel | cancelled | say half                      | primary
message     exit3      first_output cancel | cancelled | say half                      | primary
message     eof        first_output cancel | cancelled | say half                      | primary
message     garbage    first_output cancel | cancelled | say half                      | primary
message     auth       first_output cancel | cancelled | say half                      | primary
message     internal   first_output cancel | cancelled | say half                      | primary
message     empty      first_output cancel | cancelled | say half                      | primary
message     bad        first_output cancel | cancelled | say half                      | primary
message     twice      first_output cancel | cancelled | say half; say done            | primary
"""
AT = {"do": "ext", "method": "_at"}
STALL = {"do": "stall"}
BEFORE: Mapping[str, list[dict]] = {"message": [{"do": "say", "text": "half"}]}
OPENING = ("initialize", "new")
FAULTS: Mapping[str, list[dict]] = {
    "exit0": [{"do": "exit", "code": 0}],
    "exit3": [{"do": "stderr", "text": "no licence"}, {"do": "exit", "code": 3}],
    "eof": [{"do": "closeStdout"}, STALL],
    # One line that is no message is skipped; one that prints and prints speaks something else.
    "garbage": [{"do": "repeat", "times": 300, "steps": [{"do": "garbage", "text": "Loading...\n"}]}, STALL],
    "noise": [{"do": "garbage", "text": "Loading...\n"}, {"do": "badJson"}, {"do": "say", "text": "done"}],
    "auth": [{"do": "fail", "code": -32000, "message": "Authentication required"}],
    "limited": [{"do": "fail", "data": {"status": 429, "message": "Too many requests"}}],
    "overloaded": [{"do": "fail", "data": {"status": 503, "message": "Service unavailable"}}],
    "internal": [{"do": "fail", "code": -32603, "message": "Internal error"}],
    "params": [{"do": "fail", "code": -32602, "message": "Invalid params"}],
    "unknown": [{"do": "fail", "code": -32601, "message": "Method not found"}],
    "http401": [{"do": "fail", "code": 401, "message": "invalid x-api-key"}],
    "http402": [{"do": "fail", "code": 402, "message": "insufficient credits"}],
    "http429": [{"do": "fail", "code": 429, "message": "slow down"}],
    "http529": [{"do": "fail", "code": 529, "message": "overloaded"}],
    "http400": [{"do": "fail", "code": 400, "message": "messages.0: malformed"}],
    "novel": [{"do": "fail", "code": -32099, "message": "the moon is in the wrong house"}],
    "empty": [{"do": "end"}],
    "dressed": [{"do": "say", "text": "API Error: 529 Overloaded"}, {"do": "end"}],
    # The agent's own retries are evidence: the wait for its first word is cut short.
    "retrying": [{"do": "say", "text": "Retrying (attempt 1/3, waiting 2s)..."}, STALL],
    "unasked": [{"do": "end", "stopReason": "cancelled"}],
    "bad": [{"do": "answer", "result": {"reason": "end_turn"}}],
    "twice": [{"do": "answerTwice"}, {"do": "say", "text": "done"}],
}


def primary(cell: Cell, folder: Path) -> dict:
    if cell.phase == "spawn":
        return {"kind": "acp", "command": [str(_program(cell.fault, folder))]}
    if cell.fault == "version":
        return agent({"protocolVersion": 2})
    steps = FAULTS[cell.fault]
    if cell.cancel:
        steps = [AT, {"do": "waitCancel", "steps": steps}]
    if cell.phase in OPENING:
        return agent({cell.phase: steps})
    return agent({"turns": [[*BEFORE.get(cell.phase, []), *steps]]})


def _program(fault: str, folder: Path) -> Path:
    program = folder / "agent"
    if fault == "ENOENT":
        return program
    program.write_bytes(b"\0not a program")
    program.chmod(0o600 if fault == "EACCES" else 0o700)
    return program


def play(cell: Cell, folder: Path) -> Outcome:
    spare = {"turns": [[{"do": "say", "text": "spare"}]]}
    with BrokerProcess(
        folder,
        chain(primary=primary(cell, folder), spare=spare, acp={"commitPoint": cell.commit}, limits={"retryingMs": 200}),
    ) as broker:
        session = broker.open()
        if cell.cancel and cell.phase == "spawn":
            prompt = broker.prompting(session)
            broker.write(prompt, {"method": "session/cancel", "params": {"sessionId": session}})
            turn = broker.until_reply(prompt["id"])
        else:
            request = broker.start(session)
            if cell.cancel:
                broker.until_at()
                broker.cancel(session)
            turn = broker.until_reply(request)
        is_spare_started = bool(broker.agents("spare"))
    assert is_spare_started == ("spare" in turn.attempts)
    return outcome(broker, turn)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Cell, "Future[Outcome]"]]:
    with played(request, tmp_path_factory, play) as futures:
        yield futures


@each(TABLE)
def test_a_fault_comes_to_what_the_design_promises(cell: Cell, outcomes: Mapping[Cell, "Future[Outcome]"]) -> None:
    """What each failure spends, before and after the commit point."""
    assert cell.expected == outcomes[cell].result()
