"""`GET /v1/info`: what can be asked for, and what it costs."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from diffes.bundle import Bundle
from diffes.inspection import inspect_stages
from diffes.serving.front import Served


async def info(_: Request, served: Served) -> Response:
    """Labels, schedules with their stages, bundle and backend."""
    manifest = served.bundle.manifest
    height, width = served.bundle.image_size
    told = {
        "bundle": served.bundle.id,
        "model": manifest.model.class_name,
        "backend": served.backend,
        "labels": list(manifest.labels),
        "texts": list(manifest.texts),
        "image": {"height": height, "width": width},
        "sizes": [str(size) for size in served.bundle.sizes],
        "schedules": {name: _schedule(served.bundle, name) for name in manifest.schedules},
        "default": manifest.default,
    }
    return JSONResponse(told)


def _schedule(bundle: Bundle, name: str) -> dict[str, Any]:
    """Stages noisy to clean; `share_kept` of the dense model's MACs, `high` and `low` are training timesteps."""
    schedule = bundle.schedule(name)
    return {
        "macs_removed": schedule.cost.macs_removed,
        "compensation": schedule.compensation,
        "stages": [
            {"high": stage.high, "low": stage.low, "share_kept": stage.share_kept, "subgraph": stage.subgraph}
            for stage in inspect_stages(bundle, name)
        ],
        "steps": schedule.sampler.steps,
        "guidance": schedule.sampler.guidance,
        "sampler": schedule.sampler.class_name,
    }
