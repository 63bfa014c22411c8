"""OpenAI Responses: `POST /v1/responses`."""

from typing import Any

from msgspec.json import encode

from tests.support.provider import openai
from tests.support.provider.faults import Fault
from tests.support.provider.shape import Answer, Ask, Call, Reel, Tool, counted, event, said
from tests.support.provider.wire import Request

_CREATED = 1_700_000_000
_SORRY = "Our servers are currently overloaded. Please try again later."
_OVERLOADED = {"code": "server_is_overloaded", "message": _SORRY}


class Responses:
    name = "responses"

    def ask(self, request: Request) -> Ask | None:
        if request.method != "POST" or not request.path.endswith("/responses"):
            return None
        body = said(request)
        functions = (one for one in body.get("tools") or () if one.get("type") == "function")
        tools = tuple(Tool(one["name"], one.get("parameters") or {}) for one in functions)
        asked = body.get("input")
        last = asked[-1] if asked and isinstance(asked, list) else {}
        is_answered = last.get("type") == "function_call_output"
        return Ask(str(body.get("model")), bool(body.get("stream")), counted(request), tools, is_answered)

    def reel(self, ask: Ask, answer: Answer) -> Reel:
        film = _Film()
        running = _response(ask, "in_progress")
        opening = film.shot("response.created", response=running) + film.shot("response.in_progress", response=running)
        thoughts = film.reasoning(answer.thoughts) if answer.thoughts else []
        words = film.message(answer.words) if answer.words else []
        if answer.call:
            words.append(film.call(answer.call))
        failed = {**_response(ask, "failed"), "error": _OVERLOADED}
        error = film.shot("error", **_OVERLOADED, param=None) + film.shot("response.failed", response=failed)
        return Reel(
            opening,
            thoughts,
            words,
            film.shot("response.completed", response=self.whole(ask, answer)),
            error,
            opening + error,
        )

    def whole(self, ask: Ask, answer: Answer) -> dict[str, Any]:
        output = []
        if answer.thoughts:
            output.append(_reasoning("".join(answer.thoughts)))
        if answer.words:
            output.append(_message("completed", answer.text))
        if answer.call:
            output.append(_call("completed", answer.call))
        return {**_response(ask, "completed"), "output": output, "usage": _usage(ask, len(answer.words))}

    def failure(self, fault: Fault) -> dict[str, Any]:
        return openai.failure(fault)

    def headers(self) -> dict[str, str]:
        return openai.headers()


class _Film:
    """The events of one stream: numbered from 0, each output item at its index."""

    def __init__(self) -> None:
        self._events = 0
        self._items = 0

    def shot(self, kind: str, **fields: object) -> bytes:
        data = {"type": kind, **fields, "sequence_number": self._events}
        self._events += 1
        return event(data, kind)

    def reasoning(self, tokens: tuple[str, ...]) -> list[bytes]:
        place = {"item_id": "rs_drill", "output_index": self._items, "summary_index": 0}
        text = {"type": "summary_text", "text": "".join(tokens)}
        opened = self._opened({**_reasoning(""), "summary": []})
        opened += self.shot("response.reasoning_summary_part.added", **place, part={**text, "text": ""})
        pieces = [self.shot("response.reasoning_summary_text.delta", **place, delta=token) for token in tokens]
        pieces[0] = opened + pieces[0]
        pieces[-1] += self.shot("response.reasoning_summary_text.done", **place, text=text["text"])
        pieces[-1] += self.shot("response.reasoning_summary_part.done", **place, part=text)
        pieces[-1] += self._done(_reasoning(text["text"]))
        return pieces

    def message(self, tokens: tuple[str, ...]) -> list[bytes]:
        place = {"item_id": "msg_drill", "output_index": self._items, "content_index": 0}
        whole = _message("completed", "".join(tokens))
        opened = self._opened({**_message("in_progress", ""), "content": []})
        opened += self.shot("response.content_part.added", **place, part=_text(""))
        pieces = [self.shot("response.output_text.delta", **place, delta=token, logprobs=[]) for token in tokens]
        pieces[0] = opened + pieces[0]
        pieces[-1] += self.shot("response.output_text.done", **place, text="".join(tokens), logprobs=[])
        pieces[-1] += self.shot("response.content_part.done", **place, part=whole["content"][0])
        pieces[-1] += self._done(whole)
        return pieces

    def call(self, call: Call) -> bytes:
        place = {"item_id": "fc_drill", "output_index": self._items}
        whole = _call("completed", call)
        opened = self._opened({**_call("in_progress", call), "arguments": ""})
        told = self.shot("response.function_call_arguments.delta", **place, delta=whole["arguments"])
        told += self.shot("response.function_call_arguments.done", **place, arguments=whole["arguments"])
        return opened + told + self._done(whole)

    def _opened(self, item: dict[str, Any]) -> bytes:
        return self.shot("response.output_item.added", output_index=self._items, item=item)

    def _done(self, item: dict[str, Any]) -> bytes:
        done = self.shot("response.output_item.done", output_index=self._items, item=item)
        self._items += 1
        return done


def _response(ask: Ask, status: str) -> dict[str, Any]:
    return {
        "id": "resp_drill",
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _message(status: str, text: str) -> dict[str, Any]:
    return {"id": "msg_drill", "type": "message", "status": status, "role": "assistant", "content": [_text(text)]}


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _reasoning(text: str) -> dict[str, Any]:
    return {"id": "rs_drill", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def _call(status: str, call: Call) -> dict[str, Any]:
    arguments = encode(call.arguments).decode()
    named = {"call_id": "call_drill", "name": call.name, "arguments": arguments}
    return {"id": "fc_drill", "type": "function_call", "status": status, **named}


def _usage(ask: Ask, said: int) -> dict[str, Any]:
    return {
        "input_tokens": ask.tokens,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": ask.tokens + said,
    }
