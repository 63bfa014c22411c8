"""What one broker finds out about a backend, the next one knows: a dead primary is not paid for at each start."""

import pytest

from tests.support.harness import house, runtime

pytestmark = pytest.mark.anyio

DOWN = {"turns": [[{"do": "fail", "message": "503 Service Unavailable", "kind": "overloaded"}]]}
SAYS = {"turns": [[{"do": "say", "text": "here"}]]}


async def attempts(tmp_path, wait_s: float = 0, **backends: object) -> list[str]:
    """Who was tried by one prompt in a broker of its own."""
    async with house(tmp_path, **backends) as home:
        editor = await home.editor()
        session = await editor.new()
        await home.clock.advance(wait_s)
        return (await editor.prompt(session)).attempts


async def test_the_next_broker_leaves_a_resting_backend_alone(tmp_path):
    """Its first turn goes to the spare at once."""
    first = await attempts(tmp_path, primary=DOWN, spare=SAYS)
    second = await attempts(tmp_path, primary=DOWN, spare=SAYS)

    assert (["primary overloaded", "spare"], ["spare"]) == (first, second)


async def test_a_broker_that_starts_beside_leaves_a_resting_backend_alone(tmp_path):
    """What is known is written while the one that found it out goes on, and may yet be killed."""
    async with house(tmp_path, primary=DOWN, spare=SAYS) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        await home.clock.advance(1)

        assert ["spare"] == await attempts(tmp_path, primary=DOWN, spare=SAYS)


async def test_nothing_is_written_behind_the_end_of_a_broker(tmp_path):
    """What was due is written at its end; whoever lives on in that process is not disturbed by it."""
    async with house(tmp_path, primary=DOWN, spare=SAYS) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
    written = (home.broker.folder.path / "health.json").stat()
    await home.clock.advance(1)

    assert written == (home.broker.folder.path / "health.json").stat()


async def test_a_rest_ends_in_the_next_broker_as_in_this_one(tmp_path):
    """After its time it is tried again."""
    await attempts(tmp_path, primary=DOWN, spare=SAYS)

    assert ["primary"] == await attempts(tmp_path, 31, primary=SAYS, spare=SAYS)


async def test_what_has_served_again_is_well_for_the_next_broker(tmp_path):
    """It does not go on resting by what the file said before."""
    await attempts(tmp_path, primary=DOWN, spare=SAYS)
    await attempts(tmp_path, 31, primary=SAYS, spare=SAYS)

    assert ["primary"] == await attempts(tmp_path, primary=SAYS, spare=SAYS)


async def test_who_dies_while_it_finds_out_holds_up_nobody(tmp_path):
    """Nobody tells that a killed broker's turn is over: the next one tries the backend when its rest is."""
    await attempts(tmp_path, primary=DOWN, spare=SAYS)
    async with house(tmp_path, primary={"turns": [[{"do": "stall"}]]}, spare=SAYS) as killed:
        editor = await killed.editor()
        session = await editor.new()
        await killed.clock.advance(31)
        await editor.prompt(session)

        assert ["primary"] == await attempts(tmp_path, 31, primary=SAYS, spare=SAYS)


async def test_a_backend_that_was_changed_is_not_what_failed(tmp_path):
    """What it rested for may be just what was repaired."""
    await attempts(tmp_path, primary=runtime("primary", DOWN, fingerprint="old"), spare=SAYS)
    repaired = runtime("primary", SAYS, fingerprint="new")

    assert ["primary"] == await attempts(tmp_path, primary=repaired, spare=SAYS)


async def test_what_a_neighbour_found_out_is_not_lost(tmp_path):
    """Two brokers, each with a failure of its own: the third knows of both."""
    chain = {"one": DOWN, "two": DOWN, "three": SAYS}
    async with house(tmp_path, **chain) as home:
        # It read the file before the other one wrote it.
        async with house(tmp_path, two=DOWN, three=SAYS) as other:
            editor = await other.editor()
            await editor.prompt(await editor.new())
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert ["three"] == await attempts(tmp_path, **chain)


async def test_a_healthy_turn_writes_nothing(tmp_path):
    """It costs next to nothing."""
    await attempts(tmp_path, primary=SAYS, spare=SAYS)

    assert not (tmp_path / "state" / "health.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"health": 7}', b"\xff"])
async def test_a_file_that_is_none_costs_one_attempt(tmp_path, content):
    """It is named in the log and written anew."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "health.json").write_bytes(content)
    first = await attempts(tmp_path, primary=DOWN, spare=SAYS)
    second = await attempts(tmp_path, primary=DOWN, spare=SAYS)

    assert (["primary overloaded", "spare"], ["spare"]) == (first, second)
