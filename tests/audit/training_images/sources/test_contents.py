"""Images are found in folders, imagefolders and tar files, in a stable order, and read without unpacking."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from flashbulb.audit.images.decoding import decode
from flashbulb.audit.training_images.sources.contents import MemberReader, find_members
from flashbulb.audit.training_images.sources.members import Member, TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import Tally
from flashbulb.reports.views.passed_over import PassedOver
from tests.audit.training_images.sets import levels, png


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def names(source: Path) -> list[str]:
    return [member.path(source).relative_to(source).as_posix() for member in find_members(source)]


def test_tar_members_are_read_by_their_offset(tmp_path):
    shard = write_tar(tmp_path / "s.tar", {"a/1.png": png(1), "a/1.txt": b"a star", "2.PNG": png(2), "3.json": b"{}"})
    assert levels(shard) == [1, 2]
    assert [str(member.path(shard)) for member in find_members(shard)] == [f"{shard}/a/1.png", f"{shard}/2.PNG"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tar"]


def test_a_folder_of_tars_and_images_is_read_in_the_order_of_paths(tmp_path):
    write_tar(tmp_path / "b" / "0001.tar", {"y.png": png(3), "x.png": png(4)})
    write_tar(tmp_path / "b" / "0000.tar", {"z.png": png(2)})
    (tmp_path / "b-1.png").write_bytes(png(1))
    (tmp_path / "c.png").write_bytes(png(5))
    assert levels(tmp_path) == [1, 2, 3, 4, 5]
    assert names(tmp_path) == ["b-1.png", "b/0000.tar/z.png", "b/0001.tar/y.png", "b/0001.tar/x.png", "c.png"]


def test_long_and_non_ascii_names_survive_packing(tmp_path):
    shard = write_tar(tmp_path / "s.tar", {f"{'långt ' * 40}.png": png(1)})
    (member,) = find_members(shard)
    assert Member.unpack(member.pack()) == member
    assert levels(shard) == [1]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_images_that_only_the_metadata_list_are_found(tmp_path, kind):
    (tmp_path / "train" / "in").mkdir(parents=True)
    for name, level in (("in/1.png", 1), ("2", 2), ("unlisted.png", 3)):
        (tmp_path / "train" / name).write_bytes(png(level))
    listed = ["in/1.png", "2", "missing.png"]
    rows = "file_name,text\n" + "".join(f'{name},"a, b"\n' for name in listed)
    lines = "".join(json.dumps({"file_name": name, "text": "a"}) + "\n" for name in listed)
    (tmp_path / "train" / f"metadata.{kind}").write_text(rows if kind == "csv" else lines)
    assert sorted(names(tmp_path)) == ["train/2", "train/in/1.png", "train/missing.png", "train/unlisted.png"]
    with pytest.raises(OSError, match="missing"):
        MemberReader(tmp_path).read(next(m for m in find_members(tmp_path) if "missing" in m.file))


def test_metadata_may_not_list_files_outside_of_their_folder(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name\n../../secret.png\n")
    with pytest.raises(TrainingImagesError, match=r"lists '\.\./\.\./secret\.png', outside"):
        list(find_members(tmp_path))


def test_metadata_files_without_file_names_are_ignored(tmp_path):
    (tmp_path / "metadata.csv").write_text("path,text\nx.png,a star\n")
    (tmp_path / "metadata.jsonl").write_text('["file_name"]\n\n')
    (tmp_path / "x.png").write_bytes(png(1))
    assert levels(tmp_path) == [1]


def test_a_torn_tar_gives_its_complete_images_and_is_named(tmp_path):
    shard = write_tar(tmp_path / "s.tar", {"1.png": png(1), "2.png": png(2), "3.png": png(3)})
    shard.write_bytes(shard.read_bytes()[: 3 * 1024 - 500])
    tally = Tally()
    found = list(find_members(shard, tally.add))
    assert decode(MemberReader(shard).read(found[0])).image.getpixel((0, 0))[0] == 1
    assert tally.result() == (PassedOver("rest of a damaged archive", 1, "s.tar"),)


def test_a_compressed_tar_is_refused_with_a_remedy(tmp_path):
    shard = write_tar(tmp_path / "s.tar.gz", {"1.png": png(1)}, "w:gz")
    with pytest.raises(TrainingImagesError, match=r"compressed.*decompress it to \.tar"):
        find_members(shard)
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "misnamed.tar").write_bytes(shard.read_bytes())
    tally = Tally()
    assert [member.file for member in find_members(tmp_path, tally.add)] == ["1.png"]
    assert tally.result() == (PassedOver("archive to be decompressed to .tar or .zip", 2, "misnamed.tar"),)


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(png(1))
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "sub" / "loop").symlink_to(tmp_path / "set")
    assert names(tmp_path / "set") == ["linked/1.png"]


def test_an_image_that_changed_its_length_is_not_read(tmp_path):
    (tmp_path / "1.png").write_bytes(png(1))
    (member,) = find_members(tmp_path)
    (tmp_path / "1.png").write_bytes(png(1) + b"more")
    with pytest.raises(OSError, match="bytes, not"):
        MemberReader(tmp_path).read(member)


def test_a_source_that_is_neither_folder_nor_tar_is_refused(tmp_path):
    with pytest.raises(TrainingImagesError, match=r"no folder or \.tar .*missing; give a folder"):
        find_members(tmp_path / "missing")
