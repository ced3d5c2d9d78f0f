"""Another S3 server than ours, which nobody here wrote, and the readers that the README shows."""

import logging
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import duckdb
import obstore.fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from fsspec.core import url_to_fs
from moto.server import ThreadedMotoServer

from tests.objects.packs import train_fake_at
from tests.objects.store import BUCKET, PRESENT
from tests.sweeps import RUNS, content, fake_plugins, train_fake_pack
from tfc_jax.objects import mirror, pieces
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.place import Place, place_at
from tfc_jax.objects.probe import check_conditions

STEPS = 40


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What a client of a server with one empty bucket needs."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection = HTTPConnection(host, port)
    connection.request("PUT", f"/{BUCKET}")
    assert connection.getresponse().status == 200
    connection.close()
    url = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true"}
    yield PRESENT | url | {"AWS_REGION": "us-east-1"}
    server.stop()


@pytest.fixture
def place(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    """A place with a pack that is done."""
    fake_plugins(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
    place = place_at(f"s3://{BUCKET}/{tmp_path.name}")
    train_fake_at(place)
    return place


def test_its_conditions_are_kept_to(place: Place) -> None:
    check_conditions(Bucket(place))


def test_it_has_the_same_rows_and_weights_as_a_folder(place: Place, tmp_path: Path) -> None:
    train_fake_pack(tmp_path / "folder")
    mirror.bring(Bucket(place), place.seen, mirror.rows(), mirror.parts(), mirror.weights())
    assert content(place.seen) == content(tmp_path / "folder")


def read_with_pandas(url: str) -> Any:
    obstore.fsspec.register("s3")
    return len(pd.read_parquet(f"{url}/steps"))


def read_with_polars(url: str) -> Any:
    return pl.scan_parquet(f"{url}/steps/*.parquet").select(pl.len()).collect().item()


def read_with_duckdb(url: str) -> Any:
    obstore.fsspec.register("s3")
    filesystem, path = url_to_fs(f"{url}/steps")
    steps = ds.dataset(path, filesystem=filesystem)
    return duckdb.from_arrow(steps).aggregate("count(*)").fetchall()[0][0]


@pytest.mark.parametrize("read", [read_with_pandas, read_with_polars, read_with_duckdb])
def test_others_read_the_tables_where_they_are(place: Place, read: Any) -> None:
    assert read(place.url) == len(RUNS) * STEPS


def test_it_takes_large_objects_in_pieces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 5 * 2**20)  # S3 takes no smaller ones
    bucket, raw = Bucket(place), bytes(range(256)) * 2**14 * 3
    bucket.put("x", raw)
    pieces.copy(bucket._obstore, bucket._store, "x", "y", len(raw))
    found = bucket.get("y")
    assert found
    assert found.content == raw
