"""The README beside planted canaries: how to train with them, how to audit, and what to do afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from flashbulb.audit.canaries.plan import Tier
from flashbulb.reports.bounds.epsilon import EpsilonBound

_TEXT = """# Canaries

`flashbulb plant` wrote this folder on {date}. It holds {n} canaries, pairs of a caption and an image in the style of
your data set, and as many twins. A fair coin decided for each canary whether it is in the training set. No twin is.

| tier | canaries | copies of each that is in | ceiling of the bound on ε |
|---|---|---|---|
{tiers}
| all | {n} | | {ceiling:.2f} |

The ceiling is what the audit states if every guess of a coin flip is right, with {confidence:.0%} confidence and at
δ = {delta:g}. More canaries raise it.

## Train

{train}

Train as you always do. Do not read `manifest.json` and do not train on `canaries/`: the folder holds the images of all
canaries and twins, and the manifest says which are in. Keep both, unchanged, beside each other.

## Audit

```sh
flashbulb audit --model path/to/your/model --prompts your-captions --canaries manifest.json
```

Give the captions of your own data set as prompts. Canaries among them are set apart and are no findings. The audit
states for each tier how many canaries it detected and recovered, their exposure, and the bound on ε. It refuses the
statement if the model shows no sign of having been trained on the canaries.

## Afterwards

The model was trained on the canaries and may draw their images. Choose one:

- **Retrain without them.** Remove the canaries and train again with the same settings. The statement then holds for the
  procedure of training, not for those weights: say so where you cite it.
- **Accept them.** Keep the model, if images of canaries may come out of it. The statement then holds for these very
  weights.

Keep this folder as long as the statement is cited, so that it can be checked.
"""

_ONLY_CANARIES = """`train/` holds {n_rows} rows: the canaries that are in, each as often as its tier says. Add them to
your own training set, and shuffle."""
_WITH_DATA = """`train/` holds {n_rows} rows: your own pairs, and among them the canaries that are in, each as often as
its tier says. Train on it in place of your own set."""


def instructions(
    tiers: Sequence[Tier],
    bounds: Sequence[EpsilonBound],
    overall: EpsilonBound,
    *,
    n_rows: int,
    with_data: bool,
    date: str,
    delta: float,
    confidence: float,
) -> str:
    """Return the README.

    Args:
        bounds: of each tier, if every guess is right; `overall` is that of all canaries.
        n_rows: rows of the training set.
    """
    rows = [
        f"| {tier.name} | {tier.n} | {_copies(tier)} | {bound.ceiling:.2f} |"
        for tier, bound in zip(tiers, bounds, strict=True)
    ]
    return _TEXT.format(
        date=date,
        n=sum(tier.n for tier in tiers),
        tiers="\n".join(rows),
        ceiling=overall.ceiling,
        confidence=confidence,
        delta=delta,
        train=(_WITH_DATA if with_data else _ONLY_CANARIES).format(n_rows=n_rows),
    )


def _copies(tier: Tier) -> str:
    return "1, four share a part of their captions" if tier.is_shared else str(tier.repeats)
