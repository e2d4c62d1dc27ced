"""python -m simulator."""

import json

from click.testing import CliRunner

from simulator.__main__ import main


def test_summary() -> None:
    done = CliRunner().invoke(main, ["--seeds", "1..3"])
    assert done.exit_code == 0
    assert "3 seeds, " in done.output
    assert "violations: 0" in done.output


def test_json() -> None:
    done = CliRunner().invoke(main, ["--seeds", "1..2", "--json"])
    figures = json.loads(done.output)
    assert figures["seeds"] == 2
    assert figures["violations"] == []
    assert figures["counts"]["pushes"] > 100


def test_a_seed_that_fails_is_shown_with_its_last_events() -> None:
    done = CliRunner().invoke(main, ["--seeds", "1", "--bug", "binding-reversed"])
    assert done.exit_code == 1
    assert "seed 1 (" in done.output
    assert "breaks 'connections stay' at " in done.output
    assert "there is no newer one" in done.output
    assert "python -m simulator --seeds 1 --bug binding-reversed --trace" in done.output


def test_several_processes() -> None:
    done = CliRunner().invoke(main, ["--seeds", "1..8", "--jobs", "2", "--json"])
    assert json.loads(done.output)["seeds"] == 8


def test_what_is_no_seed() -> None:
    assert CliRunner().invoke(main, ["--seeds", "x"]).exit_code == 2
