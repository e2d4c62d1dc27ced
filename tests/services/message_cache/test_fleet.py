"""The message cache behind a real router."""

from concurrent.futures import wait

from services.library import Service
from shared.cached_messages import Copy, Read, Store, Stored, decode_results, encode_operations, topic_of
from shared.calls import Topic
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import DEADLINE_S, wait_until

TOKEN = b"alice"
TOPIC = topic_of(TOKEN, 1)
UNSERVED = Topic(200, 1)


def store(number):
    key = number.to_bytes(18, "big")
    return Store(TOKEN, key, 3, 0, 1 << 45, None, "billing", b"payload %d" % number)


def test_calls_to_a_cache_that_is_killed_are_answered_by_its_successor():
    with Fleet(workers=1, services="message-cache", service_heartbeat_ms=100, service_timeout_ms=20_000) as fleet:
        service = Service("test", fleet.settings)
        service.start()
        told = []

        def is_there():
            return service.ask(TOPIC, encode_operations([]), key="cache").code == 0

        for kill in range(5):
            wait_until(is_there, "a message cache")  # new calls are answered F0 while there is none
            for number in range(kill * 400, kill * 400 + 400, 4):
                body = encode_operations([store(number + i) for i in range(4)])
                told.append(service.ask_nowait(TOPIC, body, key="cache", timeout_s=DEADLINE_S))
            assert service.ask(UNSERVED, b"").code == 0xF0  # behind them: by now the router has them all
            wait(told[kill * 100 : kill * 100 + 10])  # some are answered, some are under way
            fleet.kill_service("message-cache")
            fleet.start_service("message-cache")
        answers = [each.result() for each in told]
        assert {answer.code for answer in answers} == {0}
        results = [result for answer in answers for result in decode_results(answer.body)]
        assert {type(result) for result in results} <= {Stored, Copy}
        numbers = [result.seq for result in results]
        assert numbers == sorted(set(numbers))
        wait_until(is_there, "a message cache")
        read = service.ask(TOPIC, encode_operations([Read(TOKEN, numbers[999], 1000, 1 << 19)]), key="cache")
        (kept,) = decode_results(read.body)
        assert [each.payload for each in kept.messages] == [b"payload %d" % number for number in range(1000, 2000)]
        service.stop(0)
