"""services/fleet/announcements.py."""

from services.fleet.announcements import announcement
from shared.settings import Settings


def test_defaults_need_no_variables() -> None:
    lines = announcement(Settings(services=""), ".venv/bin/").splitlines()
    assert lines[0] == "ready: router, 2 workers, status service"
    assert "  .venv/bin/pushctl listen alice" in lines
    assert "  .venv/bin/pushctl push alice hello" in lines
    assert "  curl http://127.0.0.1:8080/stats" in lines


def test_other_ports_are_said() -> None:
    text = announcement(Settings(services="", workers=1, client_port=1, sender_port=2, api_port=3))
    assert text.startswith("ready: router, 1 worker, status service\n")
    assert "  PUSH_CLIENT_PORT=1 PUSH_SENDER_PORT=2 pushctl push alice hello\n" in text
    assert "tcp://127.0.0.1:2" in text


def test_several_routers_are_listed() -> None:
    text = announcement(Settings(services="", routers=2))
    assert text.startswith("ready: 2 routers, 2 workers, status service\n")
    assert "  senders  tcp://127.0.0.1:6700, tcp://127.0.0.1:6701 (ZeroMQ; list all of them" in text
    assert "  PUSH_ROUTERS=2 pushctl push alice hello\n" in text


def test_host_without_routers() -> None:
    text = announcement(Settings(services="", routers=0))
    assert text.startswith("ready: 2 workers, status service\n")
    assert "  senders  no router on this host\n" in text


def test_services_are_named() -> None:
    text = announcement(Settings(services="subscribe"))
    assert text.startswith("ready: router, 2 workers, subscribe service, status service\n")


def test_address_that_is_all_addresses() -> None:
    text = announcement(Settings(host="::"))
    assert "curl http://[::1]:8080/stats" in text
    assert "PUSH_HOST=:: pushctl listen alice" in text
