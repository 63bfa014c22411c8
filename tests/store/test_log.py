"""The session log: what is shown was written before, and what is read back is what was written."""

import json
import os
from pathlib import Path

import pytest

from acp_broker.errors import StoreError
from acp_broker.store import log as module
from acp_broker.store import logfile, records
from acp_broker.store.log import SessionLog
from acp_broker.store.logfile import LogFile
from acp_broker.store.reading import read_records
from tests.support.disk import Disk

ME, OTHER = 1, 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # Not in a folder called sessions: what is there is played again at the end of the run, and these hold no turns.
    return tmp_path / "logs" / "s.jsonl"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def log(path: Path):
    log = SessionLog(path)
    log.create(opened())
    yield log
    log.close()


def opened(version: int = records.FORMAT) -> bytes:
    return records.line("opened", format=version, session="s", cwd="/")


def say(log: SessionLog, text: str, *, to: int | None = None) -> bytes:
    """Append and commit one message; the frame that a reader is shown of it."""
    if to is None:
        params = json.dumps({"text": text}).encode()
        frame = records.update_frames([params])
        log.append(b'{"record":"shown","updates":[%b]}\n' % params, frame)
    else:
        frame = json.dumps({"jsonrpc": "2.0", "id": 1, "text": text}).encode() + b"\n"
        log.append(b'{"record":"sent","to":%d,"frame":%b}\n' % (to, frame[:-1]), frame, to)
    log.commit()
    return frame


def read_all(log: SessionLog, position: int = 0, reader: int = ME) -> bytes:
    """What a reader gets that reads until there is nothing more."""
    got = b""
    while True:
        after, frames = log.read(position, reader)
        got += frames
        if after == position:
            return got
        position = after


def test_a_log_is_readable_by_its_owner_alone(path: Path) -> None:
    """It holds conversations."""
    before = os.umask(0)
    try:
        log = SessionLog(path)
        log.create(opened())
        log.close()
    finally:
        os.umask(before)

    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """Whoever can put a link there must not choose what we write to."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot create the session log"):
        SessionLog(path).create(opened())

    assert not (tmp_path / "elsewhere").exists()


def test_another_sessions_log_is_not_taken_over(path: Path) -> None:
    """Two sessions in one file would be neither."""
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="File exists"):
        SessionLog(path).create(opened())

    assert b"mine" == path.read_bytes()


def test_nothing_is_shown_before_it_is_written(log: SessionLog, path: Path) -> None:
    """A frontend sees nothing that a crash could make unsaid."""
    in_the_file: list[bool] = []
    log.attach(lambda: in_the_file.append(path.read_bytes().endswith(b'[{"text": "a"}]}\n')))
    say(log, "a")

    assert [True] == in_the_file


def test_what_was_appended_is_shown_by_one_write(log: SessionLog, disk: Disk, monkeypatch) -> None:
    """One read of an agent, one write: a write per update would halve what we relay."""
    writes: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(data) or len(data))
    for _ in range(10):
        log.append(b'{"record":"shown"}\n')
    log.commit()

    assert 1 == len(writes)


def test_a_reader_gets_what_was_said_in_order(log: SessionLog) -> None:
    """Words are a text only in order."""
    frames = [say(log, text) for text in ("a", "b", "c")]

    assert b"".join(frames) == read_all(log)


def test_a_reader_that_is_up_to_date_gets_only_what_is_new(log: SessionLog) -> None:
    """Twice is as wrong as never."""
    say(log, "a")
    position = log.end
    frame = say(log, "b")

    assert (log.end, frame) == log.read(position, ME)


def test_what_is_for_another_frontend_is_left_out(log: SessionLog) -> None:
    """A permission request has one addressee."""
    mine, _, everybodys = say(log, "m", to=ME), say(log, "o", to=OTHER), say(log, "e")

    assert mine + everybodys == read_all(log)


def test_a_reader_that_lags_gets_from_the_file_what_it_would_have_got_from_memory(log: SessionLog, monkeypatch) -> None:
    """A slow frontend must not be able to tell."""
    frames = [say(log, f"{number} \u2028é", to=(None, ME, OTHER)[number % 3]) for number in range(50)]
    expected = b"".join(frame for number, frame in enumerate(frames) if number % 3 != 2)
    from_memory = read_all(log)
    monkeypatch.setattr(module, "TAIL_BYTES", 100)
    say(log, "last", to=OTHER)

    assert (expected, expected) == (from_memory, read_all(log))


def test_memory_is_bounded_however_slow_a_reader_is(log: SessionLog, monkeypatch) -> None:
    """Agents are always drained; what nobody reads is in the file."""
    monkeypatch.setattr(module, "TAIL_BYTES", 1000)
    for number in range(200):
        say(log, str(number))

    assert log._tail.bytes <= 1000


def test_a_record_longer_than_one_read_of_the_file_is_read_whole(log: SessionLog, monkeypatch) -> None:
    """A tool's output may be 32 MiB in one update."""
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    monkeypatch.setattr(logfile, "READ_BYTES", 64)
    frames = [say(log, "x" * size) for size in (10, 1000, 63, 64, 65)]

    assert b"".join(frames) == read_all(log)


def test_records_without_frames_hold_a_lagging_reader_up_in_no_place(log: SessionLog, monkeypatch) -> None:
    """Steps that show nothing lie between those that do."""
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    monkeypatch.setattr(logfile, "READ_BYTES", 64)
    frames = []
    for number in range(20):
        log.append(records.step_line("t", 1.0, b"{}", b"[]", []))
        frames.append(say(log, str(number)))

    assert b"".join(frames) == read_all(log)


def test_a_log_whose_file_was_deleted_works_on(log: SessionLog, path: Path, monkeypatch) -> None:
    """Somebody tidied up: the turn that runs must not fall over; whoever begins the next one is told."""
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    before = say(log, "a" * 50)
    path.unlink()
    after = say(log, "b" * 50)

    fault = f"the session log {path} was deleted; open a new session"
    assert (before + after, fault) == (read_all(log), log.fault)


def test_closing_gives_the_file_back(log: SessionLog) -> None:
    """A broker lives for weeks, and opens a file per session."""
    before = log._file._fd
    log.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(before)


def test_closing_twice_does_nothing(log: SessionLog) -> None:
    """A session may be ended by its frontend and by the broker's end."""
    log.close()
    log.close()


def test_a_reader_that_left_is_not_called(log: SessionLog) -> None:
    """Its connection is gone."""
    calls: list[int] = []

    def reader() -> None:
        calls.append(1)

    log.attach(reader)
    log.detach(reader)
    say(log, "a")

    assert [] == calls


# --- a disk that fails


def test_a_full_disk_is_named(log: SessionLog, disk: Disk, path: Path) -> None:
    """The person who reads it must know which disk, and what it said."""
    disk.room = 0
    say(log, "a")

    assert f"cannot write the session log {path}: No space left on device" == log.fault


def test_the_part_of_a_record_that_did_fit_is_cut_off(log: SessionLog, disk: Disk, path: Path) -> None:
    """Half a record would make everything behind it unreadable."""
    whole = path.read_bytes()
    disk.room = 7
    say(log, "a")

    assert whole == path.read_bytes()


def test_words_are_shown_although_the_disk_is_full(log: SessionLog, disk: Disk) -> None:
    """The running turn finishes: a person waits for its answer."""
    before = say(log, "a")
    disk.room = 0
    after = say(log, "b")

    assert before + after == read_all(log)


def test_words_that_are_nowhere_else_stay_in_memory(log: SessionLog, disk: Disk, monkeypatch) -> None:
    """A slow reader finds them in no file."""
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    first = say(log, "a" * 50)
    disk.room = 0
    frames = [say(log, text * 50) for text in "bcd"]

    assert first + b"".join(frames) == read_all(log)


def test_recovering_while_the_disk_is_full_raises_its_fault(log: SessionLog, disk: Disk, path: Path) -> None:
    """Whoever starts the next turn is told by name."""
    disk.room = 0
    say(log, "a")
    with pytest.raises(StoreError, match="No space left on device"):
        log.recover()


def test_once_there_is_room_the_log_is_written_again(log: SessionLog, disk: Disk) -> None:
    """Nobody restarts the broker for a disk that was full for a minute."""
    disk.room = 0
    say(log, "lost")
    disk.room = None
    log.recover()
    say(log, "kept")
    texts = [record.updates for record in log.records() if record.updates]

    assert (None, [[b'{"text": "kept"}']]) == (log.fault, [[bytes(one) for one in update] for update in texts])


def test_the_log_says_how_much_it_lacks(log: SessionLog, disk: Disk, path: Path) -> None:
    """A gap that is not marked reads like a conversation that never had it."""
    whole = log.end
    disk.room = 0
    say(log, "lost")
    lost = log.end - whole
    disk.room = None
    log.recover()

    assert lost == json.loads(path.read_bytes().splitlines()[-1])["lost"]


def test_positions_are_right_behind_a_gap_in_which_another_process_wrote(log: SessionLog, disk: Disk, path) -> None:
    """A reader that lagged all the while gets whole records, of both."""
    first = say(log, "first")
    disk.room = 0
    say(log, "lost")
    disk.room = None
    other = SessionLog(path)
    other.take_up()
    theirs = [say(other, text * 30) for text in "xyz"]
    log.hold()
    ours = say(log, "ours")
    log.let_go()
    log.forget()

    assert first + b"".join(theirs) + ours == read_all(log)
    assert log.is_behind
    other.close()


def test_a_recovery_that_failed_is_part_of_the_gap(log: SessionLog, disk: Disk, path: Path) -> None:
    """Each refused prompt tries; positions stay what they are only if the whole gap is counted."""
    whole = log.end
    disk.room = 0
    say(log, "lost")
    for _ in range(3):
        with pytest.raises(StoreError):
            log.recover()
    lost = log.end - whole
    disk.room = None
    log.recover()

    assert lost == json.loads(path.read_bytes().splitlines()[-1])["lost"]


def test_positions_are_right_behind_a_gap(log: SessionLog, disk: Disk, monkeypatch) -> None:
    """A reader that lagged all the while gets what the file has, each thing once and whole."""
    first = say(log, "first")
    position = log.end
    disk.room = 0
    say(log, "lost")
    disk.room = None
    log.recover()
    kept = [say(log, text * 40) for text in "abc"]
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    kept.append(say(log, "last"))

    assert (first + b"".join(kept), b"".join(kept)) == (read_all(log), read_all(log, position))


def test_a_reader_in_a_gap_gets_what_memory_still_has_of_it(log: SessionLog, disk: Disk, monkeypatch) -> None:
    """Words that were never written are shown as long as they are kept."""
    position = log.end
    disk.room = 0
    say(log, "a" * 100)
    kept = say(log, "b" * 100)
    disk.room = None
    log.recover()
    monkeypatch.setattr(module, "TAIL_BYTES", 2 * len(kept) + 100)
    last = say(log, "c" * 100)

    assert kept + last == read_all(log, position)


def test_two_gaps_are_two_gaps(log: SessionLog, disk: Disk, monkeypatch) -> None:
    """Disks fill up again."""
    kept = [say(log, "a")]
    for text in "bc":
        disk.room = 0
        say(log, "lost")
        disk.room = None
        log.recover()
        kept.append(say(log, text))
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    kept.append(say(log, "d"))

    assert b"".join(kept) == read_all(log)


def test_a_log_that_cannot_be_begun_is_an_error(path: Path, disk: Disk) -> None:
    """A session without a log is none."""
    disk.room = 3
    with pytest.raises(StoreError, match="No space left on device"):
        SessionLog(path).create(opened())


# --- reading it back


def test_a_torn_last_record_is_left_out(log: SessionLog, path: Path) -> None:
    """The broker was killed in the middle of a write."""
    say(log, "a")
    with path.open("ab") as file:
        file.write(b'{"record":"shown","upd')

    assert ["opened", "shown"] == [record.record for record in read_records(path)]


def test_garbage_at_the_end_is_left_out(log: SessionLog, path: Path) -> None:
    """A power cut may leave zeros where the last record should be, and a newline."""
    say(log, "a")
    with path.open("ab") as file:
        file.write(b"\0\0\0\n")

    assert ["opened", "shown"] == [record.record for record in read_records(path)]


def test_garbage_in_the_middle_is_an_error_with_its_place(log: SessionLog, path: Path) -> None:
    """What is behind it may be whole: nobody should cut it off unseen."""
    say(log, "a")
    path.write_bytes(path.read_bytes().replace(b'{"record":"shown"', b'{"rec') + opened())
    with pytest.raises(StoreError, match=r"s\.jsonl, line 2: no record of a session log"):
        list(read_records(path))


def test_a_newer_format_is_refused(path: Path) -> None:
    """To guess at what a newer broker meant could lose what it wrote."""
    path.parent.mkdir()
    path.write_bytes(opened(records.FORMAT + 1))
    with pytest.raises(StoreError, match=r"was written by a newer acp-broker \(format 2\); update this one"):
        list(read_records(path))


def test_members_that_a_newer_broker_added_are_passed_over(path: Path) -> None:
    """The same format may grow."""
    path.parent.mkdir()
    path.write_bytes(records.line("opened", format=records.FORMAT, session="s", colour="green"))

    assert ["s"] == [record.session for record in read_records(path)]


def test_a_file_that_is_not_there_is_an_error_with_its_name(path: Path) -> None:
    """No traceback for a file that somebody deleted."""
    with pytest.raises(StoreError, match=r"cannot read the session log .*: No such file or directory"):
        list(read_records(path))


def test_a_log_at_rest_holds_no_descriptor(log, path):
    """A closed session may lie there for weeks."""
    log.rest()

    assert str(path) not in open_files()


def test_a_log_at_rest_is_read_like_any_other(log):
    """From the file: its memory is empty."""
    said = say(log, "before")
    log.rest()

    assert said == read_all(log)


def test_a_log_at_rest_is_written_like_any_other(log):
    """It wakes by itself."""
    before = say(log, "before")
    log.rest()
    after = say(log, "after")

    assert before + after == read_all(log)


def test_a_log_rests_although_somebody_attends_it(log, path):
    """Two thousand idle sessions of a bridge that is there must not hold two thousand descriptors."""
    log.attach(lambda: None)
    log.rest()

    assert str(path) not in open_files()


def test_reading_a_log_at_rest_does_not_wake_it(log, path):
    """A slow reader has the rest of its words from the file."""
    said = say(log, "before")
    log.rest()

    assert (said, False) == (read_all(log), str(path) in open_files())


def test_a_log_that_has_forgotten_its_words_reads_them_from_the_file(log, path):
    """It is still open: its agent may go on any time."""
    said = say(log, "before")
    log.forget()

    assert (said, True) == (read_all(log), str(path) in open_files())


def test_what_the_disk_did_not_take_is_not_forgotten(log, disk):
    """It can be read nowhere else."""
    disk.room = 0
    said = say(log, "lost")
    log.forget()

    assert said == read_all(log)


def test_a_log_at_rest_whose_file_is_gone_says_so(log, path):
    """Its next prompt is refused by this text."""
    log.rest()
    path.unlink()
    say(log, "lost")

    assert f"cannot open the session log {path}: No such file or directory" == log.fault


def open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    return [str(link.readlink()) for link in folder.iterdir() if link.is_symlink()]


# --- by numbers


def read_numbered(log: SessionLog, position: int = 0) -> list[tuple[int | None, str]]:
    """Everything that is said from there on, with its number."""
    got: list[tuple[int | None, str]] = []
    while True:
        after, found = log.by_number.read(position, log.shown)
        got += [(number, json.loads(bytes(one))["text"]) for number, record in found for one in record.updates or ()]
        if after == position:
            return got
        position = after


def numbers(path: Path) -> list[tuple[int, str]]:
    """What the file says, and where."""
    found, start = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        found += [(start, one["text"]) for one in json.loads(line).get("updates", ())]
        start += len(line)
    return found


def test_a_records_number_is_where_it_stands_in_the_file(log, path):
    """Whoever reads the file finds the same."""
    for text in ("a", "b", "c"):
        say(log, text)

    assert numbers(path) == read_numbered(log)


def test_numbers_are_read_in_pieces(log, path, monkeypatch):
    """A reader that is far behind must not hold everybody up, and a long record comes whole."""
    monkeypatch.setattr(logfile, "READ_BYTES", 64)
    for text in ("a", "b" * 500, "c"):
        say(log, text)

    assert numbers(path) == read_numbered(log)


def test_whoever_reads_records_is_told_of_each_write(log):
    """Also of one that shows nothing to others: that a turn was accepted."""
    told: list[str] = []
    log.attach(lambda: told.append("frames"))
    log.attach(lambda: told.append("records"), of_records=True)
    log.append(b'{"record":"accepted"}\n')
    log.commit()

    assert ["records"] == told


def test_what_the_disk_did_not_take_has_no_number(log, path, disk):
    """It is shown all the same, and the rest has the numbers of the file."""
    log.attach(lambda: None, of_records=True)
    say(log, "a")
    disk.room = 0
    say(log, "lost")
    disk.room = None
    log.recover()
    say(log, "b")
    before, after = numbers(path)

    assert [before, (None, "lost"), after] == read_numbered(log)


def test_what_was_lost_stands_where_the_next_will(log, path, disk):
    """Who has seen it has seen the file up to there."""
    disk.room = 0
    say(log, "lost")

    assert path.stat().st_size == log.by_number.offset(log.shown)


def test_who_reads_records_from_the_middle_of_what_was_lost_goes_on_there(log, disk):
    """It was shown the first half of it."""
    log.attach(lambda: None, of_records=True)
    disk.room = 0
    say(log, "lost")
    position = log.shown
    say(log, "as well")

    assert [(None, "as well")] == read_numbered(log, position)


def test_what_nobody_read_when_it_was_lost_is_passed_over(log, path, disk):
    """It is nowhere any more; the next is read."""
    say(log, "a")
    disk.room = 0
    say(log, "lost")
    log.attach(lambda: None, of_records=True)
    say(log, "seen")

    assert [*numbers(path), (None, "seen")] == read_numbered(log)


def test_a_reader_is_not_stuck_before_what_was_lost(log, disk):
    """What was lost first showed nothing, and memory was empty: the words behind it are shown all the same."""
    log.forget()
    position = log.shown
    disk.room = 0
    log.append(b'{"record":"step"}\n')
    log.commit()
    said = say(log, "lost")

    assert said == read_all(log, position)


def test_every_number_in_a_record_leads_to_its_beginning(log):
    """A client says the number of the last thing that it saw of it."""
    start = log.end
    say(log, "a")
    end = log.end
    say(log, "b")

    assert {start} == {log.by_number.position_of(number) for number in range(start, end)}


def test_a_number_behind_the_end_leads_nowhere(log):
    """The log was cut, or is another one."""
    say(log, "a")

    assert [None, None] == [log.by_number.position_of(log.end), log.by_number.position_of(-1)]


def test_a_number_behind_what_was_lost_leads_behind_it(log, path, disk):
    """The file has no gap where the positions have one."""
    disk.room = 0
    say(log, "lost")
    disk.room = None
    log.recover()
    position = log.end
    say(log, "b")
    [(number, _)] = numbers(path)

    assert (position, number) == (log.by_number.position_of(number), log.by_number.offset(position))


def test_a_log_at_rest_is_read_by_numbers_without_waking_it(log, path):
    """As by frames."""
    say(log, "a")
    log.rest()
    found = read_numbered(log), log.by_number.position_of(numbers(path)[0][0])

    assert (numbers(path), numbers(path)[0][0], False) == (*found, str(path) in open_files())


def test_what_shows_nothing_is_not_read_back_for_those_that_keep_up(log: SessionLog, monkeypatch) -> None:
    """The first prompt of a session may be an image of 30 MB: to pass it over in the file takes long."""
    position = log.end
    log.put(b'{"record":"shown"}\n', b"", None)
    monkeypatch.setattr(LogFile, "lines", unreadable)
    said = say(log, "hello")

    assert said == read_all(log, position)


@pytest.mark.parametrize("forget", [SessionLog.forget, SessionLog.rest])
def test_what_was_said_before_it_forgot_is_read_back(log: SessionLog, forget) -> None:
    """A reader that had not had it stands before what is remembered from then on."""
    said = say(log, "before")
    forget(log)
    said += say(log, "after")

    assert said == read_all(log)


def test_a_record_that_is_put_is_not_read_back_by_those_that_read_records(log: SessionLog, monkeypatch) -> None:
    """It may be 30 MB, and is in memory just then."""
    monkeypatch.setattr(LogFile, "lines", unreadable)
    position, put, got = log.end, records.Record("accepted", turn="t"), []
    log.attach(lambda: got.append(log.by_number.read(position, log.shown)), of_records=True)
    log.put(b'{"record":"accepted","turn":"t"}\n', b"", None, put)

    assert [(log.end, [(position, put)])] == got


def test_who_comes_later_reads_what_was_put_from_the_file(log: SessionLog) -> None:
    """It is kept in memory for no longer than it takes to tell of it."""
    position = log.end
    log.put(b'{"record":"accepted","turn":"t"}\n', b"", None, records.Record("accepted", turn="other"))
    _, [(number, record)] = log.by_number.read(position, log.shown)

    assert (position, "t") == (number, record.turn)


def unreadable(*_: object) -> bytes:
    raise AssertionError("the file was read")


def test_what_must_be_kept_is_shown_to_nobody_if_it_cannot_be(log: SessionLog, disk: Disk) -> None:
    """A prompt that is refused, for a full disk, was never part of the session."""
    end = log.end
    disk.room = 0
    with pytest.raises(StoreError, match="No space left on device"):
        log.put(b'{"record":"shown"}\n', b"frame\n", None)

    assert (b"", end) == (read_all(log), log.end)


def test_what_is_new_is_read_though_the_file_is_gone(log, path):
    """Whoever watches must not fall with what it wanted to see first."""
    log.attach(lambda: read_numbered(log), of_records=True)
    say(log, "gone")
    log.rest()
    path.unlink()
    say(log, "new")

    assert [(None, "new")] == read_numbered(log)
