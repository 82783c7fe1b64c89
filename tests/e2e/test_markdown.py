"""What a model writes, in a real browser: formulas, code, links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from conversations.lab.provider import Script, process

from .test_continue import LOOKS, put_on
from .test_story import ENDED, ask

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

LINE = (
    "result = compute_everything(first_argument, second_argument, third_argument, fourth)  # long"
)
TEXT = f"""\
The roots of $ax^2 + bx + c$ are, as [the proof](https://www.example.org/proof) says,

$$
x_{{1,2}} = \\frac{{-b \\pm \\sqrt{{b^2 - 4ac}}}}{{2a}}
  + \\begin{{pmatrix}} 1 & 0 \\\\ 0 & 1 \\end{{pmatrix}} \\sum_i \\int_0^\\infty e^{{-t^2}} dt
- 0
$$

It costs $5, not $6. With \\(\\alpha\\):

```python
{LINE}
```

| sign | value |
|---|---|
| $\\pi$ | 3.14 |
"""


@pytest.fixture(scope="module")
def provider_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    scripts = {"slow": Script(text=TEXT, size=12, rate=60)}
    with process(scripts, tmp_path_factory.mktemp("provider")) as port:
        yield port


def test_formulas_are_drawn_and_code_wraps(page: Page, shot: Callable[..., None]) -> None:
    page.goto("/")
    ask(page, "Solve it")
    page.wait_for_selector(ENDED)
    sizes = page.eval_on_selector_all(
        ".stream-body math", "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert len(sizes) == 4
    assert min(sizes) > 5
    assert page.locator(".math-box math[display=block]").count() == 1
    assert "It costs $5, not $6." in page.inner_text(".stream-body")
    assert page.inner_text(".stream-body .link-host").strip() == "example.org"
    pre = ".code-block pre"
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.eval_on_selector(pre, "pre => pre.scrollWidth > pre.clientWidth")
    page.click(".code-wrap")
    assert page.get_attribute(".code-wrap", "aria-pressed") == "true"
    assert page.eval_on_selector(pre, "pre => pre.scrollWidth <= pre.clientWidth")
    page.reload()
    page.wait_for_selector(".code-wrap[aria-pressed=true]")
    page.click(".code-wrap")
    assert page.eval_on_selector(pre, "pre => pre.scrollWidth > pre.clientWidth")
    # Nothing makes the page itself scroll sideways.
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    for look in LOOKS:
        put_on(page, look)
        shot(page, f"markdown-{look.theme}-{look.width}")


def test_the_streamed_formulas_are_those_of_a_fresh_page(page: Page) -> None:
    page.goto("/")
    ask(page, "Solve it")
    page.wait_for_selector(ENDED)
    body = "document.querySelector('.stream-body').innerText"
    streamed = page.evaluate(body)
    page.reload()
    page.wait_for_selector(".code-wrap")
    assert page.evaluate(body) == streamed
