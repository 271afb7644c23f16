"""What a caller asks of the engine, and what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from torch import Tensor

from diffes.bundle import Bundle
from diffes.engine.shedding import Shedding
from diffes.errors import InvalidInput
from diffes.prompts import Prompt
from diffes.schedule import steered
from diffes.sizes import Size

MAX_SEED = 2**32 - 1  # torch's CPU generator reads 32 bits: a larger seed would repeat a smaller one's noise
MAX_IMAGES = 16  # of one request
MAX_GUIDANCE = 20.0
MAX_PREVIEWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the engine takes on. `batch` and `running` count images, `queue` counts requests."""

    batch: int = 8  # images in one step; guidance doubles the rows
    running: int = 32  # images between two steps: the choice the batches are made from
    conditions: int = 4096  # steps, of all running requests and branches, whose conditions are held in memory
    queue: int = 64  # requests that wait for admission
    backlog: float = inf  # seconds that everything inside may need, by forecast, for one more to be let in
    images: int = MAX_IMAGES  # of one request
    guidance: float = MAX_GUIDANCE
    shedding: Shedding | None = None  # None: every request gets the schedule it asks for

    def __post_init__(self) -> None:
        for name in ("batch", "running", "conditions", "queue", "images"):
            if getattr(self, name) < 1:
                raise InvalidInput(name, expected="1 or more", found=getattr(self, name))
        if not self.backlog > 0:
            raise InvalidInput("backlog", expected="more than 0 seconds", found=self.backlog)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from, for logs and traces; the engine hands it on unread."""

    client_id: str = ""  # what its caller calls it
    schedule: str = ""  # asked for by name
    trace: Mapping[str, str] = field(default_factory=dict, hash=False)  # headers of W3C Trace Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`images` images of one prompt; image j starts from noise seeded with `seed + j`.

    `steps` and `guidance` default to the schedule's sampler, `schedule` to the bundle's default, `size` to the model's
    own; of another the prompt has to be told. `timeout` seconds
    after it came it is dropped, or refused at once if the forecast is worse. A `deterministic` request shares no step
    with others, so that its bits depend on it alone. `previews` images are shown on the way, at stages' ends.
    """

    prompt: Prompt
    seed: int
    images: int = 1
    steps: int | None = None
    guidance: float | None = None
    schedule: str | None = None
    size: Size | None = None
    timeout: float | None = None
    deterministic: bool = False
    previews: int = 0
    id: str = ""
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Progress:
    """An image of a request has taken `step` of `steps` steps, the last one in `stage`."""

    image: int
    step: int
    steps: int
    stage: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What an image would be if its trajectory ended now: pixels [3, H, W] in [-1, 1] on the CPU."""

    image: int
    index: int  # of this image's previews
    pixels: Tensor


Listener = Callable[[Progress | Preview], None]  # called from the engine's thread: must be quick and never raise


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest:
    """A request with every default filled in: asked again, it gives the same images.

    `shed_from` is the schedule it would have had if less had been waiting.
    """

    prompt: Prompt
    seed: int
    images: int
    steps: int
    guidance: float
    schedule: str
    size: Size
    timeout: float = inf
    deterministic: bool = False
    previews: int = 0
    id: str = ""
    shed_from: str = ""
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class StageTiming:
    """One stage of one request: steps per image, seconds in the denoiser, images stepped together on average.

    `began` and `ended` are seconds from the request's coming to its first step's start and its last one's end.
    """

    stage: int
    subgraph: str
    steps: int
    seconds: float
    mean_batch: float
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time went; seconds."""

    queue_seconds: float
    total_seconds: float
    stages: tuple[StageTiming, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Images [n, 3, H, W] in [-1, 1] on the CPU, and what they were made with."""

    images: Tensor
    request: ResolvedRequest
    timings: Timings


def resolve(request: Request, bundle: Bundle, limits: Limits, backlog: float = 0.0) -> ResolvedRequest:
    """Fill the defaults in; InvalidInput for the first field out of range (steps are the sampler's to judge).

    Above the limits' `backlog` of shedding, seconds, a request that names no schedule gets the cheaper one; never a
    deterministic one, whose image is to depend on nobody.
    """
    _require_inputs(request.prompt, bundle)
    _within("n", request.images, 1, limits.images)
    _within("seed", request.seed, 0, MAX_SEED - request.images + 1)
    shedding = limits.shedding
    spared = shedding is None or backlog <= shedding.backlog or request.schedule is not None or request.deterministic
    schedule = request.schedule or bundle.default if spared or shedding is None else shedding.schedule
    sampler = bundle.schedule(schedule).sampler
    guidance = sampler.guidance if request.guidance is None else request.guidance
    if guidance != 0 and not 1 <= guidance <= limits.guidance:
        raise InvalidInput("guidance", expected=f"0, which is none, or 1..{limits.guidance:g}", found=guidance)
    if request.size is not None and request.size not in bundle.sizes:
        raise InvalidInput("size", expected=f"one of {', '.join(map(str, bundle.sizes))}", found=str(request.size))
    if request.timeout is not None and not request.timeout > 0:
        raise InvalidInput("timeout_s", expected="more than 0 seconds", found=request.timeout)
    _within("previews", request.previews, 0, MAX_PREVIEWS)
    return ResolvedRequest(
        prompt=request.prompt,
        seed=request.seed,
        images=request.images,
        steps=sampler.steps if request.steps is None else request.steps,
        guidance=steered(guidance),
        schedule=schedule,
        size=request.size or bundle.image_size,
        timeout=inf if request.timeout is None else request.timeout,
        deterministic=request.deterministic,
        previews=request.previews,
        id=request.id,
        shed_from="" if spared else bundle.default,
        origin=request.origin,
    )


def _require_inputs(prompt: Prompt, bundle: Bundle) -> None:
    wanted = bundle.architecture.prompt_inputs()
    for branch in (prompt.wanted, prompt.unwanted):
        if branch.keys() != wanted.keys():
            expected, remedy = ", ".join(wanted), "Make it with the bundle's wording."
            raise InvalidInput("prompt", expected=expected, found=", ".join(branch) or "nothing", remedy=remedy)


def _within(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidInput(field, expected=f"{low}..{high}", found=value)
