"""What Claude Code says and does, as ACP updates: message by message, without a process."""

import json
from collections.abc import Iterable

import pytest

from acp_broker.wire.acp import Update
from backends.anthropic_cli import wire
from backends.anthropic_cli.showing import Showing
from tests.support.client import body


def said(*blocks: dict, id: str = "m", usage: dict | None = None) -> wire.ApiMessage:  # noqa: A002
    return wire.said(json.dumps({"message": {"id": id, "content": blocks, "usage": usage}}).encode()).message


def called(name: str, **arguments: object) -> dict:
    """The `tool_call` of one call."""
    block = {"type": "tool_use", "id": "t", "name": name, "input": arguments}
    (update,) = Showing("/project").whole(said(block))
    return body(update)


def result(name: str, content: object, *, is_error: bool = False, **arguments: object) -> dict:
    showing = Showing("/project")
    list(showing.whole(said({"type": "tool_use", "id": "t", "name": name, "input": arguments})))
    block = {"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": is_error}
    (update,) = showing.results(said(block))
    return body(update)


def words(updates: Iterable[Update]) -> list[tuple[str, str]]:
    return [(body(one)["messageId"], body(one)["content"]["text"]) for one in updates]


def test_two_messages_have_two_ids():
    """Frontends put words of one id into one bubble."""
    showing = Showing("/project")
    (first, _), (second, _) = (
        *words(showing.whole(said({"type": "text", "text": "one"}, id="a"))),
        *words(showing.whole(said({"type": "text", "text": "two"}, id="b"))),
    )

    assert first != second


def test_an_edit_that_failed_says_why():
    """Its diff did not happen."""
    told = result("Edit", "no such text", is_error=True, file_path="a", old_string="x", new_string="y")

    assert ("failed", "no such text") == (told["status"], told["content"][0]["content"]["text"])


def test_an_edit_that_was_made_keeps_its_diff():
    """What it gives back repeats the file."""
    told = result("Edit", "the whole file", file_path="a", old_string="x", new_string="y")

    assert ("completed", False) == (told["status"], "content" in told)


def test_a_picture_that_a_tool_gives_back_is_one():
    """And what has nothing in it is left out."""
    picture = {"type": "image", "source": {"data": "aGk=", "media_type": "image/jpeg"}}
    told = result("Read", [{"type": "text", "text": ""}, picture], file_path="a.jpg")

    assert [{"type": "image", "data": "aGk=", "mimeType": "image/jpeg"}] == [one["content"] for one in told["content"]]


def test_a_plan_is_told_once_it_is_whole():
    """While it is streamed, its list is empty: a frontend would take the plan away."""
    block = {"type": "tool_use", "id": "t", "name": "TodoWrite", "input": {"todos": []}}
    start = wire.streamed(json.dumps({"event": {"type": "content_block_start", "content_block": block}}).encode())

    assert [] == list(Showing("/project").streamed(start.event))


def test_an_entry_of_a_plan_in_a_state_that_acp_lacks_is_pending():
    """Frontends refuse a plan with an odd one."""
    todos = [{"content": "one", "status": "blocked"}, {"content": "two", "status": "completed"}]
    block = {"type": "tool_use", "id": "t", "name": "TodoWrite", "input": {"todos": todos}}
    (plan,) = Showing("/project").whole(said(block))

    assert ["pending", "completed"] == [entry["status"] for entry in body(plan)["entries"]]


@pytest.mark.parametrize(("path", "expected"), [("a.txt", "/project/a.txt"), ("/b.txt", "/b.txt")])
def test_a_file_is_named_by_its_whole_path(path, expected):
    """ACP v1, "File Paths"."""
    assert [{"path": expected}] == called("Read", file_path=path)["locations"]


def test_a_plan_to_be_approved_is_shown():
    """The person decides by its words."""
    assert "First, look." == called("ExitPlanMode", plan="First, look.")["content"][0]["content"]["text"]


def test_a_long_command_is_cut_in_the_title_alone():
    """Scripts of a thousand lines are."""
    told = called("Bash", command="x" * 1_000)

    assert (301, 1_000) == (len(told["title"]), len(told["rawInput"]["command"]))


def test_of_several_edits_those_that_change_something_are_diffs():
    """Half a call has edits without a word in them."""
    edits = [{"old_string": "a", "new_string": "b"}, {"old_string": "", "new_string": ""}]
    told = called("MultiEdit", file_path="f", edits=edits)

    assert [("a", "b")] == [(one["oldText"], one["newText"]) for one in told["content"]]


def test_the_context_holds_the_answer_too():
    """The next request sends it."""
    showing = Showing("/project")
    start = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 10, "output_tokens": 1}}}
    delta = {"type": "message_delta", "usage": {"output_tokens": 5}}
    for event in (start, delta):
        list(showing.streamed(wire.streamed(json.dumps({"event": event}).encode()).event))

    assert 15 == showing.context
