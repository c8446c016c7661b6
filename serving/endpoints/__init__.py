"""The endpoint table: what the service answers, in the order of its document."""

from __future__ import annotations

from serving.endpoint import Endpoint
from serving.endpoints.caption import CAPTION
from serving.endpoints.catalogue import MODELS
from serving.endpoints.document import DOCUMENT
from serving.endpoints.frames import FRAMES
from serving.endpoints.generate import GENERATE
from serving.endpoints.health import HEALTHZ, LIVEZ, READYZ
from serving.endpoints.jobs import END, LOOK, RESULT, SUBMIT
from serving.endpoints.page import FILE, INDEX
from serving.endpoints.status import METRICS, STATUS
from serving.endpoints.translate import TRANSLATE

ENDPOINTS: tuple[Endpoint, ...] = (
    CAPTION,
    FRAMES,
    SUBMIT,
    LOOK,
    END,
    RESULT,
    TRANSLATE,
    GENERATE,
    MODELS,
    STATUS,
    METRICS,
    DOCUMENT,
    INDEX,
    FILE,
    LIVEZ,
    READYZ,
    HEALTHZ,
)
