"""Everything about a trajectory that is known before it starts."""

from dataclasses import dataclass

from diffes.bundle import Bundle
from diffes.engine.scheduling import BatchKey
from diffes.router import Route, route
from diffes.sampling import Trajectory
from diffes.sizes import Size


@dataclass(frozen=True, slots=True)
class Path:
    """Coefficients, route and batch key of every step; requests of equal schedule, steps and branches share one."""

    trajectory: Trajectory
    route: Route
    keys: tuple[BatchKey, ...]

    @property
    def conditions(self) -> int:
        """Rows of conditions that all steps need, the unconditional ones included."""
        return len(self.keys) * (2 if self.keys[0].guided else 1)

    def preview_steps(self, wanted: int) -> tuple[int, ...]:
        """After how many steps to show what the image will be: where stages end, `wanted` of them, evenly spread.

        Fewer if there are fewer such places; never after the last step, which is the image.
        """
        stages = self.route.stages
        ends = [step for step in range(1, len(stages)) if stages[step] != stages[step - 1]]
        if wanted >= len(ends):
            return tuple(ends)
        return tuple(ends[round((place + 1) * (len(ends) + 1) / (wanted + 1)) - 1] for place in range(wanted))


def kind_of(bundle: Bundle, subgraph: str, size: Size) -> str:
    """What the cost of a step of that subgraph goes by, for images of that size."""
    return BatchKey(subgraph, False, (), 0.0, _named(bundle, size)).kind


def _named(bundle: Bundle, size: Size) -> str:
    return "" if size == bundle.image_size else str(size)


def find_path(bundle: Bundle, schedule: str, steps: int, guided: bool, size: Size | None = None) -> Path:
    """Route `steps` steps of a schedule's sampler; InvalidInput for steps out of the sampler's range.

    `size` is the images', None the model's own.
    """
    trajectory = bundle.trajectory(steps, schedule)
    way = route(bundle.schedule(schedule), bundle.subgraph_of, trajectory)
    size = size or bundle.image_size
    shape, named = bundle.latents_of(size), _named(bundle, size)
    keys = tuple(BatchKey(subgraph, guided, shape, trajectory.clip, named) for subgraph in way.subgraphs)
    return Path(trajectory, way, keys)
