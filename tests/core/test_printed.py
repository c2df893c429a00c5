"""What a notebook shows of results that are text: what `print` shows, in lines that are not broken."""

from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import few_ops

import tensorgrad as tg
from tensorgrad import audit
from tensorgrad.audit import sweep

formatters = pytest.importorskip("IPython.core.formatters", reason="IPython, which shows, is not installed")


class Escaped(tg.Layer):
    """A layer whose description is no HTML."""

    def __init__(self, text):
        self.text, self.inner = text, tg.ReLU()

    def children(self):
        yield self.text, self.inner

    def forward(self, x):
        return self.inner(x)


class Page(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(sweep, "OPS", few_ops())
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.random(3), requires_grad=True, name="x<b>&amp;")
    network = tg.Network([tg.Dense(3, 8, rng=0), Escaped("</pre><script>&lt;")])
    rows = audit.run(orders=1, dtypes=["float64"])
    return {
        "network": network,
        "summary": network.summary(3),
        "to_numpy": tg.to_numpy(tg.sum(x * x)),
        "audit": rows,
        "table": audit.table(rows),
        "gradcheck": tg.gradcheck(np.sin, np.ones(2)),
    }


def test_a_notebook_shows_it_as_it_is_printed(shown):
    for name, thing in shown.items():
        bundle, _ = formatters.DisplayFormatter().format(thing)
        assert bundle["text/plain"] == str(thing), name
        page = Page(bundle["text/html"])
        assert page.tags == ["pre"], name
        assert page.text == str(thing), name
    assert "</pre><script>&lt;" in str(shown["summary"])


def test_a_summary_is_a_string_and_an_audit_a_list(shown):
    assert isinstance(shown["summary"], str)
    assert repr(shown["summary"]) == "".join(shown["summary"])
    assert isinstance(shown["audit"], list)
    assert str(shown["audit"]) == audit.table(list(shown["audit"]))
