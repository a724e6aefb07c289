"""The rows and images of an ablation."""

from pathlib import Path
from typing import Any

from PIL import Image

HOSTILE = "[red]x[/red] \x1b[31m\r\n\u202e`|` <b> ![x](http://evil) $x^2$"


def rows(prompt_id: str = "p1", prompt: str = "a red fox", **changes: Any) -> list[dict[str, Any]]:
    """Rows of one prompt: three seeds whose images agree before the ablation and differ after it."""
    return [
        {
            "prompt_id": prompt_id,
            "prompt": prompt,
            "image_index": index,
            "tile_distance": 0.1 * (index + 1),
            "seed_diversity_before": 0.02,
            "seed_diversity_after": 0.4,
            "seed_agreement_before": 1.0,
            "seed_agreement_after": 1 / 3,
            "response_norm_before": 8.0 + index,
            "response_norm_after": 2.0 + index,
            "before_path": f"images/{prompt_id}/before/seed-{index}.png",
            "after_path": f"images/{prompt_id}/after/seed-{index}.png",
            "panel_path": f"panels/{prompt_id}.png",
            **changes,
        }
        for index in range(3)
    ]


def with_images(directory: Path, table_rows: list[dict[str, Any]], size: tuple[int, int] = (64, 48)) -> Path:
    """Save the images and panels that `table_rows` name, each kind in a colour of its own."""
    for row in table_rows:
        for column, color in (("before_path", "teal"), ("after_path", "orange"), ("panel_path", "white")):
            path = directory / row[column]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, color).save(path)
    return directory
