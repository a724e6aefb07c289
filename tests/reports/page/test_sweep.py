"""The page of a sweep is valid, escapes every name, links to the reports, and loads nothing."""

import pytest

from flashbulb.reports.page.sweep import sweep_html
from flashbulb.reports.tables.sweep import Sweep
from flashbulb.reports.views.sweep import sweep_lines, sweep_markdown
from tests.reports.parsed_pages import HTML, parsed
from tests.reports.sweeps import ONSET, sweep_of, sweep_row

HOSTILE = sweep_of([sweep_row(1, gate="fail", name="<script>x</script>\"' {{ 7*7 }} \u202e | `a` #?%")])
SWEEPS = (ONSET, sweep_of(ONSET.rows[:2]), sweep_of([sweep_row(1, gate="untrusted", excess=None)], "place"), HOSTILE)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_page_is_valid_and_loads_nothing(sweep: Sweep) -> None:
    tree = parsed(sweep_html(sweep))
    assert not list(tree.iter(f"{HTML}script"))
    assert not list(tree.iter(f"{HTML}img"))
    links = [element.get("href") for element in tree.iter(f"{HTML}a")]
    assert all(link.startswith("#") or link.endswith("/report.html") for link in links)
    assert sum(link.endswith("/report.html") for link in links) == len(sweep.rows)


def test_a_link_with_special_letters_leads_to_its_folder() -> None:
    assert 'href="%3Cscript%3Ex%3C/script%3E%22%27%20%7B%7B%207%2A7%20%7D%7D' in sweep_html(HOSTILE)


def test_page_summary_and_terminal_name_the_first_failing_checkpoint() -> None:
    sentence = "he first checkpoint that fails the gate is checkpoint-100, 3 of 4"
    for text in (sweep_html(ONSET), sweep_markdown(ONSET), [*sweep_lines(ONSET)][-1]):
        assert sentence in text
    assert "Reason of 100." in sweep_html(ONSET)
    assert "Reason of 100." in sweep_markdown(ONSET)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_checkpoint_has_a_row_in_markdown_and_on_the_terminal(sweep: Sweep) -> None:
    lines = [*sweep_lines(sweep)]
    assert len(lines) == len(sweep.rows) + 3
    assert len({line.rindex(" ") for line in lines[1:-2]}) == 1  # the columns are aligned
    assert sum(line.startswith("| `") and "**" in line for line in sweep_markdown(sweep).splitlines()) == len(
        sweep.rows
    )
