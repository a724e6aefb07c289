"""`make bench-memories`: what recovery finds of planted models, without and with training images, at stated cost.

Samples are kept in the folder of `--work`, and another rule judges them in a minute or two a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.views.markdown_parts import table as markdown_table
from tests.bench.memories.audited import Audited, Result, open_audited
from tests.bench.memories.ladder import ladder
from tests.bench.memories.probabilities import Truth, probabilities
from tests.bench.memories.table import CASES, HEADER, MORE, PLAIN, table
from tests.bench.models import ALL, folder_of
from tests.bench.truth.probabilities import best_truth


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=list(ALL))
    parser.add_argument("--deep", nargs="*", choices=tuple(ALL), default=["graded"], help="more seeds, and the ladder")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench-memories"), help="where runs and samples are kept"
    )
    parser.add_argument("--write", type=Path, help="write the page to this file")
    arguments = parser.parse_args()
    with computing():
        lines = list(_page(arguments.models, arguments.deep, arguments.work))
    print("\n".join(lines))
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _page(names: Sequence[str], deep: Sequence[str], work: Path) -> Iterator[str]:
    rows: list[list[str]] = []
    rest: list[str] = []
    for name in names:
        folder = folder_of(name)
        with open_audited(name, folder, work / name) as audited:
            cases = CASES if name in deep else (PLAIN,)
            results = [audited.sampled(case, is_given=given) for case in cases for given in (False, True)]
            rows += table(audited, results)
            if name in deep:
                rest += _more(audited, results, _truth(folder))
    yield from (*markdown_table(HEADER, rows), *rest)


def _more(audited: Audited, results: Sequence[Result], truth: Truth) -> Iterator[str]:
    yield from ("", f"{audited.name}: probabilities", "", *probabilities(audited, results, truth))
    few, more = (next(r for r in results if r.case == case and r.is_given) for case in (PLAIN, MORE))
    yield from ("", f"{audited.name}: silent prompts", "", *ladder(audited, few, more, truth))


def _truth(folder: Path) -> Truth:
    columns = best_truth(folder)[["prompt", "n_replicating", "n_seeds"]].to_numpy().tolist()
    return {prompt: (int(hits), int(seeds)) for prompt, hits, seeds in columns}


if __name__ == "__main__":
    main()
