"""How failures are worded: the shapes, sentences and labels that a notice is recognised by, each row with its source.

What belongs to one known agent alone stands in its row (`habits.Habits`); here as well where the same agent may come
without one: wrapped in a script, or under another name.
"""

import re

from acp_broker.core.failures import FailureKind as Kind
from acp_broker.core.habits import Pattern

# Pinned at both ends by goose's own words: nobody else writes this, so nothing more is asked.
WHOLE = re.compile(
    r"Ran into this error\b.*Please retry if you think this is a transient or recoverable error\.", re.DOTALL
)

# How agents' exact wordings begin, and what each means where its text says nothing more.
SHAPES: tuple[Pattern, ...] = tuple(
    Pattern(re.compile(shape), kind)
    for shape, kind in (
        # claude
        (r"(?:Please run /login · |Failed to authenticate\. )?API Error(?::| \()", Kind.UNCLASSIFIED),
        (r"[\w' -]{3,60} [·∙] (?:Please|Fix|Run|Try|[Rr]esets) ", Kind.UNCLASSIFIED),
        (r"You've (?:hit|reached) your (?:[\w-]+ ){0,2}limit(?:\.|$)", Kind.ACCOUNT_RATE_LIMITED),
        (r"Claude (?:AI )?usage limit reached\b(?! is)", Kind.ACCOUNT_RATE_LIMITED),
        (r"(?:Your )?[Cc]redit balance is too low\b", Kind.BILLING),
        (r"Prompt is too long\.?$", Kind.CONTEXT_OVERFLOW),
        (r"There's an issue with the selected model \(", Kind.MODEL_NOT_FOUND),
        # codex
        (r"unexpected status \d{3}\b", Kind.SERVER_ERROR),
        (r"stream (?:disconnected before completion|error): ", Kind.SERVER_ERROR),
        # openhands
        (r"Error: Conversation run failed for id=", Kind.UNCLASSIFIED),
        # What only a program asks a model for.
        (r"(?:(?:AI|LLM) (?:provider |API )?(?:call|request|error)|LLM provider)\b[^.:\n]{0,40}:", Kind.UNCLASSIFIED),
        # pi-acp
        (r"(?:Retry failed after \d+ attempts?|Provider error|Prompt failed): ", Kind.UNCLASSIFIED),
    )
)

_REASONS = (
    r"bad request|unauthorized|payment required|forbidden|not found|request timeout|(?:payload|content) too large"
    r"|unprocessable (?:entity|content)|too many requests|internal server error|bad gateway|service (?:temporarily )?"
    r"unavailable|gateway time-?out|(?:site is )?overloaded|insufficient (?:balance|credits?)|resource_exhausted"
)
_CANNOT = r"(?:could not|couldn't|unable to|failed to|cannot)"
# What providers, their SDKs and gateways write as a whole sentence, each at the very beginning.
SENTENCES = re.compile(
    "|".join(
        (
            # Anthropic
            r"your credit balance is too low|prompt is too long: \d|invalid x-api-key\.?\s*$",
            r"you have reached your specified api usage limits|this request would exceed (?:your|the) ",
            r"number of request tokens has exceeded",
            # OpenAI
            r"you exceeded your current quota, please|rate limit reached for (?:model )?\S+ (?:in|on) ",
            r"incorrect api key provided|the model [`'\"]?[\w./:-]+[`'\"]? does not exist(?: or you|[.]?\s*$)",
            r"this model's maximum context length is \d|your input exceeds the context window of this model",
            r"the server had an error (?:while )?processing your request",
            r"(?:the server|that model) is currently overloaded with other requests",
            r"an error occurred while processing your request\. you can retry",
            r"[45]\d\d status code \(no body\)",
            # Gemini, Vertex
            r"resource (?:has been )?exhausted(?: \(e\.g\.|\. please)|the model is overloaded\. please try",
            r"api key (?:not valid|expired)\. please|an internal error has occurred\. please retry",
            r"models/\S+ is not found for api version|publisher model \S+ (?:was )?not found",
            r"quota exceeded for (?:quota )?metric|quota exceeded for \w+\.googleapis\.com",
            # Bedrock
            r"too many (?:tokens|requests), please wait|the security token included in the request is",
            r"an error occurred \(\w+\) when calling the \w+ operation",
            r"bedrock is unable to process your request|invocation of model id \S+ with on-demand throughput",
            r"input is too long for requested model|you don't have access to the model with the specified",
            # OpenRouter
            r"this request requires more credits|insufficient credits[.!]? (?:add|this account|please)",
            r"provider returned error|no auth credentials found|rate limit exceeded: (?:free-models|limit_)",
            r"no (?:allowed providers|endpoints) (?:are available|found|available)|key limit exceeded",
            # Ollama, LM Studio
            r"model [`'\"]?[\w./:-]+[`'\"]? not found, try pulling|model requires more system memory",
            r"llama runner process",
            rf"{_CANNOT} connect to (?:an? )?(?:running )?(?:ollama|lm studio|the (?:api|llm|model|provider|server))\b",
            rf"{_CANNOT} connect to (?:the )?(?:api|anthropic|openai)\b",
            r"context size has been exceeded|model is unloaded|no models loaded",
            r"trying to keep the first \d+ tokens when context",
            # Mistral, Azure, Copilot
            r"(?:service tier )?capacity exceeded for this model|requests? rate limit exceeded",
            r"requests to the [\w ]{3,60} have exceeded|requests to the \S+ operation under ",
            r"access denied due to invalid subscription key|the response was filtered due to the prompt triggering",
            r"sorry, (?:you have|you've|your request (?:was|has)) (?:been )?(?:rate[- ]limited|exceeded|exhausted)",
            r"sorry, (?:you have|you've) (?:hit|reached) ",
            # Cerebras, Kiro, and whoever sells by the day
            r"(?:tokens|requests) per (?:minute|day|hour|second) limit exceeded",
            r"the model you(?:'ve| have) selected is experiencing",
            r"we(?:'re| are) (?:currently )?experiencing (?:high|heavy)",
            r"you(?:'ve| have) used (?:up )?all (?:of )?your |you(?:'re| are) (?:sending|making) (?:too many )?request",
            r"the '[\w./:-]+' model is not supported when|model \S+ not found\. available models",
            r"upstream connect error or disconnect|getaddrinfo E[A-Z_]+ |request blocked by content filter",
            r"your (?:free )?trial (?:has|period)|conversation too long: context",
            # Cohere, Hugging Face, Together, xAI
            r"you are using a trial key, which is limited|model \S+ is (?:currently loading|not loaded)",
            r"model too busy, unable to get|premium request limit reached",
            r"request was rejected due to rate limiting|your newly created teams? do",
            # Azure, Google, Anthropic, OpenAI: what an account may not
            r"the api deployment for this resource|user location is not supported|permission '[\w.]+' denied on",
            r"(?:this|your) organization (?:has been disabled|must be verified)|model use case details have not been",
            r"project [`'\"]?\w+[`'\"]? does not have access to model",
            r"you(?:'ve| have) exceeded your (?!disk)(?:\w+ )?(?:quota|limit)",
            # Node, Python, Go, curl, Rust: the network alone
            r"(?:read|write|connect) E[A-Z]{3,12}\b|socket hang up\s*$|server disconnected without sending",
            r"(?:post|get) \"https?://|curl: \(\d+\) could not|error sending request for url",
            # agents
            r"cascade has encountered|agent stopped due to|the (?:ai )?model failed to respond",
            r"unexpected end of stream",
            # in Chinese
            r"(?:请求过于频繁|余额不足)[\uff0c\u3002!\uff01]",
        )
    ),
    re.IGNORECASE,
)

# Program text: a status with its reason and more, an SDK's exception, an error body, a proxy's page.
_BUILTIN = (
    r"key|value|attribute|index|name|import|modulenotfound|syntax|reference|range|assertion|filenotfound|zerodivision"
)
_STATUS = r"(?:http(?:/\d(?:\.\d)?)? ?)?"
# Before a provider's own sentence.
_STATUS_BEFORE = re.compile(rf"{_STATUS}[45]\d\d[ :-]+['\"]?", re.IGNORECASE)
_PROGRAMS = (
    re.compile(rf"{_STATUS}[45]\d\d[ :-]+(?:(?:{_REASONS})\s?[:.(]\s*\S|[{{\[])", re.IGNORECASE),
    re.compile(
        rf"(?:(?:caught )?an? )?(?:[a-z_]\w{{1,30}}\.){{0,4}}(?!(?:{_BUILTIN})error)"
        r"(?-i:[A-Z])\w{1,50}(?:error|exception)\b"
        r"(?: \[\w{2,40}\])?\s?(?:: |\(|-)",
        re.IGNORECASE,
    ),
    # gRPC's words; a phrase and its status; a status under its name
    re.compile(r"(?:RESOURCE_EXHAUSTED|UNAVAILABLE|PERMISSION_DENIED|UNAUTHENTICATED|DEADLINE_EXCEEDED)\s?[:(.]"),
    re.compile(
        r"[^.:(\n]{3,60}\((?:http |status |code )?[45]\d\d\)\s?:|status(?:[ _]code)?: ?[45]\d\d\b", re.IGNORECASE
    ),
    re.compile(r"(?:[a-z_]\w{1,30}\.){1,4}[A-Z]\w{2,50}: [45]\d\d\b"),
    re.compile(r"error: \[[\w.]{3,40}\] ?[45]\d\d\b", re.IGNORECASE),
    # Not any JSON that holds a status.
    re.compile(
        r"['\"]?\{[\s\S]{0,400}?['\"](?:error['\"]\s*:\s*[{\[\"']|(?:type|object)['\"]\s*:\s*['\"]error['\"]"
        r"|(?:message|detail|msg)['\"]\s*:\s*['\"])"
    ),
    re.compile(
        r"<(?:!doctype )?html[\s\S]{0,1500}<title>[^<]{0,80}\b5\d\d\b"
        r"[\s\S]{0,3000}(?:nginx|cloudflare|<center>|gateway)",
        re.IGNORECASE,
    ),
)

_WHOSE = (
    r"(?:(?:fatal|api|llm|ai|agent|provider|model|server|internal|request|connection|network|upstream|unexpected"
    r"|unhandled|unknown|stream|gateway|backend|http|completion|inference|openai|anthropic|gemini|claude|mistral"
    r"|openrouter|ollama|bedrock|azure|the|an?) ){0,3}"
)
_POINT = r"[*_)\]]{0,3}\s?[:\u2013\u2014\uff1a-]"
_CODED = r"(?:an? )?(?:http |status |code |error ){0,2}[45]\d\d\b"
_LABEL = re.compile(
    r"(?:sorry[,.!]? (?:but )?|oops[,.!]? |error\] )?(?:"
    + "|".join(
        (
            # an error, whose, and its status
            (
                rf"{_WHOSE}(?:error|exception|failure)(?: (?:code|status|response|occurred))?[*_)\]]{{0,3}}"
                rf"(?:\s?[\[(]?[45]\d\d[\])]?)?[^.:\n]{{0,60}}?{_POINT}"
            ),
            rf"(?:fatal|错误|エラー|오류|fehler|erreur|ошибка|errore|erro)(?:信息|メッセージ)? ?{_POINT}",
            # what failed
            (
                rf"{_WHOSE}(?:request|completion|generation|prompt|turn|call|stream|run|agent|retry|session) "
                r"(?:failed|terminated)\b[^.\n]{0,60}?(?::|with status(?: code)? [45]\d\d\b)"
            ),
            (
                rf"(?:{_CANNOT}|unable to|can't) (?:call|reach|contact|connect|generate|get|fetch|complete|send|process"
                r"|stream|run|create|query|obtain|receive|start|authenticate|access)\b(?:[^.:\n]|\.(?=\w)){0,60}:"
            ),
            r"(?:max(?:imum)?|exceeded) (?:number of )?retr(?:y|ies)\b[^.\n]{0,60}[:.]",
            r"(?:gave|giving) up after \d+ (?:attempts?|retries|tries)\b[^.:\n]{0,40}[:.]",
            # what people are told
            r"something went wrong\b[^.:\n]{0,40}[:.]",
            (
                r"(?:there was |i(?:'ve)? (?:encountered|ran into|hit|got) )?an? (?:\w+ )?(?:error|problem|issue)\b"
                r"[^.:\n]{0,60}[:.]"
            ),
            r"i(?:'m| am) (?:sorry|having trouble|unable to|experiencing)\b[^.:(\n]{0,100}[:(]",
            # a status and who sent it; its reason alone may be any server's
            (
                r"(?:upstream|provider|server|api|model|gateway|backend|llm)\b[^.\n]{0,40} (?:return|respond|answer)ed"
                rf"(?: with)? {_CODED}"
            ),
            r"http(?: error)? [45]\d\d\s?[:\u2013\u2014-]",
            r"[45]\d\d[ :]+(?=[\"'`A-Z])(?-i:[\"'`A-Z])(?!(?<=[A-Z])[\w ]{2,20}\W*$)",
        )
    )
    + ")",
    re.IGNORECASE,
)

# Nothing but a phrase of a provider's, and perhaps the wish to try again.
_PHRASE = (
    r"(?:hourly|daily|weekly|monthly) (?:usage |request |token )?limit (?:reached|exceeded)"
    r"|(?:api |request |token )?rate limit (?:exceeded|reached|hit)|usage limit (?:reached|exceeded)|quota exceeded"
    r"|too many requests|(?:resource|quota|credits?) exhausted|insufficient (?:credits?|quota|balance|funds)"
    r"|(?:(?:the|this|your) )?(?:api|service|server|model|provider|system|backend) (?:is )?(?:currently |temporarily )?"
    r"(?:unavailable|overloaded|at capacity|busy|down)|overloaded(?:_error)?|server (?:busy|error)"
    r"|internal server error|bad gateway|gateway time-?out|service (?:is )?(?:currently |temporarily )?unavailable"
    r"|connection (?:error|refused|reset|timed out|closed)|(?:request |connection )?timed out|request time-?out"
    r"|payment required|(?:authentication|authorization) (?:required|failed|error)"
    r"|(?:invalid|incorrect|missing|no|expired) api[ -]?key(?: provided)?|not logged in|network error|fetch failed"
    r"|provider error|stream error|rate_limit_error|api_error"
)
_TRY_AGAIN = (
    r"\s*(?:please )?(?:try|retry|wait|check|log ?in|slow down|contact|sign in|resets?|(?:select|choose) another)\b"
    r"[^.\n]{0,100}[.!]?"
)
_BARE = re.compile(
    rf"(?:sorry, )?(?:(?:{_PHRASE})(?: ?\(\d{{3}}\))?|{_STATUS}(?:402|429|5\d\d)[ :-]+(?:{_REASONS}))[.!]?"
    rf"(?:{_TRY_AGAIN}){{0,2}}",
    re.IGNORECASE,
)
# Of somebody who goes on; not a request's id, or what to do.
_PARAGRAPH = re.compile(
    r"\n\s*\n(?!\W*(?:request|reason|upstream|details?|category|please|try|check|error|message|cause|status)\b)",
    re.IGNORECASE,
)
# An adapter may warn of it.
WARNING_LABEL = re.compile(r"(?:warn(?:ing)?|notice)\b[*_\])]{0,3}\s?[:\u2013\u2014-]\s*", re.IGNORECASE)

# What a service tells its user to do about it.
_ADVICE = re.compile(
    r"\b(?:try again|retry\b|wait (?:a|an|for|and|until|\d)|try (?:changing|a different|another|switching)"
    r"|upgrade (?:your|to)|top up|add (?:more )?(?:credits|funds)|purchase|resets? (?:at|in|on)"
    r"|contact (?:support|your admin)|re-?authenticate|slow down|update your|start a new (?:session|chat)"
    r"|check (?:your|that your|[A-Z_]{3,40}KEY)|(?:log|sign) ?in (?:again|to)"
    r"|set (?:the )?[A-Z_]{3,40}(?:KEY|TOKEN))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n")
_MOST_SENTENCES = 3
_LEAST_MATTER = 12
# An excuse without a reason: nothing but that, and the wish to try again.
_EXCUSE = re.compile(
    r"(?:sorry[,.!]? |oops[,.!]? )?(?:(?:an? )?(?:unexpected |internal |unknown )?error(?: (?:has )?occurred)?"
    r"|something went wrong|connection lost|all retries failed|(?:your |the )?request failed)"
    rf"[.!,]?{_TRY_AGAIN}"
    r"(?:\s*request id: \S+)?(?:\s*reason: [^\n]{1,200})?",
    re.IGNORECASE,
)
# Nothing but what happens to somebody who asks a model.
_BROKEN_OFF = re.compile(
    r"(?:(?:the )?(?:response )?stream (?:ended|closed|terminated) (?:unexpectedly|before completion)"
    r"|(?:the )?model returned (?:no (?:content|response)|an empty response)"
    r"|no response (?:was received )?from (?:the )?(?:ai |language )?(?:model|provider|llm)"
    r"|connection to the (?:ai|llm|model) (?:provider|service|api) (?:was |is )?(?:lost|closed)|max(?:imum)? retries "
    rf"exceeded)[.!]?(?:{_TRY_AGAIN})?",
    re.IGNORECASE,
)


def is_sentence(notice: str) -> bool:
    """Whether it begins with a provider's own sentence, with or without a label before it."""
    label = _LABEL.match(notice)
    return any(SENTENCES.match(notice[at:].lstrip(" \"'")) for at in (0, label.end() if label is not None else 0))


def is_program(notice: str) -> bool:
    """Whether it begins as what an SDK, a provider or a proxy writes for programs."""
    status = _STATUS_BEFORE.match(notice)
    if status is not None and SENTENCES.match(notice, status.end()):
        return True
    return any(form.match(notice) for form in _PROGRAMS)


def is_labelled(notice: str) -> bool:
    """Whether it is one paragraph that begins with an error's label."""
    return _LABEL.match(notice) is not None and _PARAGRAPH.search(notice) is None


def is_advice(notice: str) -> bool:
    """Whether it is a few sentences, and tells what to do about it."""
    says = _ADVICE.search(notice) if not notice.startswith("{") else None
    # Advice alone is a person's: before it stands what is the matter.
    return says is not None and says.start() > _LEAST_MATTER and len(_SENTENCE_END.findall(notice)) <= _MOST_SENTENCES


def is_excuse(notice: str) -> bool:
    """Whether it says that something failed, that one may try again, and not what; or what only fails for a client."""
    return _EXCUSE.fullmatch(notice) is not None or _BROKEN_OFF.fullmatch(notice) is not None


def is_bare(notice: str) -> bool:
    """Whether it is nothing but a provider's phrase, and perhaps the wish to try again."""
    return _BARE.fullmatch(notice) is not None
