"""A client's login over HTTP. The cryptography is openssl's."""

import http.client
import json
from base64 import b64decode, b64encode
from typing import Any

from tests.clients.conversations import Conversation
from tests.clients.packets import CONNECT, CONNECT_ACK, Packet
from tests.fleet.fleet_process import Fleet
from tests.services.login.openssl import openssl_aes

CLIENT_KEY = bytes.fromhex("001122334455667778797a7b7c7d7e7f")


def post(fleet: Fleet, path: str, fields: object) -> tuple[int, dict[str, Any]]:
    """(status, the answer's JSON)."""
    connection = http.client.HTTPConnection(fleet.host, fleet.api_port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert (answer.status == 503) == (answer.getheader("Retry-After") == "1")
        return answer.status, said
    finally:
        connection.close()


class Login:
    """What a client knows after its login."""

    def __init__(self, fleet: Fleet, client: str, mobile: int, code: int) -> None:
        status, said = post(fleet, "/login", {"mobile": mobile, "code": code, "clientId": client})
        assert (status, said["code"], said["message"]) == (200, 0, "success"), said
        result = said["result"]
        self.client, self.uid, self.credential = client, result["userId"], result.get("credential")
        opened = openssl_aes(b64decode(result["token"]), CLIENT_KEY, decrypt=True)
        self.usertoken, secret, _ = opened[4:].decode().split("|")
        self.key = secret[:16].encode()
        self.password = b64encode(openssl_aes(b"\0\0\0\0" + b64decode(self.usertoken), self.key)).decode()

    @property
    def fields(self) -> dict[str, str]:
        """Body of CONNECT."""
        return {"userName": self.uid, "password": self.password, "clientIdentifier": self.client}


def log_in(client: Conversation, fields: dict[str, str]) -> Packet:
    """CONNECT; its answer."""
    client.send(CONNECT, fields, message_id=3)
    answer = client.read()
    assert (answer.signal, answer.message_id) == (CONNECT_ACK, 3)
    return answer
