"""The frame of all pages and how templates are filled in."""

import pytest
from jinja2 import UndefinedError

from bundle.pages import render


def test_a_template_stands_in_the_common_frame(tmp_path):
    """Every value is text, in the title too; the common style sheet and the page's own come along."""
    style = "{% block style %}.own {}{% endblock %}"
    body = "{% block body %}<p>{{ word }}, {{ share|percent }}</p>{% endblock %}"
    (tmp_path / "page.html").write_text('{% extends "frame.html" %}' + style + body)
    page = render(tmp_path, "page.html", title="a < b", word="<script>", share=0.004)
    assert page.startswith("<!DOCTYPE html>") and "<title>a &lt; b</title>" in page
    assert "<p>&lt;script&gt;, below 1 %</p>" in page
    assert page.index(":root {") < page.index(".own {}") < page.index("</style>")


def test_a_value_that_a_template_misses_is_an_error(tmp_path):
    """No hole in a page."""
    (tmp_path / "page.html").write_text("{{ word }}")
    with pytest.raises(UndefinedError, match="word"):
        render(tmp_path, "page.html")
