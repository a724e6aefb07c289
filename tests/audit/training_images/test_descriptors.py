"""Learnt descriptors are loaded from the user's weights, pinned by hash, with the preprocessing that the user names."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flashbulb.audit.training_images import embeddings as embedded_images
from flashbulb.audit.training_images.descriptors import PREPROCESSINGS, Descriptor, load_descriptor
from flashbulb.audit.training_images.embeddings import brute_force, faiss_search
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.audit.training_images.storage import build_index, open_training_images
from flashbulb.reports.tables.files import sha256_of
from tests.audit.training_images.random_images import SIZE, random_images


class ShrunkenImage(torch.nn.Module):
    """Describe an image by its pixels at 8 x 8, which needs no training."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(batch, 8).flatten(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sscd.torchscript.pt"
    torch.jit.script(ShrunkenImage()).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    for number, image in enumerate(random_images(12)):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def sscd(weights: Path) -> Descriptor:
    return load_descriptor(weights, "sscd-disc-large")


def test_sscd_is_pinned_by_its_hash(weights, sscd):
    assert sscd.sha256 == sha256_of(weights)
    assert load_descriptor(weights, "sscd-disc-mixup", sscd.sha256.upper()).kind == "sscd-disc-mixup"
    with pytest.raises(TrainingImagesError, match=r"has SHA-256 .*, not 00"):
        load_descriptor(weights, "sscd-disc-large", "00")


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(sscd):
    together = sscd.embed(random_images(5))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together[3:4], sscd.embed(random_images(5)[3:4]), atol=1e-5)


@pytest.mark.parametrize("kind", ["sscd-disc-large", "sscd-disc-mixup"])
def test_each_kind_has_its_own_preprocessing(weights, kind):
    batches = []
    descriptor = Descriptor(kind, "", lambda batch: batches.append(batch) or batch.mean((2, 3)))
    descriptor.embed([np.full((40, 80, 3), 255, dtype=np.uint8)])
    side, how = batches[0].shape[-1], PREPROCESSINGS[kind]
    assert side == {"sscd-disc-large": 224, "sscd-disc-mixup": 320}[kind]
    np.testing.assert_allclose(batches[0][0, :, 0, 0], (1 - np.array(how.mean)) / how.std, rtol=1e-5)


def test_dinov2_is_read_from_a_transformers_directory(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path)
    descriptor = load_descriptor(tmp_path, "dinov2")
    assert descriptor.embed(random_images(2)).shape == (2, 16)
    assert descriptor.copy_similarity is None
    assert load_descriptor(tmp_path, "dinov2", descriptor.sha256).sha256 == descriptor.sha256


def test_files_that_are_not_descriptors_are_refused_in_one_line(tmp_path, weights):
    torn = tmp_path / "torn.pt"
    torn.write_bytes(b"no weights")
    refused = {
        "no descriptor 'clip'; choose one of sscd": (weights, "clip"),
        "is not a TorchScript file": (tmp_path / "missing.pt", "sscd-disc-large"),
        "is not a transformers directory": (weights, "dinov2"),
        "cannot be loaded as sscd-disc-large": (torn, "sscd-disc-large"),
        "cannot be loaded as dinov2": (tmp_path, "dinov2"),
    }
    for reason, (path, kind) in refused.items():
        with pytest.raises(TrainingImagesError, match=reason) as error:
            load_descriptor(path, kind)
        assert "\n" not in str(error.value)


def test_similarity_is_reported_and_finds_a_copy_that_pixels_do_not(folder, sscd):
    images = open_training_images(folder, SIZE, SIZE, sscd)
    copy, negative = random_images(12)[4], 255 - random_images(12)[4]
    found = images.nearest(np.stack([copy, random_images(1, seed=9)[0]]))
    assert (found[0].kind, found[0].index) == ("verbatim", 4)
    assert found[1].kind is None
    blue = np.stack([negative[..., 0]] * 3, axis=-1)
    always = Descriptor("sscd-disc-large", "", lambda batch: torch.ones(len(batch), 4))
    (alike,) = open_training_images(folder, SIZE, SIZE, always).nearest(blue[None])
    assert alike.kind == "template"
    assert alike.copy_similarity == pytest.approx(1)


def test_an_index_stores_its_descriptors_and_refuses_others(folder, sscd, tmp_path):
    assert build_index(folder, tmp_path / "index", descriptor=sscd).n_images == 12
    images = open_training_images(tmp_path / "index", SIZE, SIZE, sscd)
    assert [n.index for n in images.nearest(random_images(12)[:3])] == [0, 1, 2]
    with pytest.raises(TrainingImagesError, match="build the index again with these weights"):
        open_training_images(tmp_path / "index", SIZE, SIZE, Descriptor("sscd-disc-large", "other", sscd.model))
    build_index(folder, tmp_path / "plain")
    with pytest.raises(TrainingImagesError, match="holds no descriptors"):
        open_training_images(tmp_path / "plain", SIZE, SIZE, sscd)


def test_brute_force_in_chunks_equals_sorting_everything(monkeypatch):
    monkeypatch.setattr(embedded_images, "_ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    embeddings, queries = (rng.integers(-9, 10, (n, 6)).astype(np.float32) for n in (50, 3))  # products are exact
    similarity, rows = brute_force(embeddings)(queries, 5)
    np.testing.assert_array_equal(rows, np.argsort(-queries @ embeddings.T, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(similarity, np.sort(queries @ embeddings.T, axis=1)[:, ::-1][:, :5])


def test_the_error_without_faiss_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(TrainingImagesError, match=r"pip install 'flashbulb\[faiss\]'"):
        faiss_search(np.eye(4, dtype=np.float32))


def test_faiss_finds_what_brute_force_finds():
    pytest.importorskip("faiss")
    vectors = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, rows = faiss_search(vectors)(vectors[:50], 1)
    assert (rows[:, 0] == np.arange(50)).mean() >= 0.95
