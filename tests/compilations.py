"""What JAX compiles, and what it takes from its compilation cache instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Lists the names of what is compiled or loaded meanwhile: `jit(chunk)`."""
    found: list[str] = []

    def listen(event: str, duration_secs: float, **details: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(str(details["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def cache_events() -> list[str]:
    """A list that grows by `hits` or `misses` whenever the compilation cache is asked."""
    found: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event.startswith("/jax/compilation_cache/cache_"):
            found.append(event.removeprefix("/jax/compilation_cache/cache_"))

    jax.monitoring.register_event_listener(listen)
    return found
