"""Sends what a plan says, as locust runs it:

    locust -f loadtest/locustfile.py --headless -u 1 --host http://localhost:3000 --run-folder FOLDER

FOLDER holds `plan.json`; `began.json` says when time 0 was, and `rows.jsonl` gets a row whenever a request ends.
`diffes loadtest` writes the plan, runs this, and makes of the rows what a team needs to know.
"""

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter, time
from typing import Any

import gevent
from gevent.pool import Pool
from locust import User, constant, events, task

from diffes.files import write_text_atomically
from loadtest.arrivals import Closed
from loadtest.asking import Asker
from loadtest.open_loop import drive
from loadtest.plan import Call, Plan
from loadtest.rows import Row
from loadtest.run import BEGAN, CUT_SHORT, IMAGES, KEY_VARIABLE, PARENT_VARIABLE, PLAN, ROWS

_POLL_SECONDS = 1.0


def _options(parser: Any, **_: Any) -> None:
    group = parser.add_argument_group("diffes", "What is sent")
    group.add_argument("--run-folder", required=True, help="Folder with plan.json; rows.jsonl is written there")


def _quietly(environment: Any, **_: Any) -> None:
    if environment.parsed_options.only_summary:  # ours is made of the rows
        logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)


def _prepare(environment: Any, **_: Any) -> None:
    environment.process_exit_code = CUT_SHORT  # until the plan has come to its end


def _give_up(user_instance: Any, **_: Any) -> None:
    user_instance.environment.runner.quit()  # else locust would wait for ever, or begin the plan again


events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_quietly)
events.init.add_listener(_prepare)
events.user_error.add_listener(_give_up)


class _Clock:
    """Real time, in which a greenlet that sleeps lets others go on."""

    now = staticmethod(perf_counter)
    sleep = staticmethod(gevent.sleep)


class Callers(User):  # type: ignore[misc]
    """All callers of a plan."""

    fixed_count = 1
    wait_time = constant(0)

    def on_start(self) -> None:
        """Read the plan, open the file of rows."""
        folder = Path(self.environment.parsed_options.run_folder)
        self._plan = Plan.load(folder / PLAN)
        images = folder.parent / IMAGES
        images.mkdir(exist_ok=True)
        key = os.environ.get(KEY_VARIABLE, "")
        self._asker = Asker(self.host, patience=self._plan.patience, key=key, images=images)
        self._rows = (folder / ROWS).open("w", encoding="utf-8", buffering=1)
        self._began_file = folder / BEGAN
        if (parent := os.environ.get(PARENT_VARIABLE)) is not None:
            gevent.spawn(self._end_with, int(parent))

    @task  # type: ignore[untyped-decorator]
    def run_plan(self) -> None:
        """The whole of it, until the last request has ended."""
        write_text_atomically(self._began_file, json.dumps({"began": time()}))  # first: a disk takes its time
        self._began = perf_counter()
        callers = Pool()
        if isinstance(self._plan.arrivals, Closed):
            shared = self._plan.calls()
            for _ in range(self._plan.arrivals.users):
                callers.spawn(self._one_after_the_other, shared, self._plan.arrivals.pause)
        else:
            drive(self._plan.calls(), _Clock, lambda call: callers.spawn(self._ask, call))
        callers.join()
        self._rows.close()
        self.environment.process_exit_code = None
        self.environment.runner.quit()

    def _end_with(self, parent: int) -> None:
        """A test that was killed has no use for rows, and its service has other callers."""
        while os.getppid() == parent:
            gevent.sleep(_POLL_SECONDS)
        self.environment.runner.quit()

    def _one_after_the_other(self, calls: Iterable[Call], pause: float) -> None:
        for call in calls:
            if (now := perf_counter() - self._began) >= self._plan.seconds:
                return
            self._ask(call, due=now)
            gevent.sleep(pause)

    def _ask(self, call: Call, due: float | None = None) -> None:
        row = self._asker.ask(call, self._plan.name(call.number), self._began, due)
        self._rows.write(row.to_json() + "\n")
        self._tell_locust(row)

    def _tell_locust(self, row: Row) -> None:
        self.environment.events.request.fire(
            request_type="stream" if row.stream else "plain",
            name=row.schedule or "default",
            response_time=row.seconds * 1e3,
            response_length=len(row.digests),
            exception=row.reason if row.fate in ("refused", "failed") else None,
            context={},
        )
