"""How providers fail: for each failure the bytes that really come, and what they must be taken for.

`CASES` is data. `running` asks the code what it takes each for, `page` writes docs/provider-failures.md from it.
"""

from tests.support.provider_failures.anthropic import ANTHROPIC
from tests.support.provider_failures.between import BETWEEN, BROKEN, WAITS
from tests.support.provider_failures.case import Case as Case
from tests.support.provider_failures.case import Provider as Provider
from tests.support.provider_failures.compatible import AZURE, OPENROUTER
from tests.support.provider_failures.google import GEMINI_API
from tests.support.provider_failures.hosted import HOSTED
from tests.support.provider_failures.local import LLAMA_CPP, LM_STUDIO, OLLAMA, VLLM
from tests.support.provider_failures.openai import OPENAI
from tests.support.provider_failures.openai_responses import RESPONSES
from tests.support.provider_failures.vertex import CLAUDE_ON_VERTEX, GEMINI_ON_VERTEX

PROVIDERS = (
    ANTHROPIC,
    OPENAI,
    RESPONSES,
    GEMINI_API,
    GEMINI_ON_VERTEX,
    CLAUDE_ON_VERTEX,
    OPENROUTER,
    AZURE,
    *HOSTED,
    OLLAMA,
    LM_STUDIO,
    LLAMA_CPP,
    VLLM,
    BETWEEN,
    BROKEN,
    WAITS,
)
