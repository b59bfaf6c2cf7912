"""The documentation says what is so: each scheme's page, its figures and its picture, and links that lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from qinspect.quant.scheme import registry
from qinspect.scheme_flags import scheme_of_text

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = re.compile(r"^\| `([\w,=]+)` \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(1).standard_normal((128, 4096)).astype(np.float32)


@pytest.mark.parametrize("name", registry.names())
def test_every_scheme_has_a_page_whose_figures_hold(name, gaussian):
    page = (DOCS / "schemes" / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [
        "Formula", "Layout and bits per weight", "Faults", "When to use it"
    ]  # fmt: skip
    assert f"(../images/schemes/{name}.png)" in page
    stated = FIGURES.findall(page)
    assert stated[0][0].split(",")[0] == name
    for text, bpw, sqnr_db in stated:
        scheme = scheme_of_text(text)
        assert f"{scheme.bpw((512, 4096)):.3f}" == bpw
        # One scale for all depends on the largest weight, which differs from draw to draw.
        near = 0.06 if scheme.layout(gaussian.shape).local or "learned" in text or "ternary" in text else 0.6
        assert scheme.measure(gaussian).sqnr_db == pytest.approx(float(sqnr_db), abs=near)


def test_the_index_lists_every_scheme():
    index = (DOCS / "schemes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[`(\w+)`\]\(schemes/\1\.md\)", index, re.MULTILINE)
    assert sorted(listed) == sorted(registry.names())


PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_and_pictures_are_there(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor}"
