"""Tasks of which only the pack and the program matter."""

from tfc_jax.keys import Run
from tfc_jax.record import Record
from tfc_jax.task import Task


def task(pack: str, program: str) -> Task:
    return Task(
        out="",
        pack=pack,
        program=program,
        runs=(Run(steps=1),),
        width=1,
        schedule="mapped",
        record=Record(),
        steps=1,
    )
