"""log.jsonl: what a launch says of itself and what its workers report."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfc_jax.layout import Folder

OnEvent = Callable[[dict[str, Any]], None]
STEP_LOG_SECONDS = 5.0


class EventLog:
    """Keeps every event, but only one in five seconds of those that say `step`."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.log
        self._last: dict[str, float] = {}
        with open(self._path, "ab+") as log:  # a crash may have cut the last line short
            log.seek(max(log.tell() - 1, 0))
            if log.read() not in (b"", b"\n"):
                log.write(b"\n")

    def write(self, event: Mapping[str, Any]) -> None:
        with open(self._path, "a") as log:
            log.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")

    def before(self, on_event: OnEvent) -> OnEvent:
        """Returns a handler that logs an event and passes it on."""

        def handle(event: dict[str, Any]) -> None:
            now, pack = time.monotonic(), event["pack"]
            is_news = event["event"] != "step" or now - self._last.get(pack, 0) > STEP_LOG_SECONDS
            if is_news:
                self._last[pack] = now
                self.write(event)
            on_event(event)

        return handle
