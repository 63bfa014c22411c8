"""A scripted agent that shows and asks everything that ACP v1 has, and says back what it was answered."""

FORM = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
MODES = {
    "currentModeId": "ask",
    "availableModes": [
        {"id": "ask", "name": "Ask", "description": "Asks before it acts", "_meta": {"x": 1}},
        {"id": "code", "name": "Code"},
    ],
}
OPTIONS = [
    {
        "id": option,
        "name": option.title(),
        "category": option,
        "type": "select",
        "currentValue": values[0],
        "options": [{"value": value, "name": value} for value in values],
    }
    for option, values in (("mode", ["ask", "code"]), ("model", ["small", "large"]))
]
SHOWS = [
    {"do": "think", "text": "let me see", "chunks": 3},
    {"do": "think", "text": "with an id", "chunks": 2, "messageId": "thought"},
    {"do": "say", "text": "without an id", "chunks": 4},
    {"do": "toolCall", "toolCallId": "call-1", "title": "Read it", "kind": "read", "status": "pending",
     "locations": [{"path": "/a.txt", "line": 3}], "rawInput": {"path": "/a.txt", "n": 1.5}},
    {"do": "toolCallUpdate", "toolCallId": "call-1", "status": "in_progress"},
    {"do": "toolCallUpdate", "toolCallId": "call-1", "status": "completed",
     "content": [{"type": "content", "content": {"type": "text", "text": "é \u2028 \U0001f600"}},
                 {"type": "diff", "path": "/a.txt", "oldText": None, "newText": "b"}]},
    {"do": "plan", "entries": [{"content": "one", "priority": "high", "status": "pending"}]},
    {"do": "say", "text": "with an id", "chunks": 3, "messageId": "message"},
    {"do": "usage", "used": 20, "size": 1000, "cost": {"amount": 0.5, "currency": "USD"}},
    {"do": "commands", "availableCommands": [{"name": "web", "description": "Looks", "input": {"hint": "what"}}]},
    {"do": "note", "info": {"title": "A talk", "_meta": {"x": {"y": [1, None]}}}},
    {"do": "update", "update": {"sessionUpdate": "current_mode_update", "currentModeId": "code"}},
    {"do": "update", "update": {"sessionUpdate": "config_option_update", "configOptions": OPTIONS}},
    {"do": "update", "update": {"sessionUpdate": "agent_message_chunk",
                                "content": {"type": "resource_link", "uri": "file:///a", "name": "a"}}},
    {"do": "end", "stopReason": "max_tokens", "usage": {"totalTokens": 3, "inputTokens": 2, "outputTokens": 1},
     "meta": {"mine": {"kept": True}}},
]  # fmt: skip
ASKS = [
    step
    for ask in (
        {"do": "askPermission", "title": "Allow", "toolCallId": "call-2"},
        {"do": "askPermission", "title": "Reject", "toolCallId": "call-3"},
        {"do": "askPermission", "title": "Cancel", "toolCallId": "call-4"},
        {"do": "writeFile", "path": "new.txt", "text": "line 1\nline 2\n"},
        {"do": "readFile", "path": "new.txt"},
        {"do": "readFile", "path": "/not/there"},
        {"do": "terminal", "command": "make", "args": ["all"]},
        {"do": "terminal", "command": "sleep", "args": ["99"], "kill": True},
        {"do": "elicit", "message": "Who are you?", "params": {"requestedSchema": FORM}},
        {"do": "elicit", "message": "Decline", "params": {"requestedSchema": FORM}},
        {"do": "ext", "method": "_ask/something", "params": {"a": [1, None, 1.5]}, "request": True, "session": True},
        {"do": "ext", "method": "_say/something", "params": {"b": {}}, "session": True},
        {"do": "ext", "method": "_say/more", "params": {"c": "no session"}},
    )
    for step in (ask, {"do": "sayAnswer"})
]
SCRIPT = {
    "modes": MODES,
    "configOptions": OPTIONS,
    "new": [
        {"do": "usage", "used": 10, "size": 1000},
        {"do": "lateUpdates", "steps": [{"do": "commands", "availableCommands": [{"name": "x", "description": "X"}]}]},
    ],
    "calls": {"_x/ask": [{"do": "answer", "result": {"answered": [1.5, None]}}]},
    "turns": [
        SHOWS,
        ASKS,
        [{"do": "say", "text": "working"}, {"do": "waitCancel", "steps": [{"do": "say", "text": "stopped"}]}],
        [{"do": "say", "text": "I was about to"}, {"do": "fail", "code": -32011, "message": "out of ideas"}],
        [{"do": "say", "text": "bye"}, {"do": "lateUpdates", "steps": [
            {"do": "note", "info": {"title": "Late"}}, {"do": "usage", "used": 30, "size": 1000}]}],
    ],
}  # fmt: skip
