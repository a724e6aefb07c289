"""Every strategy is found under the name of its file, states what it depends on, and is listed without torch."""

import subprocess
import sys

from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.recover import build_strategies
from tests.libraries import HEAVY
from tests.paths import ROOT

LADDER = ["sample", "few_steps", "ascend", "ascend_shortened", "cyclic", "extrapolate", "known_image"]
LISTED = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
from flashbulb.audit.settings import AuditSettings
print(*AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="o").strategies)
"""


def test_strategies_are_found_in_the_order_of_the_ladder_under_the_names_of_their_files():
    found = find_strategies()
    assert list(found) == LADDER
    assert [strategy.__module__.rpartition(".")[2] for strategy in found.values()] == LADDER
    assert len({strategy.place for strategy in found.values()}) == len(found)


def test_only_the_first_takes_plain_samples_as_they_are():
    assert [strategy.is_plain for strategy in find_strategies().values()] == [True, *[False] * 6]


def test_attempts_depend_on_settings_that_exist():
    for strategy in find_strategies().values():
        assert strategy.identity <= AuditSettings.model_fields.keys()


def test_listing_strategies_imports_no_model_library():
    blocked = [*HEAVY, "numpy", "PIL"]
    done = subprocess.run([sys.executable, "-c", LISTED, *blocked], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["sample", "ascend", "cyclic"], "")


def test_every_strategy_states_its_cost_before_neurons_are_scored(scored):
    settings = AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="o")
    for strategy in build_strategies([*find_strategies().values()], settings, scored.denoiser, None):
        assert strategy.worst_cost > 0
        assert strategy.kept_images > 0
        assert strategy.settings_of(0)
