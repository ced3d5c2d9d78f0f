"""Runs the preparation that TensorFlow Datasets defines: `_tfds_child.py NAME DATA_DIR`.

A program of its own, so that TensorFlow, its log and its memory never enter the caller.
"""

import os
import sys
import tempfile

import tensorflow_datasets as tfds


def main(name: str, data_dir: str) -> None:
    """Prepares in the format that is readable without TensorFlow, from downloads already checked.

    What an earlier attempt extracted is not trusted: this one extracts to a place of its own.
    """
    os.makedirs(data_dir, exist_ok=True)
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    with tempfile.TemporaryDirectory(prefix="extracted.", dir=data_dir) as extracted:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                extract_dir=extracted,
                try_download_gcs=False,
                # A file whose SHA-256 TFDS does not know is not downloaded at all.
                force_checksums_validation=True,
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
