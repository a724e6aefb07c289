"""A shard is written complete or not at all, records its origin, and opens in other libraries."""

import json
import re

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flashbulb.hooks import (
    DamagedFile,
    FingerprintMismatch,
    NewerSchema,
    activation_columns,
    complete_shards,
    read_activations,
    read_manifest,
    store,
    write_shard,
)
from flashbulb.hooks.files import sealed, unsealed

V, F = "unet.mid_block.attn2.to_v/prompt_mean", "unet.mid_block.ff.net.2/abs_max"
MANIFEST = {"fingerprint": "model-a", "settings": {"dtype": "float32"}, "firings": {V: 3}}


def activations(n_rows=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n_rows, 4, generator=generator)
    values[1] = torch.nan
    return {V: values, F: torch.randn(n_rows, 2, generator=generator)}


def keys(n_rows=3, first=0):
    return {"prompt_id": [f"p{first + row}" for row in range(n_rows)], "seed": list(range(n_rows))}


def write(directory, index=0, **change):
    arguments = {"keys": keys(first=3 * index), "activations": activations(seed=index), "manifest": MANIFEST}
    return write_shard(directory, index, **(arguments | change))


def rows(values):
    """Normalise a library's column of lists: None for null, otherwise plain floats."""
    return [None if row is None else [float(value) for value in row] for row in values]


def test_shards_open_in_pandas_polars_and_duckdb(tmp_path):
    path = write(tmp_path)
    expected = [None if row.isnan().all() else row.half().float().tolist() for row in activations()[V]]
    duck = duckdb.sql(f"select * from '{path}'").fetchall()
    assert [row[:2] for row in duck] == [("p0", 0), ("p1", 1), ("p2", 2)]
    assert rows(row[2] for row in duck) == expected
    assert rows(pl.read_parquet(path)[V].to_list()) == expected
    assert rows(pd.read_parquet(path)[V]) == expected
    assert rows(pq.read_table(path).column(V).to_pylist()) == expected


def test_written_activations_are_read_back_in_half_precision(tmp_path):
    path = write(tmp_path)
    arrays, table = read_activations([path])
    assert list(arrays) == [V, F] == activation_columns(path)
    for name, values in activations().items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], values.half().float().numpy())
    assert table.to_pydict() == keys()
    assert read_activations(str(path))[1] == table


def test_shards_are_concatenated_and_columns_can_be_selected(tmp_path):
    paths = [write(tmp_path, index) for index in (0, 1)]
    arrays, table = read_activations([str(path) for path in paths], [F])
    assert list(arrays) == [F]
    np.testing.assert_array_equal(
        arrays[F], torch.cat([activations(seed=index)[F] for index in (0, 1)]).half().float().numpy()
    )
    assert table.column("prompt_id").to_pylist() == [f"p{row}" for row in range(6)]


def test_many_row_groups_with_nulls_keep_their_rows(tmp_path):
    n_rows = 2 * store.ROWS_PER_GROUP + 7
    values = torch.arange(n_rows * 2.0).reshape(n_rows, 2) / 8
    values[::3] = torch.nan
    path = write(tmp_path, keys=keys(n_rows), activations={V: values})
    assert pq.ParquetFile(path).num_row_groups == 3
    np.testing.assert_array_equal(read_activations([path])[0][V], values.half().float().numpy())


@pytest.mark.parametrize("n_rows", [0, 1])
def test_shard_with_zero_rows_or_one_is_complete(tmp_path, n_rows):
    values = torch.ones(n_rows, 4)
    path = write(tmp_path, keys={"prompt_id": ["p"] * n_rows}, activations={V: values})
    assert read_activations([path])[0][V].shape == (n_rows, 4)
    assert complete_shards(tmp_path, "model-a") == {0: path}


def test_overflowing_values_are_stored_float32(tmp_path):
    large = torch.tensor([[65504.0, -65505.0]])
    fits = torch.tensor([[65504.0, torch.inf]])
    path = write(tmp_path, keys={"prompt_id": ["p"]}, activations={"large": large, "fits": fits})
    types = {column.name: column.type.value_type for column in pq.read_schema(path) if column.name != "prompt_id"}
    assert types == {"large": pa.float32(), "fits": pa.float16()}
    arrays, _ = read_activations([path])
    np.testing.assert_array_equal(arrays["large"], large.numpy())
    np.testing.assert_array_equal(arrays["fits"], fits.numpy())
    assert duckdb.sql(f"select large from '{path}'").fetchall() == [([65504.0, -65505.0],)]


def test_shards_of_different_width_are_read_together(tmp_path):
    narrow, wide = torch.ones(1, 2), torch.full((1, 2), 1e6)
    paths = [
        write(tmp_path, index, keys={"prompt_id": ["p"]}, activations={V: values})
        for index, values in enumerate([narrow, wide])
    ]
    np.testing.assert_array_equal(read_activations(paths)[0][V], torch.cat([narrow, wide]).numpy())


def test_manifest_and_footer_record_the_origin_of_the_shard(tmp_path):
    path = write(tmp_path)
    manifest = read_manifest(path)
    assert manifest == read_manifest(path.with_suffix(".json"))
    assert (manifest.fingerprint, manifest.n_rows) == ("model-a", 3)
    assert manifest.columns == ("prompt_id", "seed", V, F)
    assert manifest.n_bytes == path.stat().st_size
    assert manifest.entries == {name: MANIFEST[name] for name in ("settings", "firings")}
    footer = pq.read_metadata(path).metadata
    assert footer[b"flashbulb.fingerprint"] == b"model-a"
    assert footer[b"flashbulb.schema_version"] == str(store.SCHEMA_VERSION).encode()


def test_columns_are_zstd_without_byte_stream_split(tmp_path):
    group = pq.read_metadata(write(tmp_path)).row_group(0)
    for column in (group.column(index) for index in range(group.num_columns)):
        assert column.compression == "ZSTD"
        assert "BYTE_STREAM_SPLIT" not in column.encodings


def test_complete_shards_are_found_in_order(tmp_path):
    paths = {index: write(tmp_path, index) for index in (11, 2, 0)}
    assert list(complete_shards(tmp_path, "model-a").items()) == sorted(paths.items())
    assert complete_shards(tmp_path / "nowhere", "model-a") == {}


def test_torn_shard_is_not_complete(tmp_path):
    for index in range(4):
        write(tmp_path, index)
    torn = tmp_path / "part-00000.parquet"
    torn.write_bytes(torn.read_bytes()[:-1])
    flipped = tmp_path / "part-00001.parquet"
    content = bytearray(flipped.read_bytes())
    content[20] ^= 1
    flipped.write_bytes(content)
    (tmp_path / "part-00002.parquet").unlink()
    assert list(complete_shards(tmp_path, "model-a")) == [3]


def test_leftovers_of_a_killed_writer_are_not_complete(tmp_path):
    write(tmp_path, 0)
    (tmp_path / "part-00000.json").unlink()
    (tmp_path / "part-00001.parquet.part").write_bytes(b"PAR1")
    (tmp_path / "part-00002.json.part").write_text("{")
    (tmp_path / "part-00003.json").write_text("{")
    assert complete_shards(tmp_path, "model-a") == {}
    write(tmp_path, 1)
    assert list(complete_shards(tmp_path, "model-a")) == [1]


def test_failed_write_leaves_no_shard(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path, manifest={**MANIFEST, "path": tmp_path})
    assert complete_shards(tmp_path, "model-a") == {}


def test_other_fingerprint_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(FingerprintMismatch, match=r"model-a.*model-b"):
        complete_shards(tmp_path, "model-b")


def test_newer_schema_is_refused_with_both_versions(tmp_path):
    path = write(tmp_path).with_suffix(".json")
    path.write_text(sealed(unsealed(path) | {"schema_version": store.SCHEMA_VERSION + 1}))
    with pytest.raises(NewerSchema, match=rf"version {store.SCHEMA_VERSION + 1}.*than {store.SCHEMA_VERSION}"):
        complete_shards(tmp_path, "model-a")


@pytest.mark.parametrize("content", [[], {}, {"schema_version": 1}])
def test_json_that_is_not_a_manifest_is_refused(tmp_path, content):
    (tmp_path / "part-00000.json").write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match="is not what was written"):
        read_manifest(tmp_path / "part-00000.json")
    (tmp_path / "part-00000.json").write_text(sealed(dict(content)))
    with pytest.raises(DamagedFile, match="is not the manifest of a shard"):
        read_manifest(tmp_path / "part-00000.json")


def test_any_changed_byte_of_a_manifest_is_damage_or_no_change(tmp_path, caplog):
    path = write(tmp_path).with_suffix(".json")
    written, content = path.read_bytes(), read_manifest(path)
    for position in range(len(written)):
        path.write_bytes(written[:position] + bytes([written[position] ^ 1]) + written[position + 1 :])
        if complete_shards(tmp_path, "model-a"):
            assert read_manifest(path) == content
            continue
        assert str(path) in caplog.text
        caplog.clear()
        with pytest.raises(DamagedFile, match=re.escape(str(path))):
            read_manifest(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest": {}}, 'needs a "fingerprint" string'),
        ({"manifest": {**MANIFEST, "sha256": "0"}}, r"\['sha256'\]"),
        ({"keys": {"prompt_id": ["p0"]}}, "number of rows"),
        ({"keys": {V: ["p0"] * 3}}, "both keys and activations"),
        ({"activations": {V: torch.ones(3)}}, r"\[row, neuron\]"),
    ],
)
def test_invalid_shard_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, **change)
    assert list(tmp_path.iterdir()) == []


def test_missing_columns_and_no_shards_are_refused(tmp_path):
    path = write(tmp_path)
    with pytest.raises(ValueError, match="lacks 1 activation columns, first other"):
        read_activations([path], [V, "other"])
    with pytest.raises(ValueError, match="no shards"):
        read_activations([])


@pytest.mark.parametrize("columns", [None, [V]])
def test_what_stands_in_the_place_of_activations_is_not_read_as_such(tmp_path, columns):
    kept = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0]), 1)
    manifest = {"fingerprint": "abc", "layout": "bulk"}
    dense = write(tmp_path)
    reduced = write_shard(tmp_path, 1, {**keys(), "top/z": kept}, {}, manifest)
    with pytest.raises(ValueError, match=r"part-00001.parquet holds no activations: .* bulk layout"):
        read_activations([dense, reduced], columns)
    assert read_activations([dense, reduced], [])[1]["prompt_id"].to_pylist() == 2 * keys()["prompt_id"]
