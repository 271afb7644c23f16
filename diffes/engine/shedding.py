"""Load shedding: while much waits, who named no schedule is served by a cheaper one, and told so."""

from dataclasses import dataclass

from diffes.bundle import Bundle
from diffes.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Shedding:
    """The cheaper schedule, and the seconds of work inside, by forecast, above which it stands in for the default."""

    schedule: str
    backlog: float

    def require_cheaper(self, bundle: Bundle) -> None:
        """InvalidInput if the bundle has no such schedule, or it removes no more MACs than the default."""
        cheaper, default = bundle.schedule(self.schedule), bundle.schedule()
        if cheaper.cost.macs_removed <= default.cost.macs_removed:
            raise InvalidInput(
                "shed_to",
                expected=f"a schedule that removes more than the default's {default.cost.macs_removed:.1%} of MACs",
                found=f"{self.schedule}, which removes {cheaper.cost.macs_removed:.1%}",
            )
