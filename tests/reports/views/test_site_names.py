"""Sites have short and distinct names, and are ordered as a prompt passes through them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flashbulb.reports.views.site_names import distinct_names, short_site, sites_by_kind

STABLE_DIFFUSION = [
    *(f"unet.down_blocks.{i}.attentions.{j}.transformer_blocks.0.attn2.to_v" for i in range(3) for j in range(2)),
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
    *(f"unet.up_blocks.{i}.attentions.{j}.transformer_blocks.0.attn2.to_v" for i in range(1, 4) for j in range(3)),
]
JOINED_TRANSFORMER = [
    f"transformer.transformer_blocks.{i}.{stream}.net.2" for i in range(3) for stream in ("ff", "ff_context")
]


def test_short_names_tell_the_streams_of_a_transformer_apart() -> None:
    assert [short_site(site) for site in JOINED_TRANSFORMER[:2]] == ["transformer.0.ff", "transformer.0.ff_context"]
    assert [group.kind for group in sites_by_kind(JOINED_TRANSFORMER)] == ["feed-forward"]


@pytest.mark.parametrize(
    "sites",
    [
        STABLE_DIFFUSION,
        STABLE_DIFFUSION[:1],
        STABLE_DIFFUSION[6:7],
        [name.replace("attn2.to_v", "ff.net.2") for name in STABLE_DIFFUSION],
        [name.replace("transformer_blocks.0", f"transformer_blocks.{i}") for name in STABLE_DIFFUSION for i in (0, 1)],
        [f"text_encoder.encoder.layers.{i}.mlp.fc2" for i in range(12)],
        [f"text_encoder{c}.encoder.layers.{i}.mlp.fc2" for c in ("", "_2") for i in range(12)],
        ["unet.a.to_v", "unet.a.b.to_v"],
        JOINED_TRANSFORMER,
    ],
)
def test_distinct_names_are_unique_and_not_empty(sites: list[str]) -> None:
    names = distinct_names(sites)
    assert len(set(names)) == len(names) == len(sites)
    assert all(name.strip() for name in names)
    assert all(len(short) <= len(name) for short, name in zip(names, sites, strict=True))


def test_distinct_names_start_with_the_block_of_the_unet() -> None:
    names = distinct_names(STABLE_DIFFUSION)
    assert names[0].startswith("down 0.")
    assert names[6].startswith("mid")
    assert names[-1].startswith("up 3.")
    assert max(map(len, names)) < 15


def test_a_short_name_shows_the_place_of_a_site() -> None:
    assert short_site("unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2") == "down.0.ff"
    assert short_site("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k") == "mid.to_k"
    assert short_site("text_encoder_2.encoder.layers.3.mlp.fc2") == "text_encoder_2.3"


def test_sites_of_a_kind_are_in_network_order() -> None:
    sites = [
        "unet.up_blocks.0.attentions.0.transformer_blocks.0.ff.net.2",
        "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
        "text_encoder.encoder.layers.1.mlp.fc2",
        "text_encoder.encoder.layers.0.mlp.fc2",
        "vae.something",
    ]
    groups = sites_by_kind(sites)
    assert [group.short for group in groups] == ["text", "K", "V", "out", "FF", "other"]
    assert [group.positions for group in groups] == [(6, 7), (5,), (4,), (3,), (2, 1, 0), (8,)]


def test_every_site_is_in_exactly_one_group() -> None:
    sites = [*STABLE_DIFFUSION, "", "unet", "strange.name", "text_encoder"]
    positions = [position for group in sites_by_kind(sites) for position in group.positions]
    assert sorted(positions) == list(range(len(sites)))
    assert sites_by_kind([]) == ()


@given(
    st.lists(st.sampled_from(["unet", "transformer", "text_encoder", "", "0", "down_blocks", "ff", "x"]), max_size=5)
)
@example(["unet", "transformer", "0"])
def test_every_name_of_a_site_has_a_short_one(parts: list[str]) -> None:
    """Names come from tables, where they may be anything; a short name is never longer."""
    site = ".".join(parts)
    assert len(short_site(site)) <= len(site)
