"""The demo's lanes, row by row, from records as a session log holds them."""

import io
from pathlib import Path

from rich.console import Console

from acp_broker.cli.timeline import Tail, Timeline
from acp_broker.store import records


def _step(now: float, event: str, *commands: str, updates: str = "") -> str:
    tail = f',"updates":[{updates}]' if updates else ""
    return f'{{"record":"step","turn":"t","now":{now},"event":{event},"commands":[{",".join(commands)}]{tail}}}'


LOG = (
    '{"record":"opened","format":1}',
    '{"record":"accepted","turn":"t","prompt":[{"type":"text","text":"hi"}]}',
    _step(0.0, '{"type":"Accepted"}', '{"type":"Start","attempt":1,"candidate":{"backend":"a"}}'),
    _step(0.5, '{"type":"Doubted","attempt":1}', '{"type":"Hold"}'),
    _step(1.25, '{"type":"Failed","attempt":1,"failure":{"kind":"crashed","text":"gone"}}', '{"type":"DropHeld"}'),
    _step(1.25, '{"type":"Stopped","attempt":1}', '{"type":"Start","attempt":2,"candidate":{"backend":"b"}}'),
    _step(2.0, '{"type":"Spoke","attempt":2}', '{"type":"Relay"}', updates='{"update":{"content":{"text":"hello"}}}'),
    '{"record":"answer","to":1,"turn":"t","frame":{"jsonrpc":"2.0","id":3,"error":{"code":-33002,"message":"m"}}}',
)

ROWS = """\
0.00 s  "hi" ─────────────▶
0.00 s                      asks ─────────────────▶ a
0.50 s                      held back: a failure?   a speaks
1.25 s                                              a ✗ gone
1.25 s                      nothing shown: asks ──▶ b
2.00 s  "hello" ◀────────────────────────────────── b
2.00 s  error -33002 ◀──
"""


def _shown(encoding: str) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    timeline = Timeline(Console(file=file, width=80))
    for line in LOG:
        timeline.tell(records.read(line))
    file.seek(0)
    return file.read()


def test_each_record_is_a_row_in_its_lane() -> None:
    """Time on the left, then the editor, the broker, the agents."""
    assert ROWS == _shown("utf-8")


def test_a_terminal_without_unicode_gets_arrows_of_ascii() -> None:
    """An encoding error in the first minute is a poor welcome."""
    expected = ROWS.translate(str.maketrans("─▶◀✗", "-><x"))

    assert expected == _shown("ascii")


def test_a_log_that_is_being_written_is_read_by_whole_records(tmp_path: Path) -> None:
    """Half a record is not there yet; it comes whole the next time."""
    path = tmp_path / "log"
    first, second = (line + "\n" for line in LOG[:2])
    path.write_text(first + second[:10])
    tail = Tail(path)
    seen = [[record.record for record in tail.fresh()]]
    path.write_text(first + second)
    seen += [[record.record for record in tail.fresh()], [record.record for record in tail.fresh()]]

    assert [["opened"], ["accepted"], []] == seen
