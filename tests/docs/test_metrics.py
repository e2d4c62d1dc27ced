"""docs/metrics.md has every metric that there is."""

from tests.docs.metrics_tables import DOCUMENT, with_table

TEXT = DOCUMENT.read_text()


def test_metrics_are_those_of_the_code() -> None:
    assert with_table(TEXT) == TEXT, "run: make docs"
    assert "`push_gateway_connections_closed_total` | counter | worker, reason |" in TEXT
