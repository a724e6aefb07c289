"""Images in Parquet files are read by row."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.images.decoding import decode
from flashbulb.audit.training_images.sources.contents import MemberReader, find_members
from tests.audit.training_images.sets import levels, passed_over, png


@pytest.mark.parametrize("column", [pa.binary(), pa.large_binary(), "struct"])
def test_parquet_rows_are_read_in_any_order(tmp_path, column):
    values = [png(number) for number in range(40)]
    images = pa.array([{"bytes": v, "path": None} for v in values]) if column == "struct" else pa.array(values, column)
    table = pa.table({"text": ["a star"] * 40, "picture": images, "audio": pa.array([b"RIFF" + bytes(20)] * 40)})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet", row_group_size=7)
    assert levels(tmp_path) == list(range(40))
    found, reader = list(find_members(tmp_path)), MemberReader(tmp_path)
    for row in (39, 0, 20, 19, 6, 7):
        assert decode(reader.read(found[row])).image.getpixel((0, 0))[0] == row
    assert found[3].path(tmp_path) == tmp_path / "train-00000-of-00001.parquet" / "picture[3]"


def test_rows_without_an_image_are_counted(tmp_path):
    rows = [
        {"bytes": png(1), "path": None},
        {"bytes": None, "path": "elsewhere.png"},
        None,
        {"bytes": b"no image", "path": None},
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a star"]}), tmp_path / "captions.parquet")
    assert passed_over(tmp_path) == {"missing": 2, "cannot be read": 1, "Parquet without a column of images": 1}


def test_several_columns_of_images_are_all_read(tmp_path):
    columns = {name: [{"bytes": png(level), "path": ""}] for name, level in (("input_image", 1), ("edited_image", 2))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert levels(tmp_path / "a.parquet") == [1, 2]
