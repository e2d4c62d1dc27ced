"""The proof that each member gets each push once: a short run of it."""

from chaos.groups import Proof


def test_each_member_that_stays_connected_gets_each_push_once() -> None:
    proof = Proof(members=3000, workers=2, seconds=6, seed=3)
    proof.run()
    assert not proof.result.broken(), proof.result.broken()
    figures = {figure.name: figure.measured for figure in proof.result.figures}
    assert float(figures["worker killed"]) > 1
    assert float(figures["copies received"]) > 3000
