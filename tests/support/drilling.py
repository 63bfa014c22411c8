"""Plays drills: two fault servers, a real `acp-broker` between them and the caller. Time by hand where it is long."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import anyio
import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from backends import openai
from tests.support import drills
from tests.support.answered import listening
from tests.support.broker import BrokerProcess, chain
from tests.support.drills import FLAP_EVERY_S, FLAPS, OUTAGE_S, PRIMARY, SPARE, Drill, Row, Seen
from tests.support.harness import Open, house
from tests.support.heard import Turn
from tests.support.provider import Pace, Provider, provider

# The primary's entry of config.json for each API that the fault server speaks.
APIS: Mapping[str, Mapping[str, object]] = {
    "chat": {"kind": "openai"},
    "responses": {"kind": "openai", "api": "responses"},
    "anthropic": {"kind": "anthropic"},
    "gemini": {"kind": "gemini"},
}
# A word each few milliseconds; before a cut, time for a client to have read them.
_PACE = Pace(0.003, 0.3)
# It bounds a fault; nothing is measured by it.
_CLOSED_WITHIN_S = 10.0


@contextmanager
def theatre() -> Iterator[BlockingPortal]:
    """The event loop that all fault servers of these drills run in."""
    with start_blocking_portal("asyncio") as portal:
        yield portal


def play(portal: BlockingPortal, drill: Drill, api: str, folder: Path) -> Seen:
    """Two prompts of one session: the drill, and the one behind it when all is well again."""
    with ExitStack() as stack:
        primary, spare = (
            stack.enter_context(portal.wrap_async_context_manager(provider(says, fault, pace=_PACE)))
            for says, fault in ((PRIMARY, drill.fault), (SPARE, drill.follower_fault))
        )
        if drill.once:
            primary.watch = lambda _: _mend(primary)
        env = {f"KEY_{number}": f"canary-{number}" for number in range(drill.keys)}
        with BrokerProcess(folder, _config(drill, api, primary, spare), env=env) as broker:
            session = broker.open()
            turn = broker.prompt(session, "hello")
            asked = len(primary.asked()), len(spare.asked())
            if drill.is_silent:
                portal.call(_until_left, primary)
            left = primary.left
            for server in (primary, spare):
                portal.call(_mend, server)
            behind = broker.prompt(session, "and now?")
        return _seen(turn, behind, asked, len(primary.asked()) - asked[0], left, _rest_s(broker.home))


async def flap(folder: Path) -> Row:
    """S15: the primary is down for a minute, and well again; twenty prompts, one every four seconds, by the clock."""
    async with (
        provider(PRIMARY, "503", pace=_PACE) as primary,
        provider(SPARE, pace=_PACE) as spare,
        house(folder, primary=_asking(primary), spare=_asking(spare)) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        turns = [await editor.prompted(session)]
        for number in range(1, FLAPS):
            await home.clock.advance(FLAP_EVERY_S)
            if number * FLAP_EVERY_S == OUTAGE_S:
                in_outage, primary.fault = len(primary.asked()), "good"
            turns.append(await editor.prompted(session))
    return drills.flap_row(
        ["".join(word.removeprefix("say ") for word in turn.words) for turn in turns], in_outage, len(primary.asked())
    )


def _asking(server: Provider) -> Open:
    entry = {"kind": "openai", "baseUrl": f"{server.url}/v1", "model": "drill-model"}
    return partial(openai.open, msgspec.convert(entry, openai.config))


def _config(drill: Drill, api: str, primary: Provider, spare: Provider) -> Mapping[str, object]:
    entry = {**APIS[api], "baseUrl": f"{primary.url}/v1", "model": "primary-model"}
    follower = {"kind": "openai", "baseUrl": f"{spare.url}/v1", "model": "spare-model", **drill.follower}
    keys = [f"${{KEY_{number}}}" for number in range(drill.keys)]
    return {
        **chain(primary={**entry, "auth": "work", **drill.members}, spare=follower),
        "auth": {"profiles": {"work": {"type": "api_key", "key": keys}}},
    }


def _seen(turn: Turn, behind: Turn, asked: tuple[int, int], again: int, left: int, rest_s: float | None) -> Seen:
    result, told = turn.reply.get("result", {}), turn.told
    return Seen(
        outcome=result["stopReason"] if result else turn.reply["error"]["code"],
        words=_words(turn),
        served=told.get("backend"),
        failed=tuple(one["failure"] for one in told["attempts"] if "failure" in one),
        tokens=result.get("usage", {}).get("outputTokens"),
        model=told.get("model"),
        primary=asked[0],
        fallback=asked[1],
        left=left,
        again=again,
        rest_s=rest_s,
        next_words=_words(behind),
    )


def _words(turn: Turn) -> str:
    return "".join(word.removeprefix("say ") for word in turn.words if word.startswith("say "))


def _rest_s(home: Path) -> float | None:
    """How long the primary is left alone; what was found out afterwards does not count."""
    file = home / "health.json"
    health = msgspec.json.decode(file.read_bytes())["health"] if file.exists() else {}
    rests = [record["rest"]["length_s"] for record in health.get("records", ()) if record.get("rest")]
    return max(rests, default=None)


def _mend(server: Provider) -> None:
    server.fault = "good"


async def _until_left(server: Provider) -> None:
    with anyio.fail_after(_CLOSED_WITHIN_S):
        await server.until_left()
