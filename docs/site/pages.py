"""Put into the site what lies outside of docs/ or is no Markdown: the README, the run directory, the notebook."""

import json
import posixpath
import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {"index.md": "README.md", "run-directory.md": "reports/README.md", "notebook.md": "docs/notebook.ipynb"}
"""Pages of the site by their name, and where in the repository they come from; all others come from docs/."""
_NAMES = {source: name for name, source in SOURCES.items()}
_LINK = re.compile(r"(\]\()([^()#\s:]+)((?:#[^()\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere."""
    for name, source in SOURCES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = notebook_page(json.loads(text)) if source.endswith(".ipynb") else text
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links at the pages of the site."""
    folder = posixpath.dirname(SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[2]))
        return found[1] + _NAMES.get(target, target.removeprefix("docs/")) + found[3]

    return _LINK.sub(link, markdown)


def notebook_page(notebook: dict[str, Any]) -> str:
    """Write a notebook as Markdown: its texts, its code, and what each cell shows."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_shown(output) for output in cell.get("outputs", ()) if output.get("name") != "stderr"]
    return "\n\n".join(parts)


def _shown(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return "<div>" + re.sub(r"\n\s*", " ", "".join(data["text/html"])) + "</div>"
    text = "".join(data.get("text/plain", output.get("text", "")))
    return f"<pre><code>{escape(text)}</code></pre>"
