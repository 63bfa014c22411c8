"""Servers of one's own that speak Chat Completions: what their sources, documentation and trackers say."""

from tests.support.provider_failures.case import Case, Provider, cut, data, status, stream
from tests.support.provider_failures.openai import BEGUN, WORDS, error

OLLAMA = Provider(
    "Ollama",
    {"kind": "openai", "preset": "ollama", "model": "qwen3"},
    (
        Case("400", "bad_request", status(400, {"error": "invalid message format"})),
        Case(
            "401, its cloud",
            "auth_rejected",
            status(401, {"error": "unauthorized", "signin_url": "https://ollama.com/connect"}),
        ),
        Case("402, its cloud", "billing", status(402, {"error": "payment required"})),
        Case("404", "model_not_found", status(404, {"error": 'model "qwen9" not found, try pulling it first'})),
        Case("413, its cloud", "unsupported", status(413, {"error": "request body too large"})),
        Case("429", "rate_limited", status(429, {"error": "too many concurrent requests"})),
        Case(
            "429, its cloud",
            "account_rate_limited",
            status(429, {"error": "you've reached your hourly usage limit, please upgrade to continue"}),
        ),
        Case(
            "500",
            "server_error",
            status(500, {"error": "model requires more system memory (8.4 GiB) than is available"}),
        ),
        Case("502, its cloud is away", "server_error", status(502, {"error": "upstream error"})),
        Case(
            "200, a line with an error and no more, behind words",
            "server_error",
            stream(BEGUN, WORDS, b'{"error":"an error was encountered while running the model"}\n'),
        ),
        Case(
            "200, the prompt was cut silently",
            "end_turn",
            stream(BEGUN, WORDS, data({"choices": [{"delta": {}, "finish_reason": "stop"}]}), data("[DONE]")),
        ),
    ),
    "A prompt longer than `num_ctx` is cut without a word: nobody can see that from its answer.",
)

LM_STUDIO = Provider(
    "LM Studio",
    {"kind": "openai", "preset": "lmstudio", "model": "qwen3"},
    (
        Case(
            "404, no model is loaded",
            "model_not_found",
            status(
                404,
                error(
                    "No models loaded. Please load a model in the developer page or use the `lms load` command.",
                    "invalid_request_error",
                    "model_not_found",
                    "model",
                ),
            ),
        ),
        Case("400, model is unloaded", "overloaded", status(400, {"error": "Model is unloaded."})),
        Case(
            "400, the model has crashed",
            "server_error",
            status(400, {"error": "The model has crashed without additional information. (Exit code: 6)"}),
        ),
        Case("400, too long (MLX)", "context_overflow", status(400, {"error": "Context size has been exceeded."})),
        Case(
            "200, `event: error`",
            "context_overflow",
            stream(BEGUN, b"event: error\n" + data({"error": {"message": "Context size has been exceeded."}})),
        ),
        Case(
            "200, too long (GGUF): no word and a good end",
            "empty_turn",
            stream(BEGUN, data({"choices": [{"delta": {}, "finish_reason": "stop"}]}), data("[DONE]")),
        ),
        Case(
            "200, model is unloaded, behind words",
            "overloaded",
            stream(BEGUN, WORDS, data({"error": {"message": "Model is unloaded."}})),
        ),
    ),
)


def _llama(number: int, kind: str, message: str, **more: int) -> bytes:
    return status(number, {"error": {"code": number, "message": message, "type": kind, **more}})


LLAMA_CPP = Provider(
    "llama.cpp",
    {"kind": "openai", "preset": "llamacpp"},
    (
        Case(
            "400, too long",
            "context_overflow",
            _llama(
                400,
                "exceed_context_size_error",
                "the request exceeds the available context size, try increasing it",
                n_prompt_tokens=9000,
                n_ctx=4096,
            ),
        ),
        Case("400", "bad_request", _llama(400, "invalid_request_error", "'messages' is required")),
        Case(
            "400, a PDF by Responses",
            "unsupported",
            _llama(400, "invalid_request_error", "'input_file' is not supported by llamacpp at this moment"),
        ),
        Case("401", "auth_rejected", _llama(401, "authentication_error", "Invalid API Key")),
        Case(
            "500, no pictures",
            "unsupported",
            _llama(
                500,
                "server_error",
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            ),
        ),
        Case("501", "unsupported", _llama(501, "not_supported_error", "This server does not support this endpoint.")),
        Case("503, the model is being loaded", "overloaded", _llama(503, "unavailable_error", "Loading model")),
        Case("200, reset behind words", "server_error", cut(BEGUN, WORDS), end="reset"),
    ),
)


def _vllm(kind: str, message: str, code: int) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


VLLM = Provider(
    "vLLM",
    {"kind": "openai", "preset": "vllm", "model": "qwen3"},
    (
        Case(
            "400, too long",
            "context_overflow",
            status(
                400,
                _vllm(
                    "BadRequestError",
                    "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
                    400,
                ),
            ),
        ),
        Case("400", "bad_request", status(400, _vllm("BadRequestError", "[{'type': 'extra_forbidden'}]", 400))),
        Case("404", "model_not_found", status(404, _vllm("NotFoundError", "The model `x` does not exist.", 404))),
        Case(
            "200, an error and `[DONE]`, before a word",
            "server_error",
            stream(BEGUN, data(_vllm("InternalServerError", "EngineCore encountered an issue.", 500)), data("[DONE]")),
        ),
        Case(
            "200, an error and `[DONE]`, behind words",
            "server_error",
            stream(
                BEGUN,
                WORDS,
                data(_vllm("InternalServerError", "EngineCore encountered an issue.", 500)),
                data("[DONE]"),
            ),
        ),
        Case(
            "finish reason `abort`",
            "server_error",
            stream(BEGUN, WORDS, data({"choices": [{"delta": {}, "finish_reason": "abort"}]})),
        ),
    ),
    "It has no 429: what is too much waits, and only the clocks see that.",
)
