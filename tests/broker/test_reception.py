"""What a frontend asks before, or beside, any session: who we are, logins, extensions; and what earlier runs taught."""

import json
from contextlib import asynccontextmanager

import pytest

from acp_broker import __version__
from acp_broker.broker.terms import Terms
from tests.support.harness import EVERYTHING, house, runtime

pytestmark = pytest.mark.anyio

# An agent's usual limits for starting and opening, together.
OPENING_S = 100.0
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
SEES = {"capabilities": {"promptCapabilities": {"image": True}, "mcpCapabilities": {"http": True}}}
HANGS = {"initialize": [{"do": "stall"}]}
LOGIN = {"authMethods": [{"id": "oauth", "name": "Browser"}], "needsAuth": True, **SPARE}
TERMINAL = {
    "authMethods": [{"id": "tty", "name": "Terminal", "type": "terminal", "args": ["--login"], "env": {"A": "b"}}]
}


def counting(script: dict, made: list[object], **members: object):
    """A backend that counts its openings: True where it had a session."""

    def opens(tools):
        made.append(tools.setup is not None)
        return inner.open(tools)

    inner = runtime("primary", script)
    return runtime("primary", opens, **members)


# --- initialize


async def test_we_speak_version_1_whichever_is_asked_for(tmp_path):
    """ACP v1, initialization: the agent answers with the version that it wants."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.connected()
        answer = await editor.result("initialize", protocolVersion=7)

    assert 1 == answer["protocolVersion"]


@pytest.mark.parametrize("params", [{}, {"protocolVersion": "1"}, {"protocolVersion": 1.5}])
async def test_a_version_that_is_none_is_a_bad_request(tmp_path, params):
    """JSON-RPC 2.0: invalid params."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.connected()
        answer = await editor.call("initialize", **params)

    assert -32602 == answer["error"]["code"]


async def test_nothing_comes_before_initialize(tmp_path):
    """ACP v1, initialization."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.connected()
        answer = await editor.call("session/new", cwd="/", mcpServers=[])

    assert {"code": -32600, "message": "session/new came before initialize"} == answer["error"]


async def test_it_comes_once(tmp_path):
    """Capabilities are fixed per connection."""
    async with house(tmp_path, primary={}) as home:
        answer = await (await home.editor()).call("initialize", protocolVersion=1)

    assert {"code": -32600, "message": "initialize came twice on one connection"} == answer["error"]


async def test_an_unknown_method_is_not_found(tmp_path):
    """A closed set: what we do not implement is not promised."""
    async with house(tmp_path, primary={}) as home:
        answer = await (await home.editor()).call("session/fork", sessionId="x")

    assert {"code": -32601, "message": "session/fork: this agent has no such method"} == answer["error"]


async def test_we_say_who_we_are(tmp_path):
    """The log of an editor names us."""
    async with house(tmp_path, primary={}) as home:
        answer = await (await home.connected()).initialize()

    assert {"name": "acp-broker", "title": "ACP Broker", "version": __version__} == answer["agentInfo"]


async def test_the_primarys_own_abilities_are_promised(tmp_path):
    """Not the union of the chain: what is promised must hold while it is well."""
    async with house(tmp_path, primary=SPARE, seeing=SEES) as home:
        answer = await (await home.connected()).initialize()

    assert {"image": False, "audio": False, "embeddedContext": True} == answer["agentCapabilities"][
        "promptCapabilities"
    ]


async def test_what_the_primary_can_is_promised(tmp_path):
    """As above, the other way round."""
    async with house(tmp_path, primary=SEES) as home:
        capabilities = (await (await home.connected()).initialize())["agentCapabilities"]

    expected = ({"image": True, "audio": False, "embeddedContext": True}, {"http": True, "sse": False})
    assert expected == (capabilities["promptCapabilities"], capabilities["mcpCapabilities"])


async def test_sessions_are_ours_and_so_are_their_methods(tmp_path):
    """Whatever the primary can."""
    async with house(tmp_path, primary={"capabilities": {}}) as home:
        capabilities = (await (await home.connected()).initialize())["agentCapabilities"]

    expected = (True, {"list": {}, "resume": {}, "close": {}, "delete": {}})
    assert expected == (capabilities["loadSession"], capabilities["sessionCapabilities"])


async def test_a_primary_that_hangs_is_waited_for_two_seconds(tmp_path):
    """An editor shows nothing until it has its answer; then text is all that is promised."""
    async with house(tmp_path, primary=HANGS) as home:
        editor = await home.connected()
        request = editor.request("initialize", protocolVersion=1)
        await home.clock.advance(1.9)
        before = editor.replies(request)
        await home.clock.advance(0.2)
        promised = editor.reply(request)["result"]["agentCapabilities"]["promptCapabilities"]

    assert ([], {"image": False, "audio": False, "embeddedContext": True}) == (before, promised)


async def test_the_agent_that_introduced_itself_is_closed(tmp_path):
    """It holds hundreds of megabytes, and has no session."""
    async with house(tmp_path, primary=SPARE) as home:
        await home.editor()
        asked = home.broker.reception.standbys

    assert () == asked


async def test_an_agent_that_never_introduces_itself_is_closed_as_well(tmp_path):
    """A hung process is not kept for the broker's life."""
    open_now: list[object] = []

    @asynccontextmanager
    async def opens(tools):
        open_now.append(tools)
        try:
            async with runtime("primary", HANGS).open(tools) as backend:
                yield backend
        finally:
            open_now.remove(tools)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.connected()
        editor.request("initialize", protocolVersion=1)
        await home.clock.advance(1.0)
        before = len(open_now)
        await home.clock.advance(OPENING_S)
        after = len(open_now)

    assert (1, 0) == (before, after)


async def test_clients_that_introduce_themselves_together_are_told_apart(tmp_path):
    """Agents answer by what their client can: what one client is promised says nothing to another."""

    def opens(tools):
        sees = SEES if b"fs" in bytes(tools.client_capabilities) else {"capabilities": {}}
        return runtime("primary", {"initialize": [{"do": "stall", "ms": 100}], **sees}).open(tools)

    async with house(tmp_path, primary=opens) as home:
        editors = [(await home.connected(), capabilities) for capabilities in ({}, EVERYTHING)]
        asked = [
            (editor, editor.request("initialize", protocolVersion=1, clientCapabilities=capabilities))
            for editor, capabilities in editors
        ]
        await home.clock.advance(0.2)
        promised = [editor.reply(request)["result"]["agentCapabilities"] for editor, request in asked]

    assert [False, True] == [one["promptCapabilities"]["image"] for one in promised]


# --- learnt


async def test_a_second_run_starts_nothing_to_introduce_itself(tmp_path):
    """`initialize` is answered from what was learnt."""
    made: list[object] = []
    for _ in range(2):
        async with house(tmp_path, primary=counting(SEES, made)) as home:
            answer = await (await home.connected()).initialize()
            await home.broker.learnt.save()

    assert ([False], True) == (made, answer["agentCapabilities"]["promptCapabilities"]["image"])


async def test_another_client_is_learnt_for_anew(tmp_path):
    """Agents answer by what the client can."""
    made: list[object] = []
    async with house(tmp_path, primary=counting(SEES, made)) as home:
        for capabilities in (EVERYTHING, {}):
            await home.editor(capabilities)

    assert [False, False] == made


async def test_a_changed_config_is_learnt_for_anew(tmp_path):
    """Another command, another agent."""
    made: list[object] = []
    for fingerprint in ("a", "b"):
        async with house(tmp_path, primary=counting(SEES, made, fingerprint=fingerprint)) as home:
            await (await home.connected()).initialize()
            await home.broker.learnt.save()

    assert [False, False] == made


async def test_what_a_session_teaches_corrects_what_was_learnt(tmp_path):
    """The agent was updated: from the next connection on, the promise is honest."""
    async with house(tmp_path, primary=runtime("primary", SPARE, fingerprint="same")) as home:
        await home.editor()
        await home.broker.learnt.save()
    async with house(tmp_path, primary=runtime("primary", SEES, fingerprint="same")) as home:
        editor = await home.editor()
        await editor.new()
        answer = await (await home.connected()).initialize()

    assert answer["agentCapabilities"]["promptCapabilities"]["image"]


async def test_a_fallback_is_learnt_when_it_serves(tmp_path):
    """Its logins are offered from then on; what it cannot take is known before it is tried."""
    spare = {"authMethods": [{"id": "key", "name": "Key"}], "capabilities": {}, **SPARE}
    async with house(tmp_path, primary={"turns": [[{"do": "die"}]], **SEES}, spare=spare) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        introduced = await (await home.connected()).initialize()
        turn = editor.start(session, blocks=[{"type": "image", "data": "aGk=", "mimeType": "image/png"}])
        await home.clock.advance(0)

    methods = [method["id"] for method in introduced["authMethods"]]
    assert (["spare/key"], [{"backend": "spare", "why": "it takes no images"}]) == (methods, turn.told["skipped"][:1])


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
async def test_a_broken_file_costs_one_wait(tmp_path, data):
    """And is written anew."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "learnt.json").write_bytes(data)
    async with house(tmp_path, primary=SEES) as home:
        answer = await (await home.connected()).initialize()

    assert answer["agentCapabilities"]["promptCapabilities"]["image"]


async def test_what_is_learnt_holds_no_session_of_anybody(tmp_path):
    """The agent's own id of a session is of no use to the next."""
    async with house(tmp_path, primary={"modes": {"currentModeId": "a", "availableModes": []}}) as home:
        await (await home.editor()).new()
        await home.broker.learnt.save()
    lessons = json.loads((tmp_path / "state" / "learnt.json").read_bytes())["lessons"]

    assert ["modes" in lesson["opened"] and "sessionId" not in lesson["opened"] for lesson in lessons.values()] == [
        True
    ]


# --- logins


async def test_login_methods_are_advertised_by_backend(tmp_path):
    """Two agents may both call theirs `oauth`."""
    async with house(tmp_path, primary=LOGIN) as home:
        answer = await (await home.connected()).initialize()

    assert [{"id": "primary/oauth", "name": "Browser (primary)"}] == answer["authMethods"]


async def test_a_login_reaches_its_backend(tmp_path):
    """Under the agent's own name for it."""
    async with house(tmp_path, primary=LOGIN) as home:
        editor = await home.editor()
        await editor.result("authenticate", methodId="primary/oauth")
        turn = await editor.prompt(await editor.new())

    assert ["primary"] == turn.attempts


async def test_without_a_login_the_editor_is_told_to_offer_one(tmp_path):
    """ACP v1: -32000."""
    async with house(tmp_path, primary=LOGIN) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert -32000 == turn.outcome


async def test_a_login_is_repeated_in_each_new_process(tmp_path):
    """The user logs in once."""
    async with house(tmp_path, primary=LOGIN) as home:
        editor = await home.editor()
        await editor.result("authenticate", methodId="primary/oauth")
        turns = [await editor.prompt(await editor.new()) for _ in range(2)]

    assert ["end_turn"] * 2 == [turn.outcome for turn in turns]


async def test_a_login_ends_the_rest_that_its_lack_began(tmp_path):
    """Who has just logged in wants that backend."""
    async with house(tmp_path, primary=LOGIN, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        first = await editor.prompt(session)
        await editor.result("authenticate", methodId="primary/oauth")
        second = await editor.prompt(session)

    assert (["primary auth_missing", "spare"], ["primary"]) == (first.attempts, second.attempts)


async def test_a_login_may_take_minutes_but_not_for_ever(tmp_path):
    """A person opens a browser and looks for a password; nobody does so for more than ten minutes."""
    script = {**LOGIN, "calls": {"authenticate": [{"do": "stall"}]}}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        request = editor.request("authenticate", methodId="primary/oauth")
        await home.clock.advance(599.0)
        before = editor.replies(request)
        await home.clock.advance(2.0)

    error = {"code": -33001, "message": "primary did not answer authenticate within 600 s"}
    assert ([], error) == (before, editor.reply(request)["error"])


@pytest.mark.parametrize(("auth", "promised"), [({}, {}), ({"logout": {}}, {"logout": {}})])
async def test_a_logout_is_promised_where_the_primary_knows_it(tmp_path, auth, promised):
    """ACP v1, authentication: an agent may have logins and no logout."""
    async with house(tmp_path, primary={**LOGIN, "capabilities": {"auth": auth}}) as home:
        answer = await (await home.connected()).initialize()

    assert promised == answer["agentCapabilities"]["auth"]


@pytest.mark.parametrize("method", ["oauth", "primary/", "nobody/oauth", ""])
async def test_a_login_method_that_we_did_not_name_is_a_bad_request(tmp_path, method):
    """With the name in it."""
    async with house(tmp_path, primary=LOGIN) as home:
        answer = await (await home.editor()).call("authenticate", methodId=method)

    assert {"code": -32602, "message": f"no authentication method is called {method!r}"} == answer["error"]


async def test_a_login_that_the_agent_refuses_is_not_repeated(tmp_path):
    """Its error is the frontend's."""
    async with house(tmp_path, primary=LOGIN) as home:
        answer = await (await home.editor()).call("authenticate", methodId="primary/other")

    assert (-32602, {}) == (answer["error"]["code"], home.broker.reception.logins)


async def test_a_logout_is_forgotten_by_nobody(tmp_path):
    """No new process logs in again by itself."""
    async with house(tmp_path, primary=LOGIN) as home:
        editor = await home.editor()
        await editor.result("authenticate", methodId="primary/oauth")
        await editor.result("logout")
        turn = await editor.prompt(await editor.new())

    assert -32000 == turn.outcome


async def test_a_terminal_login_leads_through_our_own_command(tmp_path):
    """ACP v1, "Terminal Authentication": the client runs the agent's command line, which is ours."""
    async with house(tmp_path, primary=TERMINAL) as home:
        answer = await (await home.connected()).initialize()

    expected = {
        "id": "primary/tty",
        "name": "Terminal (primary)",
        "type": "terminal",
        "args": ["login", "primary", "tty"],
    }
    assert [expected] == answer["authMethods"]


async def test_a_client_without_a_terminal_is_offered_no_terminal_login(tmp_path):
    """It could not run it."""
    async with house(tmp_path, primary=TERMINAL) as home:
        answer = await (await home.connected()).initialize({})

    assert [] == answer["authMethods"]


async def test_a_client_that_is_no_program_of_this_terminals_is_offered_no_terminal_login(tmp_path):
    """Never over WebSocket, whatever the client declares."""
    async with house(tmp_path, primary=TERMINAL) as home:
        answer = await (await home.connected(terms=Terms("websocket", has_terminal=False))).initialize()

    assert [] == answer["authMethods"]


# --- extensions


async def test_an_extension_reaches_the_serving_backend(tmp_path):
    """With its own id of the session."""
    calls = {"_who": [{"do": "answer", "result": {"I am": "spare"}}]}
    spare = {"calls": calls, "turns": [[{"do": "say", "text": "x"}, {"do": "stall"}]]}
    async with house(tmp_path, primary={"turns": [[{"do": "die"}]]}, spare=spare) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        answer = await editor.result("_who", sessionId=session)

    assert {"I am": "spare"} == answer


async def test_an_extension_without_a_session_reaches_the_primary(tmp_path):
    """One is opened for it where none is open."""
    async with house(tmp_path, primary={"calls": {"_who": [{"do": "answer", "result": {"I am": "primary"}}]}}) as home:
        answer = await (await home.editor()).result("_who")

    assert {"I am": "primary"} == answer


async def test_an_agents_refusal_of_an_extension_is_the_answer(tmp_path):
    """ACP v1, extensibility: -32601."""
    async with house(tmp_path, primary={}) as home:
        answer = await (await home.editor()).call("_who")

    assert -32601 == answer["error"]["code"]


async def test_an_extension_while_the_backend_is_down_says_so(tmp_path):
    """Who it was meant for, and why it cannot be asked."""
    async with house(tmp_path, primary={"new": [{"do": "fail", "message": "overloaded"}]}) as home:
        editor = await home.editor()
        answer = await editor.call("_who", sessionId=await editor.new())

    assert {"code": -32601, "message": "_who: primary cannot be asked: overloaded"} == answer["error"]


async def test_extensions_that_are_asked_together_are_both_answered(tmp_path):
    """The first that is done must not end the agent under the other."""
    calls = {
        name: [{"do": "stall", "ms": ms}, {"do": "answer", "result": {name: ms}}]
        for name, ms in (("_a", 100), ("_b", 600))
    }
    async with house(tmp_path, primary={"calls": calls}) as home:
        editor = await home.editor()
        asked = [editor.request(name) for name in ("_b", "_a")]
        await home.clock.advance(1.0)
        answers = [editor.reply(request).get("result") for request in asked]

    assert [{"_b": 600}, {"_a": 100}] == answers


async def test_an_extension_that_a_hanging_primary_should_answer_is_answered_by_us(tmp_path):
    """Every wait has a limit: the backend's own for starting and opening."""
    async with house(tmp_path, primary=HANGS) as home:
        editor = await home.connected()
        editor.request("initialize", protocolVersion=1)
        await home.clock.advance(2.0)
        request = editor.request("_who")
        await home.clock.advance(OPENING_S)

    expected = {"code": -33001, "message": "primary did not open within 100 s"}
    assert expected == editor.reply(request)["error"]


async def test_an_extension_of_a_session_whose_backend_hangs_is_answered_by_us(tmp_path):
    """As above."""
    async with house(tmp_path, primary={"new": [{"do": "stall"}]}) as home:
        editor = await home.editor()
        opened = editor.request("session/new", cwd=str(tmp_path), mcpServers=[])
        await home.clock.advance(3.0)
        request = editor.request("_who", sessionId=editor.reply(opened)["result"]["sessionId"])
        await home.clock.advance(OPENING_S)

    expected = {"code": -32601, "message": "_who: primary cannot be asked: it did not open within 100 s"}
    assert expected == editor.reply(request)["error"]
