"""What canaries showed in an example audit."""

from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.tables.canaries import CanaryRecord

CANARIES = CanaryRecord(
    manifest="manifest.json",
    sha256="0" * 64,
    data="captions.csv",
    n_canaries=60,
    n_in=30,
    delta=1e-5,
    confidence=0.95,
    trained_tier="16x",
    trained_p_value=0.001,
    refused=None,
    sensitivity=rate_of(28, 30),
    false_detected=rate_of(1, 90),
    privacy=None,
    tiers=(),
)
