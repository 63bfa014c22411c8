"""`python -m tests.support.fake_claude SCRIPT ...`: stands in for the Claude Code CLI, with the lines that it writes.

SCRIPT is JSON: `turns` in the words of docs/scripted.md that fit, and some of its own: `raw` writes
lines as they are, `$PROMPT` for the prompt's uuid; `exit` ends it; `await` waits for an answer, `sayHeard` says it.
`echo` says the last block of the prompt. `modes` are those it has; `sessions` is a file in which it remembers its
sessions; `says` is printed first; `isBare`: a turn has no line but its own. A prompt `tell` is answered with its
arguments and all it has read.
"""

import json
import os
import queue
import signal
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Step = Mapping[str, Any]
SESSION = "11111111-1111-4111-8111-111111111111"
USAGE = {"input_tokens": 7, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 5, "output_tokens": 3}
ENDED = {"type": "result", "subtype": "success", "is_error": False, "stop_reason": "end_turn", "num_turns": 1}
WINDOW = {"claude-drill": {"contextWindow": 200_000}}


class Interrupted(Exception):
    """The client wants the turn to end."""


class Fake:
    def __init__(self, script: Mapping[str, Any]) -> None:
        self.script = script
        self.heard: list[Any] = []
        self.lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answer = ""
        self.said: object = None
        self.prompt = self.text = ""
        self.turns = 0
        threading.Thread(target=self._read, daemon=True).start()

    def serve(self) -> None:
        while (message := self.lines.get()) is not None:
            if message["type"] == "user":
                self._turn(message)
            else:
                self._control(message)

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            self.heard.append(message)
            self.lines.put(message)
        self.lines.put(None)

    def _turn(self, message: Any) -> None:
        self.prompt = message["uuid"]
        turns = self.script.get("turns", [[]])
        steps = turns[min(self.turns, len(turns) - 1)]
        self.turns += 1
        self._cycle("queued")
        self._cycle("started")
        late: list[Step] = []
        blocks = message["message"]["content"]
        self.text = blocks[-1].get("text", "")
        if blocks[0]["text"] == "tell":
            steps = [
                {"do": "say", "text": json.dumps({"argv": sys.argv[2:], "heard": self.heard, "env": dict(os.environ)})}
            ]
        if not self.script.get("isBare"):
            write(type="system", subtype="init", session_id=SESSION, permissionMode="default")
            write_event(type="message_start", message={"id": f"msg_{self.turns}", "usage": USAGE})
        try:
            end = self._play(steps, late)
        except Interrupted:
            end = {"subtype": "error_during_execution", "is_error": True, "terminal_reason": "aborted_streaming"}
        if end is not None:
            write(**{**ENDED, "usage": USAGE, "modelUsage": WINDOW, "total_cost_usd": 0.5, **self._of_prompt(), **end})
        self._cycle("completed")
        self._play(late, [])

    def _play(self, steps: Iterable[Step], late: list[Step]) -> dict[str, Any] | None:
        """What the result of the turn says; None where the script has written one."""
        for step in steps:
            self._look()
            match step["do"]:
                case "fail":
                    return self._fail()
                case "end":
                    return {"stop_reason": step["stopReason"]}
                case "lateUpdates":
                    late.extend(step["steps"])
                case "raw":
                    sys.stdout.write(step["text"].replace("$PROMPT", self.prompt))
                    sys.stdout.flush()
                    if step.get("ends"):
                        return None
                case "ifText":
                    branch = step["steps"] if step["contains"] in self.text else step["else"]
                    if (end := self._play(branch, late)) != {}:
                        return end
                case "repeat":
                    while True:
                        self._play(step["steps"], late)
                case _:
                    self._do(step)
        return {}

    def _do(self, step: Step) -> None:
        match step["do"]:
            case "say" | "echo":
                say(step.get("text", self.text))
            case "stall":
                self._wait(step.get("ms"))
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "flood":
                sys.stdout.write("x" * (33 * 1024 * 1024))
            case "exit":
                os._exit(step["status"])
            case "askPermission":
                self._ask()
            case "sayAnswer":
                say(self.answer)
            case "await":
                while self.said is None:
                    self._control(self.lines.get())
            case "sayHeard":
                say(json.dumps(self.said))
            case "note":
                write(type="system", subtype="status", status=None, permissionMode="plan")

    def _fail(self) -> dict[str, Any]:
        text = "Not logged in · Please run /login"
        content = [{"type": "text", "text": text}]
        write(type="assistant", message={"id": "synthetic", "content": content}, error="authentication_failed")
        return {"is_error": True, "stop_reason": "stop_sequence", "terminal_reason": "api_error", "result": text}

    def _ask(self) -> None:
        call = {"tool_name": "Write", "tool_use_id": "toolu_1", "input": {"file_path": "a.txt", "content": "new"}}
        suggestions = [{"type": "setMode", "mode": "acceptEdits", "destination": "localSettings"}]
        request = {"subtype": "can_use_tool", **call, "permission_suggestions": suggestions}
        write(type="control_request", request_id="ask-1", request=request)
        self.said = None
        while self.said is None:
            self._control(self.lines.get())
        self.answer = "reject" if isinstance(self.said, dict) and self.said["behavior"] == "deny" else "allow"

    def _look(self) -> None:
        while not self.lines.empty():
            self._control(self.lines.get())

    def _wait(self, ms: float | None) -> None:
        try:
            while True:
                self._control(self.lines.get(timeout=None if ms is None else ms / 1000))
        except queue.Empty:
            return

    def _control(self, message: Any) -> None:
        if message is None:
            sys.exit(0)
        if message["type"] == "control_response":
            self.said = message["response"].get("error") or message["response"]["response"]
            return
        request = message.get("request", {})
        modes = [one["id"] for one in self.script.get("modes", {}).get("availableModes", [])]
        match request.get("subtype"):
            case "initialize":
                commands = [{"name": "compact", "description": "Shorter", "argumentHint": "how"}]
                told = {"current_permission_mode": "default", "claude_code_version": "2.1.329", "commands": commands}
                respond(message, self.script.get("initialize", told))
            case "set_permission_mode" if request["mode"] in modes:
                respond(message, {"mode": request["mode"]})
                write(type="system", subtype="status", status=None, permissionMode=request["mode"])
            case "mcp_set_servers":
                respond(message, {"added": [], "removed": [], "errors": self.script.get("mcpErrors", {})})
            case "interrupt":
                respond(message, {"still_queued": []})
                raise Interrupted
            case _:
                told = {"subtype": "error", "request_id": message["request_id"], "error": "Cannot do that"}
                write(type="control_response", response=told)

    def _cycle(self, state: str) -> None:
        if not self.script.get("isBare"):
            write(type="command_lifecycle", command_uuid=self.prompt, state=state)

    def _of_prompt(self) -> dict[str, Any]:
        return {"user_message_uuid": self.prompt, "user_message_uuids": [self.prompt]}


def respond(message: Any, response: object) -> None:
    told = {"subtype": "success", "request_id": message["request_id"], "response": response}
    write(type="control_response", response=told)


def write(**message: object) -> None:
    sys.stdout.write(json.dumps({**message, "session_id": SESSION, "uuid": str(uuid.uuid4())}) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    write_event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def write_event(**event: object) -> None:
    write(type="stream_event", event=event, parent_tool_use_id=None)


def remembers(script: Mapping[str, Any], argv: list[str]) -> bool:
    """Whether it may begin: the session that it is to resume is one of its own, and a new one is new."""
    known = Path(script["sessions"]) if "sessions" in script else None
    session = argv[-1]
    sessions = known.read_text().split() if known is not None and known.exists() else []
    if "--resume" in argv and session not in sessions:
        sys.stderr.write(f"No conversation found with session ID: {session}\n")
        write(**{**ENDED, "subtype": "error_during_execution", "is_error": True})
        return False
    if known is not None:
        known.write_text(" ".join([*sessions, session]))
    return True


def main() -> None:
    script = json.loads(sys.argv[1])
    sys.stdout.write(script.get("says", ""))
    if not remembers(script, sys.argv):
        sys.exit(1)
    Fake(script).serve()


if __name__ == "__main__":
    main()
