"""Tell a running server what to do, over HTTP: for those who cannot call it.

curl -X PUT -d '429;ra=2' $URL/__fault      how it fails from now on
curl -X PUT -d main $URL/__only             `all` requests to the model fail, or the `main` ones alone
curl -X PUT -d 'other words' $URL/__says    what it answers
curl -X PUT -d 'sk-2' $URL/__key            the one key that it takes from now on
curl $URL/__requests                        what was asked so far; DELETE forgets it
"""

from typing import Protocol

from msgspec.json import encode

from tests.support.provider.seen import Seen
from tests.support.provider.wire import Request


class Controlled(Protocol):
    fault: str
    only: str
    says: str
    key: str
    seen: list[Seen]


def control(server: Controlled, request: Request) -> tuple[int, bytes] | None:
    """The status and body of the answer, or None when this is no word to the server itself."""
    name = request.path.removeprefix("/__")
    if name == request.path:
        return None
    match request.method, name:
        case "GET", "requests":
            return 200, encode([one.brief for one in server.seen])
        case "DELETE", "requests":
            server.seen.clear()
        case (("GET" | "PUT"), ("fault" | "only" | "says" | "key")):
            if request.method == "PUT":
                try:
                    setattr(server, name, request.body.decode().strip())
                except ValueError as wrong:
                    return 400, encode({"error": str(wrong)})
            return 200, encode({name: getattr(server, name)})
        case _:
            return 404, encode({"error": "fault, only, says, key, or requests"})
    return 200, b"{}"
