"""What keys and inputs do not fit several architectures, one sentence each."""

from tfc_jax.keys import Run
from tfc_jax.models._layers import Shape

_IMAGE_NDIM = 3


def structured(run: Run) -> list[str]:
    """Structured initialisation is a scheme of the first layer of a perceptron."""
    if run.init != "structured":
        return []
    return [
        f"init: structured came, but it is for architecture mlp, not {run.architecture}. "
        f"Use another init, or architecture: mlp."
    ]


def flat_inputs(run: Run, input_shape: Shape) -> list[str]:
    """Convolutions, sequences of rows and patches need images."""
    if len(input_shape) == _IMAGE_NDIM:
        return []
    if run.fourier_features is not None:
        return [
            f"fourier_features: {run.fourier_features} came, which makes inputs flat, but "
            f"{run.architecture} needs images. Leave fourier_features at null."
        ]
    return [
        f"architecture: {run.architecture} needs images (height, width, channels), but "
        f"{run.dataset} has inputs of shape {input_shape} here. Use a data set of images, or "
        f"architecture: mlp."
    ]


def depth_below(run: Run, least: int, why: str) -> list[str]:
    """An architecture without its own kind of layer would be another one."""
    if run.depth >= least:
        return []
    return [
        f"depth: {run.depth} came, but {run.architecture} {why}. Use a depth of at least {least}."
    ]
