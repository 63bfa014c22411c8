"""What a streamed or whole answer says, by API."""

from typing import Any

from tests.provider.asking import Heard


def words(api: str, heard: Heard) -> str:
    return "".join(_pieces(api, heard.events, "words"))


def thoughts(api: str, heard: Heard) -> str:
    return "".join(_pieces(api, heard.events, "thoughts"))


def _pieces(api: str, events: list[dict[str, Any]], which: str) -> list[str]:
    is_words = which == "words"
    match api:
        case "anthropic":
            deltas = [one["delta"] for one in events if one["type"] == "content_block_delta"]
            return [one.get("text" if is_words else "thinking", "") for one in deltas]
        case "chat":
            deltas = [one["choices"][0]["delta"] for one in events if one.get("choices")]
            return [one.get("content" if is_words else "reasoning_content", "") for one in deltas]
        case "responses":
            kind = "response.output_text.delta" if is_words else "response.reasoning_summary_text.delta"
            return [one["delta"] for one in events if one["type"] == kind]
        case _:
            parts = [part for one in events for part in _parts(one)]
            return [part.get("text", "") for part in parts if part.get("thought", False) is not is_words]


def whole(api: str, answer: Any) -> str:
    match api:
        case "anthropic":
            return "".join(part["text"] for part in answer["content"])
        case "chat":
            return str(answer["choices"][0]["message"]["content"])
        case "responses":
            return "".join(part["text"] for item in answer["output"] for part in item["content"])
        case _:
            return "".join(part["text"] for part in _parts(answer))


def cost(api: str, events: list[dict[str, Any]]) -> int:
    """The tokens that a streamed answer says its request had."""
    match api:
        case "anthropic":
            return int(events[0]["message"]["usage"]["input_tokens"])
        case "chat":
            return int(next(one["usage"]["prompt_tokens"] for one in events if one.get("usage")))
        case "responses":
            return int(events[-1]["response"]["usage"]["input_tokens"])
        case _:
            return int(events[-1]["usageMetadata"]["promptTokenCount"])


def call(api: str, events: list[dict[str, Any]]) -> tuple[str, Any]:
    """The first tool call of a stream: its name and its arguments, JSON text where the API says so."""
    match api:
        case "anthropic":
            start = next(one["content_block"] for one in events if one["type"] == "content_block_start")
            text = "".join(one["delta"]["partial_json"] for one in events if one["type"] == "content_block_delta")
            return start["name"], text
        case "chat":
            calls = [one["choices"][0]["delta"].get("tool_calls") for one in events if one["choices"]]
            function = next(filter(None, calls))[0]["function"]
            return function["name"], function["arguments"]
        case "responses":
            item = next(one["item"] for one in events if one["type"] == "response.output_item.done")
            return item["name"], item["arguments"]
        case _:
            made = next(part["functionCall"] for one in events for part in _parts(one) if "functionCall" in part)
            return made["name"], made["args"]


def _parts(answer: Any) -> list[dict[str, Any]]:
    return [part for one in answer.get("candidates", ()) for part in one["content"].get("parts", ())]
