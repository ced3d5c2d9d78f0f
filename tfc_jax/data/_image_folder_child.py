"""Decodes a tree of images into arrays: `_image_folder_child.py TREE OUT`.

A program of its own, so that TensorFlow, its log and its memory never enter the caller.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

_SHAPE = (64, 64, 3)


def main(tree: str, out: str) -> None:
    """Writes x_SPLIT.npy (uint8) and y_SPLIT.npy (int32) of each split of TREE/SPLIT/LABEL/IMAGE.

    Labels count the folders in alphabetical order. Grey images become RGB.
    """
    builder = tfds.folder_dataset.ImageFolder(tree, shape=_SHAPE)
    Path(out).mkdir()
    for split, info in builder.info.splits.items():
        # Written as it is decoded: the images need not fit in memory.
        x = np.lib.format.open_memmap(
            f"{out}/x_{split}.npy", "w+", np.uint8, (info.num_examples, *_SHAPE)
        )
        y = np.empty(info.num_examples, np.int32)
        for row, example in enumerate(builder.as_dataset(split=split).as_numpy_iterator()):
            x[row], y[row] = example["image"], example["label"]
        x.flush()
        np.save(f"{out}/y_{split}.npy", y)


if __name__ == "__main__":
    main(*sys.argv[1:])
