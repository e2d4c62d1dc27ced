"""Records of Kafka topics become pushes; offsets are committed after their outcomes (docs/kafka.md)."""
