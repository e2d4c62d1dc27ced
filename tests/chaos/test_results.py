"""What a result says as text and as JSON."""

from pathlib import Path

from chaos.ledgers import Finding
from chaos.results import Result, lay_out, save
from chaos.roles import Role


def example() -> Result:
    result = Result("kills", "What was done.", {Role.BUSY: Finding(clients=2, lost=1, slowest_ticket_ms=3.5)})
    result.state("median, s", 0.25)
    result.at_most("lost", 1, 0)
    result.at_most("idle clients disconnected", 3, 24)
    return result


def test_promises() -> None:
    assert [(figure.name, figure.kept) for figure in example().figures] == [
        ("median, s", None),
        ("lost", False),
        ("idle clients disconnected", True),
    ]
    assert [figure.name for figure in example().broken()] == ["lost"]


def test_text() -> None:
    lines = lay_out(example()).splitlines()
    assert any(line.startswith("| lost ") and line.endswith(" BROKEN |") for line in lines)
    assert any("at most 24" in line and line.endswith(" kept   |") for line in lines)


def test_json_and_back() -> None:
    assert Result.from_json(example().as_json()) == example()


def test_saved(tmp_path: Path) -> None:
    as_json, as_text = save(tmp_path, "day", {"cores": "2"}, [example()])
    assert '"kept": false' in as_json.read_text()
    assert "* cores: 2" in as_text.read_text()
