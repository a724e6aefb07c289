"""What Triton reduces in one pass is what PyTorch reduces: on a GPU, or in its interpreter (`make test-kernels`)."""

import os

import pytest
import torch
from torch import Tensor

from flashbulb.hooks.accelerated import space_in_four_passes, tokens_in_few_calls
from flashbulb.hooks.tokens import TOKEN_REDUCTIONS, TokenClass

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the kernels need a GPU, or Triton's interpreter (make test-kernels)", allow_module_level=True)
fused = pytest.importorskip("flashbulb.hooks.fused", reason="the kernels need Triton (make test-kernels)")
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5, "equal_nan": True}


def activations(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(*shape, generator=generator)).to(dtype).to(DEVICE)


def token_classes(n_prompts: int, n_positions: int) -> Tensor:
    """Return rows of a start, words (in the first row none), an end and padding."""
    classes = torch.full((n_prompts, n_positions), TokenClass.PADDING, dtype=torch.int8)
    for prompt in range(n_prompts):
        n_words = min(prompt * 7, n_positions - 2)
        classes[prompt, 0], classes[prompt, 1 : 1 + n_words] = TokenClass.START, TokenClass.PROMPT
        classes[prompt, 1 + n_words] = TokenClass.END
    return classes.to(DEVICE)


def reduced_tokens(x: Tensor, classes: Tensor) -> dict[str, Tensor]:
    return dict(zip(TOKEN_REDUCTIONS, fused.reduce_over_tokens(x, classes).unbind(dim=1), strict=True))


def assert_same_tokens(x: Tensor, classes: Tensor) -> None:
    reduced, expected = reduced_tokens(x, classes), tokens_in_few_calls(x, classes)
    assert list(reduced) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(reduced[name], values, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 16, 64), (2, 129, 65), (1, 300, 130)])
def test_space_is_reduced_alike_whatever_the_shape(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x = activations(*shape, dtype=dtype)
    torch.testing.assert_close(fused.reduce_over_space(x), space_in_four_passes(x), **TOLERANCE)


def test_space_is_read_by_its_strides() -> None:
    x = activations(2, 40, 33)
    for view in (x[:, 3:20], x[:, ::2], x[..., :7], x.transpose(1, 2), x[:1].expand(3, -1, -1)):
        torch.testing.assert_close(fused.reduce_over_space(view), space_in_four_passes(view), **TOLERANCE)


@pytest.mark.parametrize(
    "odd", [[torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf], [torch.nan, torch.inf]]
)
def test_a_value_that_is_not_finite_shows_in_its_neuron_alone(odd: list[float]) -> None:
    x = activations(2, 200, 5)
    for place, value in enumerate(odd):
        x[1, 30 + 150 * place, 2] = value
    reduced = fused.reduce_over_space(x)
    torch.testing.assert_close(reduced, space_in_four_passes(x), **TOLERANCE)
    assert not reduced[1, :, 2].isfinite().any()
    assert reduced.isfinite().sum() == reduced.numel() - 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3, 1), (3, 16, 128), (4, 77, 130)])
def test_tokens_are_reduced_alike_whatever_the_shape(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    assert_same_tokens(activations(*shape, dtype=dtype), token_classes(*shape[:2]))


def test_tokens_are_read_by_their_strides() -> None:
    x, classes = activations(4, 40, 33), token_classes(4, 40)
    assert_same_tokens(x[..., :7], classes)
    assert_same_tokens(x[:, ::2], classes[:, ::2])
    assert_same_tokens(x.transpose(1, 2), token_classes(4, 33))


def test_an_absent_class_is_nan_and_no_other() -> None:
    x, classes = activations(3, 20, 6), token_classes(3, 20)
    reduced = reduced_tokens(x, classes)
    assert [bool(values[0].isnan().all()) for values in reduced.values()] == ["prompt" in name for name in reduced]
    assert not any(values[1].isnan().any() for values in reduced.values())


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("token_class", TokenClass)
def test_a_token_that_is_not_finite_is_infinite_in_its_class(token_class: TokenClass, odd: float) -> None:
    x, classes = activations(2, 30, 4), token_classes(2, 30)
    position = int((classes[1] == token_class).nonzero()[0])
    x[1, position, 2] = odd
    reduced = reduced_tokens(x, classes)
    named = {name for name, values in reduced.items() if values[1, 2].isinf()}
    assert named == {name for name in reduced if name.startswith((token_class.name.lower(), "all"))}
    assert all(values[1, [0, 1, 3]].isfinite().all() for values in reduced.values())


def test_a_position_that_is_not_read_counts_nowhere() -> None:
    x, classes = activations(2, 30, 4), token_classes(2, 30)
    classes[1, -1] = -1
    before = reduced_tokens(x, classes)
    x[1, -1] = torch.nan
    for name, values in reduced_tokens(x, classes).items():
        torch.testing.assert_close(values, before[name], equal_nan=True)
