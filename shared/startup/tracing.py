"""Whether this process tells traces to anybody: if the settings say where, and OpenTelemetry is installed."""

import logging
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from shared.settings import Settings
from shared.spans import Spans

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing(Spans, Protocol):
    """Spans on their way to a collector."""

    def close(self) -> None:
        """Send what is left, for a moment at most."""


def open_tracing(
    settings: Settings, service: str, instance: str, environ: Mapping[str, str] = os.environ
) -> Tracing | None:
    """Traces of this process, which is a `service` (such as `router`); None: nobody wants them, or they cannot be."""
    if not settings.otel_endpoint and not any(environ.get(name) for name in _ENDPOINTS):
        return None
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        module = import_module("shared.startup.otel")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        logger.warning("there are no traces: %s is not installed (push-gateway[tracing])", error.name)
        return None
    tracing: Tracing = module.Tracing(service, instance, settings.otel_endpoint)
    logger.info("traces go to %s", module.where(settings.otel_endpoint))
    return tracing
