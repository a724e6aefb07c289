"""Random policies, for properties that hold for every policy."""

from hypothesis import strategies as st

from flashbulb.reports.gate.policy import Policy

SHARES = st.none() | st.floats(0, 1)
LIMITS = st.none() | st.integers(0, 10**9)
POLICIES = st.builds(
    Policy,
    **dict.fromkeys(("max_high", "max_medium", "max_low", "max_confirmed", "max_ordinary_copies"), LIMITS),
    **dict.fromkeys(("max_high_rate", "max_medium_rate", "max_low_rate", "max_flagged_rate"), SHARES),
    max_false_recovery_rate=SHARES,
    min_coverage=st.floats(0, 1, exclude_min=True),
    required_tiers=st.lists(st.sampled_from([1, 3]), max_size=2).map(tuple),
    max_extractable_share=st.none() | st.floats(0, 1, exclude_min=True),
    min_power=st.none() | st.floats(0, 1, exclude_max=True),
    max_style_shift=st.none() | st.floats(0.5, 1),
)
