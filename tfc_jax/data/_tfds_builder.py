"""What TensorFlow Datasets knows of a name, and whether it is a set of labelled images of one size.

Imports TensorFlow Datasets, not TensorFlow; uses no network.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfc_jax.errors import InputError, nearest


def builder(name: str, data_dir: Path) -> Any:
    """Returns TFDS's builder of NAME or NAME/CONFIG.

    Raises:
      InputError: TFDS does not know the name, or it needs a configuration, or another one.
    """
    dataset, _, config = name.partition("/")
    known = tfds.list_builders(with_community_datasets=False)
    if dataset not in known:
        raise InputError(f"TensorFlow Datasets knows no '{dataset}'.{nearest(dataset, known)}")
    configs = list(tfds.builder_cls(dataset).builder_configs)
    if config not in (configs or [""]):
        raise InputError(_wrong_config(dataset, config, configs))
    return tfds.builder(name, data_dir=data_dir)


def _wrong_config(dataset: str, config: str, configs: list[str]) -> str:
    if not configs:
        return f"'{dataset}' has no configurations, but '{config}' came. Write tfds:{dataset}."
    came = f"'{config}' came.{nearest(config, configs)}" if config else "none came."
    return (
        f"'{dataset}' needs one of its configurations, but {came} Write tfds:{dataset}/CONFIG with "
        f"one of {', '.join(configs)}."
    )


def unsuitable(features: dict[str, Any], splits: list[str]) -> list[str]:
    """Returns what keeps a data set from being labelled images of one size, in two parts.

    Args:
      splits: may be empty before it is prepared; then they are not looked at.
    """
    return [*_image_problems(features), *_label_problems(features), *_split_problems(splits)]


def split_for_test(splits: list[str]) -> str:
    """Returns which split is the test set."""
    return "test" if "test" in splits else "validation"


def _image_problems(features: dict[str, Any]) -> list[str]:
    image = features.get("image")
    if not isinstance(image, tfds.features.Image):
        return [f"it has no image called `image`, only {', '.join(sorted(features))}."]
    if None in image.shape:
        return [f"its images have no fixed size: their shape is {image.shape}."]
    if image.np_dtype != np.uint8:
        return [f"its images are {image.np_dtype.__name__}; only uint8 can be loaded."]
    return []


def _label_problems(features: dict[str, Any]) -> list[str]:
    if isinstance(features.get("label"), tfds.features.ClassLabel):
        return []
    return [f"it has no class label called `label`, only {', '.join(sorted(features))}."]


def _split_problems(splits: list[str]) -> list[str]:
    if not splits or ("train" in splits and split_for_test(splits) in splits):
        return []
    return [f"it has the splits {', '.join(splits)}; needed are train, and test or validation."]
