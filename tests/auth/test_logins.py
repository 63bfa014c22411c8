"""The files of logins: whole or not there, one claim at a time, and a clear error for whatever else lies there."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from acp_broker.auth.lease import Held, Logins
from acp_broker.auth.tokens import Stored, TokenSet
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import Kind, Owner, Verdict, written
from acp_broker.errors import StoreError, Unresolved
from tests.support.clock import FakeClock
from tests.support.disk import Disk

WORK = ProfileId("work")
OLD = TokenSet(access="canary-a", refresh="canary-r", obtained_at=1.0, expires_at=2.0)
NEW = TokenSet(access="canary-b", refresh="canary-s", obtained_at=5.0, expires_at=9.0)


def never(_: Stored) -> bool:
    return False


def logins(home: Path) -> Logins:
    """Those of one broker; two of them are as two processes that never see each other's memory."""
    return Logins(home, FakeClock())


def claimed(home: Path) -> tuple[Logins, Held]:
    ours = logins(home)
    ours.put(WORK, OLD)
    held = ours.claim(WORK, never, "renewing the login")
    assert isinstance(held, Held)
    return ours, held


def claim_of(home: Path, **members: object) -> None:
    """Put a claim there as another process would have written it."""
    _, held = claimed(home)
    logins(home).claim_path(WORK).write_bytes(written(replace(held.owner, claim="other", **members)))


def kind_of(home: Path) -> Kind | None:
    verdict = logins(home).owner(WORK)
    return None if verdict is None else verdict.kind


def test_a_login_is_found_as_it_was_put(tmp_path: Path) -> None:
    """By another process; nobody else may read it."""
    put = logins(tmp_path).put(WORK, OLD)
    path = logins(tmp_path).path(WORK)

    assert (put, OLD) == (logins(tmp_path).read(WORK), put.tokens)
    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)


def test_nobody_is_logged_in_before_a_login_and_after_a_logout(tmp_path: Path) -> None:
    """A logout leaves nothing; the next login is no older one."""
    ours = logins(tmp_path)
    before = ours.read(WORK)
    first = ours.put(WORK, OLD)
    removed = (ours.remove(WORK), ours.remove(WORK))
    second = ours.put(WORK, OLD)

    assert (None, (True, False)) == (before, removed)
    assert first.generation <= second.generation


def test_a_logout_leaves_nothing_that_a_dead_writer_had_ready(tmp_path: Path) -> None:
    """Else the next one who looks would be logged in again."""
    ours, held = claimed(tmp_path)
    _ready(ours.path(WORK), replace(held.stored, generation=held.stored.generation + 1))
    ours.remove(WORK)

    assert logins(tmp_path).claim(WORK, never, "renewing the login") is None


def test_names_that_differ_in_case_are_two_logins(tmp_path: Path) -> None:
    """Some disks do not tell them apart."""
    found = {logins(tmp_path).path(ProfileId(name)).name.lower() for name in ("work", "Work", "WORK")}

    assert 3 == len(found)


def test_a_second_claim_waits_for_the_first(tmp_path: Path) -> None:
    """Its owner lives: nobody asks with the same tokens."""
    claimed(tmp_path)
    found = logins(tmp_path).claim(WORK, never, "renewing the login")

    assert isinstance(found, Verdict)
    assert (Kind.LIVE, None) == (found.kind, found.free_in_s)


def test_an_answer_is_kept_and_the_claim_is_gone(tmp_path: Path) -> None:
    """The next one finds it, and claims nothing."""
    ours, held = claimed(tmp_path)
    kept = ours.settle(held, NEW)
    found = logins(tmp_path).claim(WORK, lambda login: login.tokens == NEW, "renewing the login")

    assert (kept, NEW, None) == (found, kept.tokens, kind_of(tmp_path))
    assert held.stored.generation < kept.generation


def test_an_answer_that_comes_after_the_claim_was_lost_is_kept(tmp_path: Path) -> None:
    """It may be the only one that the provider still takes; and the other's claim stays."""
    ours, held = claimed(tmp_path)
    ours.claim_path(WORK).write_bytes(written(replace(held.owner, claim="other")))
    kept = ours.settle(held, NEW)

    assert (NEW, Kind.LIVE) == (kept.tokens, kind_of(tmp_path))


@pytest.mark.parametrize(
    ("other", "kept"), [(replace(NEW, obtained_at=4.0), NEW), (replace(NEW, obtained_at=6.0), None)]
)
def test_of_two_answers_the_later_request_holds(tmp_path: Path, other: TokenSet, kept: TokenSet | None) -> None:
    """A process that slept with its answer for an hour must not undo what was renewed meanwhile."""
    ours, held = claimed(tmp_path)
    _renewed(tmp_path, other)
    found = ours.settle(held, NEW)

    assert (kept or other) == found.tokens == logins(tmp_path).read(WORK).tokens


def _renewed(home: Path, tokens: TokenSet) -> None:
    """Another process renews it, once a person has removed the claim."""
    theirs = logins(home)
    theirs.unlock(WORK, is_forced=True)
    theirs.settle(theirs.claim(WORK, never, "renewing the login"), tokens)


@pytest.mark.parametrize("obtained_at", [4.0, 6.0])
def test_an_answer_about_an_earlier_login_undoes_none(tmp_path: Path, obtained_at: float) -> None:
    """Who has just logged in, as somebody else perhaps, finds that and not what was asked for before."""
    ours, held = claimed(tmp_path)
    put = logins(tmp_path).put(WORK, replace(OLD, obtained_at=obtained_at))

    assert put == ours.settle(held, NEW) == logins(tmp_path).read(WORK)


def test_an_answer_after_a_logout_logs_nobody_in(tmp_path: Path) -> None:
    """Who logged out wants no token here."""
    ours, held = claimed(tmp_path)
    logins(tmp_path).remove(WORK)

    assert (None, None, None) == (ours.settle(held, NEW), ours.read(WORK), kind_of(tmp_path))


def test_a_refusal_is_everybodys_until_somebody_logs_in(tmp_path: Path) -> None:
    """Nobody asks a provider twice what it has refused."""
    ours, held = claimed(tmp_path)
    marked = ours.refuse(held, "invalid_grant")
    found = logins(tmp_path).claim(WORK, never, "renewing the login")
    put = logins(tmp_path).put(WORK, NEW)

    assert (marked, "invalid_grant", None) == (found, marked.refused.why, put.refused)


def test_a_refusal_of_what_was_replaced_marks_nothing(tmp_path: Path) -> None:
    """Somebody has logged in, or renewed it, in the meantime."""
    ours, held = claimed(tmp_path)
    newer = logins(tmp_path).put(WORK, NEW)

    assert newer == ours.refuse(held, "invalid_grant") == ours.read(WORK)


def test_what_a_dead_writer_had_ready_is_put_in_its_place(tmp_path: Path) -> None:
    """The tokens in it exist nowhere else."""
    ours, held = claimed(tmp_path)
    path = ours.path(WORK)
    newer = replace(held.stored, generation=held.stored.generation + 1, tokens=NEW)
    path.with_suffix(".json.new").touch(mode=0o600)
    path.with_suffix(".json.new").write_bytes(b"{}")
    _ready(path, newer)
    found = logins(tmp_path).claim(WORK, lambda login: login.tokens == NEW, "renewing the login")

    assert (newer, False) == (found, path.with_suffix(".json.new").exists())


def test_half_of_a_write_is_nothing(tmp_path: Path) -> None:
    """The login before it holds."""
    ours, held = claimed(tmp_path)
    path = ours.path(WORK)
    _ready(path, replace(held.stored, generation=held.stored.generation + 1, tokens=NEW), cut=20)
    ours.release(held)

    assert held.stored == logins(tmp_path).claim(WORK, lambda _: True, "renewing the login")


def _ready(path: Path, login: Stored, cut: int | None = None) -> None:
    path.with_suffix(".json.new").touch(mode=0o600)
    path.with_suffix(".json.new").write_bytes(msgspec.json.encode(login)[:cut])


def test_what_a_dead_writer_had_ready_waits_for_a_disk_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login before it is used up, and the next write would take the place of the only copy."""
    ours, held = claimed(tmp_path)
    path = ours.path(WORK)
    newer = replace(held.stored, generation=held.stored.generation + 1, tokens=NEW)
    _ready(path, newer)
    opens = os.open

    def fails(name: Path, *rest: int) -> int:
        if str(name).endswith(".json.new"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opens(name, *rest)

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(StoreError, match=r"cannot read .*\.json\.new: Input/output"):
        logins(tmp_path).claim(WORK, never, "renewing the login")
    monkeypatch.undo()

    assert newer == logins(tmp_path).claim(WORK, lambda login: login.tokens == NEW, "renewing the login")


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_loses_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """What was there is there, the claim still keeps others away, and what could not be written can be, later."""
    ours, held = claimed(tmp_path)
    disk = Disk(monkeypatch)
    disk.room = room
    with pytest.raises(StoreError, match=r"cannot write .*work\..*\.json: No space left on device"):
        ours.settle(held, NEW)
    meanwhile = (ours.read(WORK), kind_of(tmp_path))
    disk.room = None

    assert ((held.stored, Kind.LIVE), NEW) == (meanwhile, ours.settle(held, NEW).tokens)


@pytest.mark.parametrize("mark", [Logins.refuse, Logins.unanswered])
def test_a_mark_that_a_full_disk_refuses_leaves_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Callable[[Logins, Held, str], None]
) -> None:
    """Its owner lives on and asks nobody: all others would wait for it, as long as it lives."""
    ours, held = claimed(tmp_path)
    Disk(monkeypatch).room = 0
    with pytest.raises(StoreError, match="No space left on device"):
        mark(ours, held, "no answer")

    assert (None, held.stored) == (kind_of(tmp_path), ours.read(WORK))


def test_nothing_is_claimed_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that cannot be kept must not be asked for."""
    ours = logins(tmp_path)
    ours.put(WORK, OLD)
    Disk(monkeypatch).room = 0

    with pytest.raises(StoreError, match=r"cannot write .*work\..*\.claim: No space left on device"):
        ours.claim(WORK, never, "renewing the login")


def test_a_claim_of_a_dead_process_is_taken_at_once(tmp_path: Path) -> None:
    """kill -9 leaves it behind."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claim_of(tmp_path, pid=dead.pid)
    found = logins(tmp_path).claim(WORK, never, "renewing the login")

    assert (True, Kind.DEAD) == (isinstance(found, Held), found.taken_from.kind)


def test_a_claim_of_a_zombie_is_taken_at_once(tmp_path: Path) -> None:
    """In a container whose first process reaps nobody they stay for ever."""
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    zombie.stdout.read()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    claim_of(tmp_path, pid=zombie.pid)
    found = kind_of(tmp_path)
    zombie.stdout.close()
    zombie.wait()

    assert Kind.ZOMBIE is found


def test_a_claim_under_a_recycled_pid_is_taken_at_once(tmp_path: Path) -> None:
    """Containers give the same small numbers again and again."""
    claim_of(tmp_path, pid=os.getppid(), start=1)
    found = logins(tmp_path).claim(WORK, never, "renewing the login")

    assert (True, Kind.RECYCLED) == (isinstance(found, Held), found.taken_from.kind)


def test_a_claim_from_before_a_restart_is_taken_at_once(tmp_path: Path) -> None:
    """Nobody survives that."""
    claim_of(tmp_path, boot="another")

    assert (Kind.REBOOTED, True) == (kind_of(tmp_path), isinstance(logins(tmp_path).claim(WORK, never, ""), Held))


def _in_its_place(path: Path, what: str) -> None:
    path.unlink()
    match what:
        case "link":
            path.symlink_to(path.with_name("elsewhere"))
            path.with_name("elsewhere").write_text("mine")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.touch(mode=0o600)
            path.write_bytes(what.encode())


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("link", Kind.NO_FILE),
        ("fifo", Kind.NO_FILE),
        ("folder", Kind.NO_FILE),
        ("", Kind.EMPTY),
        ('{"pid": 7', Kind.DAMAGED),
    ],
)
def test_what_lies_in_place_of_a_claim_has_its_verdict(tmp_path: Path, what: str, kind: Kind) -> None:
    """And nobody follows a link, or waits for a pipe."""
    claimed(tmp_path)
    _in_its_place(logins(tmp_path).claim_path(WORK), what)

    assert kind is kind_of(tmp_path)


def test_a_link_in_place_of_a_claim_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """What it led to may be anything."""
    claimed(tmp_path)
    path = logins(tmp_path).claim_path(WORK)
    _in_its_place(path, "link")
    found = logins(tmp_path).claim(WORK, never, "renewing the login")

    assert (True, False, "mine") == (
        isinstance(found, Held),
        path.is_symlink(),
        path.with_name("elsewhere").read_text(),
    )


def test_a_folder_in_place_of_a_claim_is_named(tmp_path: Path) -> None:
    """It cannot be replaced: somebody has to look."""
    claimed(tmp_path)
    path = logins(tmp_path).claim_path(WORK)
    _in_its_place(path, "folder")

    with pytest.raises(StoreError, match=r"cannot write .*\.claim: Is a directory"):
        logins(tmp_path).claim(WORK, never, "renewing the login")


def test_unlock_removes_a_living_owners_claim_and_says_whose_it_was(tmp_path: Path) -> None:
    """The one way to rob somebody: a person who knows better. What the robbed brings is kept all the same."""
    ours, held = claimed(tmp_path)
    verdict = logins(tmp_path).unlock(WORK, is_forced=True)
    gone = kind_of(tmp_path)

    assert (Kind.LIVE, None, NEW) == (verdict.kind, gone, ours.settle(held, NEW).tokens)


def test_unlock_looks_again_under_the_lock(tmp_path: Path) -> None:
    """Between a person's look and their command, a process may have taken the claim over."""
    claimed(tmp_path)
    verdict = logins(tmp_path).unlock(WORK, is_forced=False)

    assert (Kind.LIVE, Kind.LIVE) == (verdict.kind, kind_of(tmp_path))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("link", "is a link; move it away"),
        ("fifo", "is no file; move it away"),
        ("folder", "is no file; move it away"),
        ("", "holds no login, or half of one: acp-broker login work"),
        ("{}", "holds no login, or half of one: acp-broker login work"),
    ],
)
def test_what_is_no_login_is_named_with_what_to_do(tmp_path: Path, what: str, why: str) -> None:
    """It is never followed, never waited for, and never taken for nobody's."""
    logins(tmp_path).put(WORK, OLD)
    path = logins(tmp_path).path(WORK)
    _in_its_place(path, what)

    with pytest.raises(Unresolved) as caught:
        logins(tmp_path).read(WORK)
    assert f"{path} {why}" == str(caught.value)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"profile": "home"}, "is the login of another profile: acp-broker login work"),
        ({"version": 2}, "was written by another version of acp-broker; use that one, or: acp-broker login work"),
    ],
)
def test_a_login_that_is_not_this_one_is_named(tmp_path: Path, members: dict, why: str) -> None:
    """Copied by hand, or written by a newer release."""
    logins(tmp_path).put(WORK, OLD)
    path = logins(tmp_path).path(WORK)
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))

    with pytest.raises(Unresolved) as caught:
        logins(tmp_path).read(WORK)
    assert f"{path} {why}" == str(caught.value)


def test_a_login_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """Whoever has read it is logged in as well."""
    logins(tmp_path).put(WORK, OLD)
    path = logins(tmp_path).path(WORK)
    path.chmod(0o644)

    with pytest.raises(Unresolved) as caught:
        logins(tmp_path).read(WORK)
    assert f"others can read or write {path} (mode 0644): chmod 600 {path}" == str(caught.value)


@pytest.mark.parametrize("name", ["json", "json.new", "claim"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200) | st.builds(lambda at, by: (at, by), st.integers(0, 300), st.binary(max_size=3)))
def test_any_bytes_in_any_file_are_a_verdict_or_a_clear_error(tmp_path: Path, name: str, data: object) -> None:
    """Random bytes, and a true file with some of its bytes replaced: no other exception, and no login is lost."""
    ours, held = claimed(tmp_path)
    path = ours.path(WORK).with_suffix(f".{name}")
    whole = written(held.owner) if name == "claim" else ours.path(WORK).read_bytes()
    path.touch(mode=0o600)
    path.write_bytes(data if isinstance(data, bytes) else whole[: data[0]] + data[1] + whole[data[0] + len(data[1]) :])
    other, said = logins(tmp_path), []
    for act in (lambda: other.read(WORK), lambda: other.owner(WORK), lambda: other.claim(WORK, never, "")):
        try:
            act()
        except Unresolved as error:
            said.append(str(error))
    assert all(str(ours.path(WORK)) in one for one in said)
    if name != "json":
        assert OLD.refresh is not None
        assert OLD.refresh.encode() in ours.path(WORK).read_bytes()
    for left in ours.path(WORK).parent.glob("*.claim"):
        left.unlink()


def test_two_who_take_over_one_claim_never_both_win(tmp_path: Path) -> None:
    """The judgement and the taking are one under the lock: the second finds the first, who lives."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claim_of(tmp_path, pid=dead.pid)
    found = [logins(tmp_path).claim(WORK, never, "") for _ in range(3)]

    assert [True, False, False] == [isinstance(one, Held) for one in found]
    assert [Kind.LIVE, Kind.LIVE] == [one.kind for one in found[1:]]


def test_no_repr_tells_a_token(tmp_path: Path) -> None:
    """Of nothing that holds one."""
    _, held = claimed(tmp_path)

    assert "canary" not in repr((held, held.stored))


def test_a_claim_holds_no_token(tmp_path: Path) -> None:
    """It is read by whoever wants to know who is at it."""
    claimed(tmp_path)
    text = logins(tmp_path).claim_path(WORK).read_text()

    assert "canary" not in text
    assert Owner.__struct_fields__ == tuple(json.loads(text))
