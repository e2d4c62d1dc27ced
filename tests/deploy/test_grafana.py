"""deploy/grafana: a dashboard that Grafana takes, of metrics and labels that there are."""

import json
import re
from typing import Any

import pytest
from prometheus_client.core import Metric

from services.metrics.families import families
from tests.docs.documents import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana/push-gateway.json").read_text())
PANELS = DASHBOARD["panels"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
#: Families of the API process, whose labels services/metrics/http.py gives.
OF_THE_API = {
    "push_gateway_api_requests": {"status"},
    "push_gateway_api_turned_away": {"bound"},
    "push_gateway_api_push_seconds": {"le"},
}


def _labels() -> dict[str, set[str]]:
    """Labels by family; a histogram's buckets have `le` too."""

    def of(family: Metric) -> set[str]:
        found = set(family._labelnames)  # type: ignore[attr-defined]
        return found | {"le"} if family.type == "histogram" else found

    return {family.name: of(family) for family in families({})} | OF_THE_API


LABELS = _labels()


def _family(sample: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", sample) if sample not in LABELS else sample


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS) > 30
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    cells: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"], panel["title"]
        taken = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not taken & cells, panel["title"]
        cells |= taken


def test_every_query_asks_the_source_that_is_chosen() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["uid"]
    for panel, target in TARGETS:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"] == target["datasource"] == source, panel["title"]
        refs = [each["refId"] for each in panel["targets"]]
        assert len(set(refs)) == len(refs)
        assert panel["fieldConfig"]["defaults"]["unit"] in ("s", "short", "bytes", "percentunit")


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=[f"{p['id']}{t['refId']}" for p, t in TARGETS])
def test_metrics_and_labels_of_a_query_are_there(panel: dict[str, Any], target: dict[str, Any]) -> None:
    expression, legend = target["expr"], target.get("legendFormat", "")
    named = re.findall(r"push_gateway_\w+", expression)
    assert named
    for sample in named:
        labels = LABELS[_family(sample)]
        by = {name.strip() for inner in re.findall(r"by \(([^)]*)\)", expression) for name in inner.split(",")}
        assert by | set(re.findall(r"\{(\w+)=", expression)) <= labels, panel["title"]
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert shown <= (by or labels), panel["title"]
        is_counter = sample.endswith(("_total", "_bucket"))
        assert is_counter == bool(re.search(r"(rate|increase)\(" + sample, expression)), panel["title"]
    if "histogram_quantile" in expression:
        assert "le" in by
