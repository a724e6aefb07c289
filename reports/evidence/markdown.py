"""The annex in Markdown."""

from flashbulb.reports.evidence.document import Annex, Block, Cell, Points, Quoted, Said, Table
from flashbulb.reports.views.markdown_parts import page, sentence, table
from flashbulb.reports.views.text import markdown_code

_LONGEST = 2000  # characters of a quotation


def annex_markdown(annex: Annex) -> str:
    """Render the annex. Text that is not ours stands in code spans."""
    stated = [f"**{sentence}**  " for sentence in annex.statement]
    head = [f"# Evidence of a memorization audit: {_cell(Quoted(annex.model))}", "", *stated, ""]
    marks = table(("", ""), [(name, _cell(value)) for name, value in annex.marks])
    sections = (
        [f"## {number}. {section.title}", "", *_lines(section.blocks)]
        for number, section in enumerate(annex.sections, start=1)
    )
    return page([*head, *marks], *sections)


def _lines(blocks: tuple[Block, ...]) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Table):
            header = block.header or ("",) * len(block.rows[0])
            lines += table(header, [[_cell(cell) for cell in row] for row in block.rows])
        elif isinstance(block, Points):
            lines += [f"- {_cell(item)}" for item in block.items]
        else:
            lines.append(_cell(block))
        lines.append("")
    return lines[:-1]


def _cell(cell: Cell) -> str:
    if isinstance(cell, Said):
        return sentence(cell.text)
    return markdown_code(cell.text, _LONGEST) if isinstance(cell, Quoted) else cell
