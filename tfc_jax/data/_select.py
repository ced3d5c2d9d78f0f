"""What a sweep takes from a data set: the first classes, then the first training samples."""

from dataclasses import replace

from tfc_jax.data._dataset import Dataset
from tfc_jax.errors import InputError

_FEWEST_CLASSES = 2


def select(dataset: Dataset, *, n_train: int | None, classes: int | None) -> Dataset:
    """Keeps labels 0..classes-1 of both sets, then the first n_train training samples.

    Raises:
      InputError: `classes` is not in 2..K, or fewer than `n_train` training samples are there.
    """
    kept = dataset if classes is None else _first_classes(dataset, classes)
    return kept if n_train is None else _first_samples(kept, n_train)


def _first_classes(dataset: Dataset, classes: int) -> Dataset:
    if not dataset.n_classes:
        raise InputError(
            f"classes: {classes} was asked of '{dataset.name}', whose targets are numbers, not "
            "classes. Leave `classes` out."
        )
    if not _FEWEST_CLASSES <= classes <= dataset.n_classes:
        raise InputError(
            f"classes: {classes} is out of range for '{dataset.name}'; allowed are "
            f"{_FEWEST_CLASSES} to {dataset.n_classes}."
        )
    train, test = dataset.y_train < classes, dataset.y_test < classes
    return replace(
        dataset,
        x_train=dataset.x_train[train],
        y_train=dataset.y_train[train],
        x_test=dataset.x_test[test],
        y_test=dataset.y_test[test],
        class_names=dataset.class_names[:classes],
    )


def _first_samples(dataset: Dataset, n_train: int) -> Dataset:
    available = len(dataset.x_train)
    if not 1 <= n_train <= available:
        kept = f" with {dataset.n_classes} classes" if dataset.n_classes else ""
        raise InputError(
            f"n_train: {n_train} is out of range for '{dataset.name}'{kept}; allowed are "
            f"1 to {available}."
        )
    return replace(dataset, x_train=dataset.x_train[:n_train], y_train=dataset.y_train[:n_train])
