"""Vertex AI: where a model is, in whose project, and as whom it is asked."""

from typing import Annotated
from urllib.parse import quote

from msgspec import Meta, Struct

from acp_broker.contract import Tools
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import ProjectId
from acp_broker.errors import BackendFailure

GLOBAL = "global"
# Each of them is a host of its own for several regions.
_MULTI_REGIONS = frozenset({"us", "eu"})
_VARIABLE = "GOOGLE_CLOUD_PROJECT"

NEEDS_TOKEN = "needs a token of Google's: name a profile of type `google` under `auth`"  # noqa: S105 - a sentence
NEEDS_PROJECT = (
    f"nothing says which project is to be asked: write `project`, or set {_VARIABLE}, "
    "or gcloud auth application-default set-quota-project PROJECT"
)

Project = Annotated[
    ProjectId,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9.:-]{0,99}$",
        extra={"expected": "the id of a project, as `gcloud projects list` shows it"},
    ),
]
Location = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]{0,49}$",
        extra={"expected": "a region such as europe-west1, or global, us, eu"},
    ),
]


class Vertex(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A place on Vertex AI. Without a `project` it is that of the profile's credentials."""

    project: Project | None = None
    location: Location = GLOBAL

    @property
    def origin(self) -> str:
        if self.location == GLOBAL:
            return "https://aiplatform.googleapis.com"
        if self.location in _MULTI_REGIONS:
            return f"https://aiplatform.{self.location}.rep.googleapis.com"
        return f"https://{self.location}-aiplatform.googleapis.com"

    def project_for(self, tools: Tools) -> str | None:
        """Its own, or that of the credentials; of one without such, that of the environment."""
        return self.project or tools.projects.main or tools.environment.get(_VARIABLE) or None

    def path(self, project: str | None, model: str) -> str:
        """`model` is `publishers/NAME/models/NAME`, or `endpoints/ID`. Without a project: for API keys alone."""
        # Google's client asks v1beta1 unless it is told otherwise; what is asked here is in v1, too.
        scope = f"projects/{quote(project, safe=':')}/locations/{self.location}/" if project else ""
        return f"/v1/{scope}{quote(model, safe='/@')}"


def quota(tools: Tools) -> dict[str, str]:
    """The header that says whose quota is used, where the credentials know it."""
    named = tools.projects.quota
    return {"x-goog-user-project": quote(named, safe=":")} if named else {}


def projectless() -> BackendFailure:
    """For a place that nothing names a project of. Another backend of the same profile may name one."""
    return BackendFailure(Failure(FailureKind.UNSUPPORTED, NEEDS_PROJECT, seen_at="starting"))
