"""Events: who came and went, what was acknowledged, what reached nobody; delivered whole by webhook and to Kafka."""
