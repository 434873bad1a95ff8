"""`headrace history` on files: exact floats, every kind, missing values as null."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from cli_process import headrace

from headrace.cli import _series
from headrace.history import Store, TagCatalog, TagSpec
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.model import Batch, Header, Kind
from headrace.records import open_records

T0 = 1_700_000_000 * NS_PER_S


def _fill(data: Path) -> list[float]:
    data.mkdir()
    records = open_records(data / "records.sqlite")
    catalog = TagCatalog(records)
    catalog.migrate()
    tags = catalog.sync([TagSpec("m/f", Kind.F64), TagSpec("m/u", Kind.U64), TagSpec("m/t", Kind.TEXT)])
    records.close()
    floats = [0.1 + 0.2, 1 / 3, 5e-324, -0.0, 1.7976931348623157e308, math.nan, math.inf, 0.0]
    missing = np.array([False] * 7 + [True])
    times = [T0 + n * NS_PER_S for n in range(8)]
    store = Store.open(data / "history")
    f, u, t = (tag.id for tag in tags)
    quality = [0, 0, 0x4000, 0, 0, 0, 0, 0x8005]
    batches = [
        Batch.of(Kind.F64, [f] * 8, times, floats, quality, missing=missing),
        Batch.of(Kind.U64, [u] * 2, times[:2], [2**64 - 1, 7], [0, 0]),
        Batch.of(Kind.TEXT, [t] * 1, times[:1], ["炉温"], [0]),
    ]
    store.append("DATA", [(n, Header("n", "edge", n), batch) for n, batch in enumerate(batches, 1)])
    store.close()
    return floats


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_points_are_exact(tmp_path: Path) -> None:
    floats = _fill(tmp_path / "d")
    span = ["--from", str(T0), "--to", str(T0 + 60 * NS_PER_S), "--data", tmp_path / "d", "--json"]
    found = json.loads(headrace("history", "query", "--tag", "m/f", *span).stdout)
    assert (found["tag"], found["kind"]) == ("m/f", "f64")
    times, values, qualities = zip(*found["points"], strict=True)
    assert list(times) == [T0 + n * NS_PER_S for n in range(8)]
    assert [_bits(v) for v in values[:5]] == [_bits(v) for v in floats[:5]]
    assert values[5:] == ("NaN", "Infinity", None)
    assert qualities == (0, 0, 0x4000, 0, 0, 0, 0, 0x8005)
    unsigned = json.loads(headrace("history", "query", "--tag", "m/u", *span).stdout)
    assert [p[1] for p in unsigned["points"]] == [2**64 - 1, 7]
    text = json.loads(headrace("history", "query", "--tag", "m/t", *span).stdout)
    assert [p[1] for p in text["points"]] == ["炉温"]
    limited = json.loads(headrace("history", "query", "--tag", "m/f", "--limit", "3", *span).stdout)
    assert limited["points"] == found["points"][:3]


def test_buckets(tmp_path: Path) -> None:
    _fill(tmp_path / "d")
    span = ["--from", str(T0), "--to", str(T0 + 60 * NS_PER_S), "--data", tmp_path / "d", "--json"]
    asked = ["history", "query", "--tag", "m/u", "--every", "1s", "--agg", "count,max"]
    found = json.loads(headrace(*asked, *span).stdout)
    assert found["every_ns"] == NS_PER_S and found["aggregates"] == ["count", "max"]
    assert found["points"] == [[T0, 1, 2**64 - 1, 0], [T0 + NS_PER_S, 1, 7, 0]]


def test_export_stats_fsck_compact(tmp_path: Path) -> None:
    data = tmp_path / "d"
    _fill(data)
    out = tmp_path / "out.csv"
    done = headrace("history", "export", out, "--from", str(T0), "--tag", "m/f", "--data", data, "--json")
    assert json.loads(done.stdout)["points"] == 8
    assert len(out.read_text().splitlines()) == 9
    assert json.loads(headrace("history", "stats", "--data", data, "--json").stdout)["points"] == 11
    assert json.loads(headrace("history", "fsck", "--data", data, "--json").stdout)["ok"] is True
    assert json.loads(headrace("history", "compact", "--data", data, "--json").stdout)["head_points"] == 0
    assert headrace("history", "query", "--tag", "m/x", "--data", data).returncode == 1


def test_a_mean_of_texts_is_nothing_whoever_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path / "d")
    end = T0 + 60 * NS_PER_S
    of_files = _series.fetch(tmp_path / "d", "m/t", T0, end, NS_PER_S, ("mean", "count"), None)
    assert of_files["points"] == [[T0, None, 1, 0]]

    class Node:
        def get(self, _path: str, _query: object) -> object:
            return {"series": [{"kind": "text", "time": [T0], "count": [1], "quality": [0]}]}

    monkeypatch.setattr(_series, "find_node", lambda _data: Node())
    of_node = _series.fetch(tmp_path / "d", "m/t", T0, end, NS_PER_S, ("mean", "count"), None)
    assert of_node == of_files


def test_an_export_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    _fill(tmp_path / "d")
    done = headrace("history", "export", tmp_path / "no" / "o.csv", "--data", tmp_path / "d", "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["code"] == "history.no_export_folder"


def test_times_beyond_64_bits_are_no_times(tmp_path: Path) -> None:
    for span in (["--from=-99999999999d"], ["--from=-1h", "--to=99999999999999999999"]):
        done = headrace("history", "query", "--tag", "m/f", *span, "--data", tmp_path, "--json")
        assert done.returncode == 2 and json.loads(done.stderr)["error"]["code"] == "cli.bad_time"
