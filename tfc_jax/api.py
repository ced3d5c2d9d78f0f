"""`tfc_jax.run`: the same as `tfc run`, from Python."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tfc_jax.config import Sweep, load_sweep
from tfc_jax.execution import opened
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.objects.launching import launch_at
from tfc_jax.objects.place import place_named
from tfc_jax.options import Options
from tfc_jax.results import Results, open_results
from tfc_jax.timetable import Schedule

logger = logging.getLogger(__name__)


def run(
    sweep: Sweep | str | Path,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    pack_width: int | None = None,
    schedule: Schedule | None = None,
    executor: Literal["local", "ray", "slurm"] = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
) -> Results:
    """Trains what is missing of a sweep and opens its results.

    Runs that failed are in `results.runs` with status `failed`; nothing is raised for them.

    Args:
      sweep: from `load_sweep`, or the path of a YAML file.
      out: results folder, or `s3://bucket/prefix`; default `results/<name>`.
      workers: processes; None means one per device, 0 trains in this process (bit-exact only if
        JAX starts here with one thread).
      pack_width, schedule: of packs that have not started; stored in the results folder for later
        launches. None means what is stored, else the default.
      executor: where workers run.
      address: HOST:PORT of a Ray cluster; None means RAY_ADDRESS, else one that is started here.
      slurm: what sbatch is asked for: partition, time, gres, ...
    Raises:
      InputError: before anything is written or compiled.
    """
    if not isinstance(sweep, Sweep):
        sweep = load_sweep(sweep)
    place = place_named(out) if out is not None else None
    options = Options(
        workers=workers,
        pack_width=pack_width,
        schedule=schedule,
        executor=executor,
        address=address,
        slurm=slurm or {},
    )
    on_event, interrupt = (lambda event: None), Interrupt()
    with opened(options) as where:
        if place is not None:
            launch_at(place, sweep, options, where, on_event, interrupt, logger.warning)
            return open_results(place.url)
        folder = Folder(Path(out) if out is not None else Path("results") / sweep.name)
        launch(sweep, folder, options, where.found, on_event, interrupt, where)
    return open_results(folder.root)
