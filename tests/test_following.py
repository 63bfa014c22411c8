"""config.json is edited while a broker runs by it."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from anyio import create_task_group

from acp_broker import app
from acp_broker.app.following import Following
from acp_broker.broker.broker import Broker
from acp_broker.broker.policy import Policy
from acp_broker.config import Config, load
from acp_broker.contract import Child
from acp_broker.errors import UsageError
from acp_broker.store.files import StateFolder
from tests.support.clock import WALL_AT_ZERO, FakeClock, settled
from tests.support.harness import Log
from tests.support.vault import vault

pytestmark = pytest.mark.anyio

# Two looks, one behind the other.
SOON_S = 1.0
BROKEN = b'{"acp": {"backend": "a"'
_STAMPS = count(1)


async def no_child(*_: object, **__: object) -> Child:
    raise AssertionError("nothing is started here")


def decide(config: Config) -> Policy:
    return app.policy(config, no_child, vault())


def chain(*names: str, **members: object) -> dict:
    return {
        "acp": {"backend": names[0], "fallbacks": names[1:]},
        "backends": {name: {"kind": "scripted"} for name in names},
        **members,
    }


def write(path: Path, content: object) -> None:
    """In place. Each time is another one, however coarse the file system's clock is."""
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(0o600)
    stamp(path)


def stamp(path: Path) -> None:
    at = 1_000_000_000 * next(_STAMPS)
    os.utime(path, ns=(at, at))


class Room:
    """A broker that follows `file`."""

    def __init__(self, following: Following, file: Path, clock: FakeClock, log: Log) -> None:
        self.following, self.file, self.clock, self.log = following, file, clock, log

    @property
    def order(self) -> list[str]:
        return list(self.following.broker.policy.order)

    @property
    def refused(self) -> list[list[str]]:
        return [line["problems"] for line in self.log.of("config_refused")]

    async def edited(self, content: object) -> None:
        write(self.file, content)
        await self.clock.advance(SOON_S)


@asynccontextmanager
async def room(
    path: Path,
    content: object,
    *,
    file: Path | None = None,
    decides: Callable[[Config], Policy] = decide,
    meanwhile: object = None,
) -> AsyncIterator[Room]:
    """Follows a file with this content from `load` on; `meanwhile` is what is in it before the first look."""
    clock, log, file = FakeClock(), Log(), file or path / "config.json"
    if not file.exists():
        write(file, content)
    config = load(app.kinds(), path=file, environ={"HOME": "/home/u"})
    async with create_task_group() as tasks, Broker(decide(config), StateFolder(path / "state"), clock, log) as broker:
        if meanwhile is not None:
            write(file, meanwhile)
        following = Following(config, {"HOME": "/home/u"}, decides, broker, ("log", "frontends.websocket"), vault())
        tasks.start_soon(following.run)
        await clock.advance(SOON_S)
        yield Room(following, file, clock, log)
        following.stop()


# --- what holds


async def test_a_valid_edit_holds(tmp_path):
    """Without a restart."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("b", "a"))

        assert ["b", "a"] == it.order


async def test_an_edit_between_the_start_and_the_first_look_holds(tmp_path):
    """Nobody saw what the file looked like when it was read first."""
    async with room(tmp_path, chain("a"), meanwhile=chain("b", "a")) as it:
        assert ["b", "a"] == it.order


async def test_a_file_is_read_once_it_has_stopped_changing(tmp_path):
    """Whoever writes it in pieces is let finish."""
    async with room(tmp_path, chain("a")) as it:
        whole = json.dumps(chain("b", "a")).encode()
        for end in range(10, len(whole), 40):
            write(it.file, whole[:end])
            await it.clock.advance(SOON_S / 2)
        await it.edited(whole)

        assert (["b", "a"], []) == (it.order, it.refused)


async def test_what_replaces_the_file_holds(tmp_path):
    """How careful editors save."""
    async with room(tmp_path, chain("a")) as it:
        beside = tmp_path / "beside.json"
        write(beside, chain("b", "a"))
        beside.replace(it.file)
        await it.clock.advance(SOON_S)

        assert ["b", "a"] == it.order


async def test_where_a_link_leads_holds(tmp_path):
    """Dotfiles are often links."""
    one, other, link = (tmp_path / name for name in ("one.json", "other.json", "link.json"))
    write(one, chain("a"))
    write(other, chain("b", "a"))
    link.symlink_to(one)
    async with room(tmp_path, None, file=link) as it:
        new = tmp_path / "new"
        new.symlink_to(other)
        new.replace(link)
        await it.clock.advance(SOON_S)

        assert ["b", "a"] == it.order


async def test_what_a_link_leads_to_may_be_edited(tmp_path):
    """The link itself stays as it is."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    write(real, chain("a"))
    link.symlink_to(real)
    async with room(tmp_path, None, file=link) as it:
        write(real, chain("b", "a"))
        await it.clock.advance(SOON_S)

        assert ["b", "a"] == it.order


async def test_a_folder_on_the_way_that_is_a_link_may_lead_elsewhere(tmp_path):
    """How a ConfigMap is swapped."""
    for name, content in (("one", chain("a")), ("other", chain("b", "a"))):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "config.json", content)
    data = tmp_path / "data"
    data.symlink_to(tmp_path / "one")
    async with room(tmp_path, None, file=data / "config.json") as it:
        new = tmp_path / "new"
        new.symlink_to(tmp_path / "other")
        new.replace(data)
        await it.clock.advance(SOON_S)

        assert ["b", "a"] == it.order


async def test_another_layout_of_the_same_is_no_edit(tmp_path):
    """Nothing is said, nothing is opened anew."""
    async with room(tmp_path, chain("a")) as it:
        policy = it.following.broker.policy
        await it.edited(json.dumps(chain("a"), indent=4).encode())

        assert (True, []) == (policy is it.following.broker.policy, it.log.of("config_adopted"))


async def test_a_file_that_stands_still_is_not_read_again(tmp_path):
    """A look is all that it costs."""
    reads: list[Config] = []

    async with room(tmp_path, chain("a"), decides=lambda config: reads.append(config) or decide(config)) as it:
        await it.clock.advance(60)

        assert 1 == len(reads)


async def test_the_log_tells_what_an_edit_means(tmp_path):
    """One line per edit that holds."""
    async with room(tmp_path, chain("a", "b")) as it:
        edit = chain("c", "a", limits={"firstOutputMs": 5000})
        edit["backends"]["a"]["model"] = "m"
        await it.edited(edit)

        assert [
            {
                "event": "config_adopted",
                "chain": ["c", "a"],
                "chain_before": ["a", "b"],
                "added": ["c"],
                "removed": ["b"],
                "reopened": ["a"],
                "changed": [
                    "acp.backend",
                    "acp.fallbacks",
                    "backends.a.model",
                    "backends.b",
                    "backends.c",
                    "limits.firstOutputMs",
                ],
            }
        ] == it.log.of("config_adopted")


async def test_what_is_doubtful_in_an_edit_is_in_the_log(tmp_path):
    """As at the start; what was doubtful before is not said again."""
    async with room(tmp_path, chain("a", auth={"profiles": {"x": {"type": "google"}}})) as it:
        await it.edited(chain("a", auth={"profiles": {"x": {"type": "google"}, "y": {"type": "google"}}}))

        assert ["auth.profiles.y"] == [line["path"] for line in it.log.of("config_warning")]


async def test_the_state_says_since_when_it_holds(tmp_path):
    """For `acp-broker status`."""
    async with room(tmp_path, chain("a")) as it:
        before = it.following.state.loaded_at
        await it.edited(chain("b"))

        assert (WALL_AT_ZERO + 1000, WALL_AT_ZERO + 1002) == (before, it.following.state.loaded_at)


# --- what does not


async def test_an_invalid_edit_changes_nothing(tmp_path):
    """A typo must not stop everybody's work."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("a") | {"acp": {"backend": "b"}})

        assert ["a"] == it.order


async def test_an_invalid_edit_is_said_with_its_problems(tmp_path):
    """In the log and to `status`."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("a") | {"acp": {"backend": "b"}})
        refused = it.following.state.refused

        assert refused is not None
        assert (WALL_AT_ZERO + 1002, [['acp.backend: no backend is called "b"; known: a']]) == (
            refused.at,
            it.refused,
        )


async def test_an_edit_that_is_wrong_in_the_same_way_is_said_once(tmp_path):
    """Editors save often."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(BROKEN)
        await it.edited(BROKEN)

        assert 1 == len(it.refused)


async def test_an_edit_that_is_wrong_in_another_way_is_said(tmp_path):
    """What is being repaired is another problem each time."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(BROKEN)
        await it.edited({})

        assert 2 == len(it.refused)


async def test_an_edit_that_was_repaired_holds(tmp_path):
    """And nothing is refused any more."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(BROKEN)
        await it.edited(chain("b"))

        assert (["b"], None) == (it.order, it.following.state.refused)


async def test_an_edit_that_is_wrong_again_is_said_again(tmp_path):
    """It was well in between."""
    async with room(tmp_path, chain("a")) as it:
        for content in (BROKEN, chain("b"), BROKEN):
            await it.edited(content)

        assert 2 == len(it.refused)


async def test_an_edit_that_was_taken_back_is_said_to_be_well(tmp_path):
    """Who reads the log should not go on looking for the problem."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(BROKEN)
        await it.edited(chain("a"))

        assert (1, None) == (len(it.log.of("config_adopted")), it.following.state.refused)


async def test_a_file_that_is_deleted_is_missed_once(tmp_path):
    """What it said still holds."""
    async with room(tmp_path, chain("a")) as it:
        it.file.unlink()
        await it.clock.advance(60)

        assert (["a"], 1) == (it.order, len(it.refused))


async def test_a_file_that_is_there_again_holds(tmp_path):
    """Some tools delete it and write another."""
    async with room(tmp_path, chain("a")) as it:
        it.file.unlink()
        await it.clock.advance(60)
        await it.edited(chain("b", "a"))

        assert ["b", "a"] == it.order


async def test_a_file_that_is_gone_for_a_moment_is_not_missed(tmp_path):
    """Between the delete and the write of such a tool."""
    async with room(tmp_path, chain("a")) as it:
        it.file.unlink()
        await it.clock.advance(SOON_S / 2)
        await it.edited(chain("b", "a"))

        assert (["b", "a"], []) == (it.order, it.refused)


async def test_a_file_that_others_may_write_is_refused(tmp_path):
    """As at the start: it starts programs."""
    async with room(tmp_path, chain("a")) as it:
        write(it.file, chain("b"))
        it.file.chmod(0o666)
        await it.clock.advance(SOON_S)

        assert (["a"], True) == (it.order, "others may write it" in it.refused[0][0])


async def test_a_kind_that_cannot_be_loaded_is_refused(tmp_path):
    """A package that is not installed."""

    def lacks(_: Config) -> Policy:
        raise UsageError("backend kind 'x' cannot be loaded")

    async with room(tmp_path, chain("a"), decides=lacks) as it:
        await it.edited(chain("b"))

        assert (["a"], ["(file): backend kind 'x' cannot be loaded"]) == (it.order, it.refused[-1])


async def test_a_fault_of_ours_ends_neither_the_broker_nor_the_following(tmp_path):
    """It is refused, with the fault in the log."""
    faults = [0, 1]

    def breaks(config: Config) -> Policy:
        if faults and config.acp.backend == "b":
            faults.clear()
            raise ZeroDivisionError
        return decide(config)

    async with room(tmp_path, chain("a"), decides=breaks) as it:
        await it.edited(chain("b"))
        refused = it.following.state.refused is not None
        await it.edited(chain("c"))

        assert (True, ["c"], 1) == (refused, it.order, len(it.log.of("broker_fault")))


# --- what waits for a restart


async def test_what_cannot_change_is_said(tmp_path):
    """All else in the edit holds."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("b", log={"level": "debug"}))

        assert (["b"], ["log.level"]) == (it.order, it.log.of("config_needs_restart")[0]["paths"])


async def test_the_state_says_what_waits_for_a_restart(tmp_path):
    """Until it is as it was at the start."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("a", log={"level": "debug"}))
        waits = it.following.state.needs_restart
        await it.edited(chain("a"))

        assert (("log.level",), ()) == (waits, it.following.state.needs_restart)


async def test_what_waits_for_a_restart_is_said_once(tmp_path):
    """Each further edit would repeat it."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("a", log={"level": "debug"}))
        await it.edited(chain("b", log={"level": "debug"}))

        assert 1 == len(it.log.of("config_needs_restart"))


async def test_a_way_in_that_was_not_there_at_the_start_waits_for_the_next(tmp_path):
    """`fixed` names what is below it as well."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(chain("a", frontends={"websocket": {"port": 0}}))

        assert ("frontends.websocket",) == it.following.state.needs_restart


# --- at once


async def test_who_cannot_wait_has_it_read_at_once(tmp_path):
    """SIGHUP."""
    async with room(tmp_path, chain("a")) as it:
        write(it.file, chain("b"))
        it.following.soon()
        await settled()

        assert ["b"] == it.order


async def test_who_asks_is_told_again_what_is_wrong(tmp_path):
    """They look at the log now."""
    async with room(tmp_path, chain("a")) as it:
        await it.edited(BROKEN)
        await it.following.now()

        assert 2 == len(it.refused)


async def test_a_file_that_was_half_written_then_is_read_again(tmp_path):
    """Whoever wrote it was not done yet."""
    async with room(tmp_path, chain("a")) as it:
        write(it.file, BROKEN)
        await it.following.now()
        await it.edited(chain("b"))

        assert (["b"], None) == (it.order, it.following.state.refused)


async def test_what_was_read_at_once_is_read_again_when_it_stands_still(tmp_path):
    """Written to within one tick of the file system's clock, it would look the same as it did."""
    reads: list[Config] = []

    async with room(tmp_path, chain("a"), decides=lambda config: reads.append(config) or decide(config)) as it:
        reads.clear()
        await it.following.now()
        await it.clock.advance(60)

        assert 2 == len(reads)


async def test_nothing_is_adopted_once_it_was_stopped(tmp_path):
    """The broker is about to end: nothing may be opened any more."""
    async with room(tmp_path, chain("a")) as it:
        write(it.file, chain("b"))
        it.following.soon()
        it.following.stop()
        await settled()

        assert ["a"] == it.order


async def test_it_is_followed_by_a_running_broker(tmp_path):
    """`app.running_and_following`, as `stdio` and `serve` run it."""
    file, clock = tmp_path / "config.json", FakeClock()
    write(file, chain("a"))
    config = load(app.kinds(), path=file, environ={"HOME": "/home/u"})
    environ = {"ACP_BROKER_HOME": str(tmp_path / "state")}
    async with app.running_and_following(config, environ, fixed=(), clock=clock) as following:
        write(file, chain("b"))
        await clock.advance(SOON_S)

        assert ("b", ("b",)) == (following.config.acp.backend, following.broker.policy.order)
