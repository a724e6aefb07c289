"""The documentation builds as a site without a warning, and the site works from disk, in the dark and on a phone."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.services.browser import Browser, needs_chromium

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="mkdocs-material is not installed; pip install -e '.[dev]'"
)
WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
FOUND = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.getAttribute('href'))"


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a source folder as `make docs` does, but elsewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", root / "docs/site/mkdocs.yml", "-d", out]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run([*map(str, command)], env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    done = build(ROOT, out)
    assert done.returncode == 0, done.stderr
    return out


def test_the_site_has_a_page_for_every_document(site: Path) -> None:
    names = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "run-directory", "notebook"}
    assert {path.stem for path in site.glob("*.html")} == {*names, "404"}


LINKS = ["[x](nowhere-1.md)", "[x](gate.md#nowhere-2)", "[x](../reports/README.md#nowhere-3)", "![x](nowhere-4.png)"]


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    """Each link is a warning of its own, and one fails the build."""
    for name in ("docs/site", "docs/notebook.ipynb", "reports/README.md", "README.md"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    (tmp_path / "README.md").write_text("# Short\n", encoding="utf-8")
    (tmp_path / "reports" / "README.md").write_text("# Run\n", encoding="utf-8")
    (tmp_path / "docs" / "gate.md").write_text("# Gate\n", encoding="utf-8")
    settings = tmp_path / "docs" / "site" / "mkdocs.yml"
    settings.write_text(settings.read_text("utf-8").partition("\nnav:")[0], encoding="utf-8")
    assert build(tmp_path, tmp_path / "site").returncode == 0
    (tmp_path / "docs" / "gate.md").write_text("\n\n".join(["# Gate", *LINKS]), encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert [sum(f"nowhere-{number}" in line for line in warnings) for number in range(1, 5)] == [1] * 4, done.stderr


@needs_chromium
def test_search_works_from_disk_and_nothing_is_loaded_from_elsewhere(site: Path, browser: Browser) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    browser.open(site / "index.html")
    browser.run("const i = document.querySelector('.md-search__input'); i.focus(); i.value = 'canaries'")
    browser.run("document.querySelector('.md-search__input').dispatchEvent(new Event('keyup', {bubbles: true}))")
    found = WebDriverWait(browser.driver, 30).until(lambda _: browser.run(FOUND))
    assert any("canaries.html" in link for link in found)
    assert all(url.startswith(site.as_uri()) or url == "about:blank" for url in browser.requests())
    assert browser.complaints() == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index", "accuracy", "getting-started", "run-directory"])
def test_no_page_is_wider_than_a_phone(site: Path, browser: Browser, page: str, scheme: str) -> None:
    browser.open(site / f"{page}.html", 390, 800, scheme)
    assert browser.run(WIDE) <= 0
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.strip("rgb()").split(", "))) < 300) == (scheme == "dark")
