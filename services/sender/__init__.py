"""The sender library: pushes to tokens, with an outcome for every one (docs/sender-protocol.md).

    with Sender("tcp://127.0.0.1:6700") as sender:
        outcome = sender.push("alice", "hello")

`Sender` is for threads; `services.sender.gevent.Sender` is the same for greenlets.
"""

from services.sender.connections import CurveKeys
from services.sender.policies import Policy
from services.sender.statistics import Statistics
from services.sender.threads import Sender
from services.sender.tickets import Push, Question
from shared.errors import SenderError
from shared.outcomes import Outcome

__all__ = ["CurveKeys", "Outcome", "Policy", "Push", "Question", "Sender", "SenderError", "Statistics"]
