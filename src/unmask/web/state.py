"""The state of one server process."""

from dataclasses import dataclass, field

from unmask.web.child import Setup
from unmask.web.gauges import Gauges
from unmask.web.jobs import Desk
from unmask.web.limits import Limits
from unmask.web.pool import Pool
from unmask.web.uploads import Spool


@dataclass
class Server:
    """The state of one server process, stored in `app.state.server`.

    Attributes:
        setup: how the child processes are set up.
        spool: folder of the uploads.
        size: number of child processes.
    """

    setup: Setup
    spool: Spool
    size: int = 1
    gauges: Gauges = field(default_factory=Gauges)

    def __post_init__(self) -> None:
        self.desk = Desk(self.setup.limits)
        self.pool = Pool(self.desk, self.setup, self.size, self.gauges.observe)

    @property
    def limits(self) -> Limits:
        """The limits."""
        return self.setup.limits
