"""The proof that nothing acknowledged or stored is lost: a short run of it."""

import pytest

from chaos.acked import Proof


@pytest.mark.parametrize("storage", ["sqlite", "redis"])
def test_nothing_acknowledged_or_stored_is_lost(storage: str) -> None:
    proof = Proof(clients=150, rate=150, seed=5, seconds=7, storage=storage)
    found = proof.run()
    assert not proof.result.broken(), found.examples
    assert {"ACKED", "STORED", "SENT"} <= set(found.outcomes)
    assert any(figure.name.startswith("killed") for figure in proof.result.figures)
