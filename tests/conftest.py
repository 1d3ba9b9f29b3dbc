"""What every test starts from, whatever the shell says: no tracing, no analytics, no real model, Ctrl-C heard."""

from __future__ import annotations

import os
import signal
import sys

os.environ.update(
    LANGSMITH_TRACING="false",
    LANGGRAPH_CLI_NO_ANALYTICS="1",
    LANGGRAPH_NO_VERSION_CHECK="true",
    ANONYMIZED_TELEMETRY="false",
)
if not any(argument.startswith("--record-cassettes") for argument in sys.argv):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SIDECAR_MODEL"):
        os.environ.pop(name, None)

# A shell ignores Ctrl-C for what it runs in the background, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As a plugin they are imported after the lines above have run, which is before anything reads the environment.
pytest_plugins = ["tests.fixtures"]
