"""Figures of spikes show each value at its prompt and site, whatever the names."""

from collections.abc import Sequence

import numpy as np
import pytest

from flashbulb.reports.drawings.groups import MAX_GROUPS, GroupRow, neuron_groups
from flashbulb.reports.drawings.layer_profile import layer_profile
from flashbulb.reports.drawings.spike_heatmap import (
    HEAT,
    MAX_CONTROLS,
    MAX_NAMED_SITES,
    MAX_ROWS,
    HeatmapRow,
    spike_heatmap,
)
from flashbulb.reports.views.site_names import sites_by_kind
from flashbulb.reports.views.text import fitted_text
from tests.reports.svg_examples import HOSTILE, images, painted, parsed, words

MEASURE = "share of a site's neurons with |z| > 4"
NAN = float("nan")


def named_sites(n_blocks: int) -> list[str]:
    """Four sites of the text encoder, then four sites per block."""
    blocks = ["down_blocks.0", "up_blocks.1", "mid_block", *(f"up_blocks.{i}" for i in range(2, n_blocks))][:n_blocks]
    return [
        *(f"text_encoder.encoder.layers.{i}.mlp.fc2" for i in range(4)),
        *(
            f"unet.{block}.attentions.0.transformer_blocks.0.{kind}"
            for kind in ("attn2.to_k", "attn2.to_v", "attn2.to_out.0", "ff.net.2")
            for block in blocks
        ),
    ]


SITES = named_sites(3)


def rows(n: int, n_sites: int = len(SITES), label: str = "a red star") -> list[HeatmapRow]:
    values = np.random.default_rng(n).uniform(0, 0.3, (n, n_sites))
    return [HeatmapRow(f"{label} {i}", tuple(row)) for i, row in enumerate(values)]


def heatmap(flagged: Sequence[HeatmapRow], controls: Sequence[HeatmapRow], sites: Sequence[str] = SITES) -> str:
    return spike_heatmap(flagged, controls, sites, measure=MEASURE, floor=0.0)


def profile(values: Sequence[float], sites: Sequence[str], unflagged: Sequence[float] | None = None) -> str:
    return layer_profile(values, unflagged, sites, measure=MEASURE, top=0.5)


def bar_heights(svg: str) -> list[float]:
    return [float(bar.attrib["height"]) for bar in parsed(svg).iter("rect")]


def test_a_heatmap_has_one_pixel_per_prompt_and_site_in_network_order() -> None:
    flagged, controls = rows(7), rows(3)
    _, above, below = images(heatmap(flagged, controls))
    assert (above.shape, below.shape) == ((7, 16, 4), (3, 16, 4))
    order = [position for group in sites_by_kind(SITES) for position in group.positions]
    values = np.asarray([row.values for row in (*flagged, *controls)])
    top = np.quantile(values, 0.99)
    expected = np.clip(values[:, order] / top, 0, 1) * 255
    np.testing.assert_allclose(np.concatenate([above, below])[..., 3], expected, atol=1)
    assert {tuple(pixel) for pixel in above[above[..., 3] > 0][:, :3]} == {HEAT}


def test_cells_at_the_floor_are_transparent_and_missing_cells_grey() -> None:
    svg = spike_heatmap([HeatmapRow("a", (1.0, 0.5, NAN, 9.0))], [], SITES[:4], measure="root mean square z", floor=1.0)
    _, image = images(svg)
    assert image[0, :, 3].tolist()[:2] == [0, 0]
    assert image[0, 3].tolist() == [*HEAT, 255]
    assert len(set(image[0, 2, :3].tolist())) == 1
    assert "grey: not recorded" in words(svg)
    assert "grey: not recorded" not in words(heatmap(rows(1), []))


@pytest.mark.parametrize("value", [0.0, NAN, 0.3])
def test_a_heatmap_of_equal_cells_is_drawn(value: float) -> None:
    svg = heatmap([HeatmapRow("a", (value,) * len(SITES))] * 3, [])
    assert len(images(svg)) == 2


def test_a_heatmap_shows_the_first_rows_and_states_how_many_there_are() -> None:
    svg = heatmap(rows(79), rows(30))
    assert {"79 flagged, the first 40", "30 not flagged, the first 10"} <= set(words(svg))
    assert [len(image) for image in images(svg)[1:]] == [MAX_ROWS, MAX_CONTROLS]
    assert "a red star 39" in words(svg)
    assert "a red star 40" not in words(svg)


@pytest.mark.parametrize(("n_flagged", "n_controls"), [(0, 3), (1, 0), (1, 1)])
def test_a_block_without_prompts_is_left_out(n_flagged: int, n_controls: int) -> None:
    svg = heatmap(rows(n_flagged), rows(n_controls))
    assert len(images(svg)) == 1 + (n_flagged > 0) + (n_controls > 0)
    assert any("not flagged" in text for text in words(svg)) == (n_controls > 0)


def test_sites_are_named_if_there_is_room() -> None:
    assert "down 0" in words(heatmap(rows(1), []))
    many = named_sites(29)
    assert len(many) == 120 > MAX_NAMED_SITES
    svg = heatmap(rows(40, len(many)), rows(10, len(many)), many)
    assert {"text", "K", "V", "out", "FF"} <= set(words(svg))
    assert "down 0" not in words(svg)
    assert len(svg) < 60_000


def test_one_site_is_drawn() -> None:
    assert images(heatmap(rows(1, 1), [], SITES[:1]))[1].shape == (1, 1, 4)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_prompt_breaks_a_heatmap(text: str) -> None:
    svg = heatmap([HeatmapRow(text, (0.1,) * len(SITES))], [])
    assert fitted_text(text, 22) in words(svg) or not text.strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_site_breaks_a_figure(text: str) -> None:
    parsed(heatmap(rows(1, 2), [], [text, f"unet.{text}.ff"]))
    parsed(profile([0.1, 0.2], [text, f"unet.down_blocks.{text}.ff"]))


def test_heatmaps_without_data_or_with_the_wrong_number_of_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no prompt or no site"):
        heatmap([], [])
    with pytest.raises(ValueError, match="no prompt or no site"):
        heatmap(rows(1, 0), [], [])
    with pytest.raises(ValueError, match="need 3 values each"):
        heatmap(rows(2, 4), [], SITES[:3])


def test_bars_of_a_profile_are_proportional_to_their_values() -> None:
    heights = bar_heights(profile([0.5, 0.25, 0.0, 99.0], SITES[:4]))
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)
    assert heights[2] == 0
    assert heights[3] == heights[0]


def test_a_profile_names_its_bars_in_network_order() -> None:
    svg = profile([i / 100 for i in range(len(SITES))], SITES)
    titles = [title.text for title in parsed(svg).iter("title")]
    assert titles[0] == "text_encoder.0: 0"
    assert titles[-3:] == ["down.0.ff: 0.13", "mid.ff: 0.15", "up.1.ff: 0.14"]
    assert words(svg) == ["0.5", "0", "text", "K", "V", "out", "FF"]  # of the axis, then of the kinds
    assert parsed(svg).attrib["aria-label"].startswith(f"{MEASURE}, by site: mid.ff 0.15, up.1.ff 0.14")


def test_a_missing_value_has_no_bar() -> None:
    assert len(bar_heights(profile([0.1, NAN, 0.3], SITES[:3]))) == 2
    assert "nothing" in parsed(profile([NAN], SITES[:1])).attrib["aria-label"]


def test_unflagged_prompts_are_outlined_if_given() -> None:
    lines = [len(list(parsed(profile([0.1] * 4, SITES[:4], o)).iter("path"))) for o in (None, [0.1] * 4, [NAN] * 4)]
    assert [n - lines[0] for n in lines] == [0, 1, 0]


@pytest.mark.parametrize(("n_blocks", "n_bytes"), [(7, 6_000), (29, 20_000)])
def test_a_profile_is_small(n_blocks: int, n_bytes: int) -> None:
    sites = named_sites(n_blocks)
    values = np.random.default_rng(0).uniform(0, 0.6, len(sites))
    assert len(profile(list(values), sites, list(values / 3))) < n_bytes


def test_profiles_stay_within_their_figure() -> None:
    for n in (1, 5, 120):
        sites = named_sites(29)[:n]
        for bar in parsed(profile([0.5] * n, sites)).iter("rect"):
            assert 0 <= float(bar.attrib["x"]) <= 380 - float(bar.attrib["width"]) + 0.1
            assert float(bar.attrib["y"]) >= 0


@pytest.mark.parametrize(("values", "unflagged"), [([], None), ([0.1], [0.1, 0.2]), ([0.1, 0.2], None)])
def test_a_profile_needs_one_value_per_site(values: list[float], unflagged: list[float] | None) -> None:
    with pytest.raises(ValueError, match="a profile needs one for each"):
        profile(values, SITES[: len(values) and 1], unflagged)


@pytest.mark.parametrize("top", [0.0, -1.0, NAN, float("inf")])
def test_a_full_bar_must_be_a_positive_number(top: float) -> None:
    with pytest.raises(ValueError, match="must be a value above 0"):
        layer_profile([0.1], None, SITES[:1], measure=MEASURE, top=top)


def test_each_group_is_a_row_with_its_numbers() -> None:
    groups = [GroupRow("group-001", 1234, 40, 1, 0.0123), GroupRow("group-002", 5, 20, None, None)]
    svg = neuron_groups(groups)
    assert {"group-001", "1,234", "40", "1.23 %", "group-002", "5", "20", "–"} <= set(words(svg))
    assert painted(svg, "leak") == 1
    assert "2 groups of neurons that spike together; 1 of them for one image" in parsed(svg).attrib["aria-label"]


def test_more_groups_than_fit_are_counted() -> None:
    svg = neuron_groups([GroupRow(f"group-{i:03d}", 9, 0, 3, 0.0) for i in range(MAX_GROUPS + 5)])
    assert sum(text.startswith("group-") for text in words(svg)) == MAX_GROUPS
    assert any("5 more groups not shown" in text for text in words(svg))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_group_breaks_a_figure(text: str) -> None:
    parsed(neuron_groups([GroupRow(text, 10**9, 10**9, 10**9, 1.0)]))


def test_no_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="no group"):
        neuron_groups([])
