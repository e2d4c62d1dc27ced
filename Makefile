# make run     the fleet in the foreground          make test    all tests
# make lint    ruff and mypy                        make bench   budgets beside measured figures
# make clean   .venv and everything made by tools   make lock    constraints.txt anew
# make bench-bulk   a bulk push of 1,000,000 lines over HTTP, and the memory of the API
# make docs    the tables in docs/ anew             make conformance, make loadtest: the long runs
# make fuzz-api   Schemathesis on the HTTP API for ten minutes; in make test it has 20 s
# make protobufs   shared/protobufs/descriptors.binpb anew, and the chat example's
# make chaos   real fleets broken under load; one thing only: make chaos SCENARIO=kills
# make chaos-100k   the same with 100,000 clients; make chaos-stored, make chaos-acked: nothing stored or acknowledged is lost
# make chaos-groups   each member of a group gets each push once, whichever workers die
# make chaos-events  clients come and go while all is killed: every one of them has its two events, at a webhook that fails too
# make chaos-kafka   the same for records of Kafka, with a real broker: needs Java and Maven
# make simulate   a thousand simulated fleets; others: make simulate SEEDS=1001..5000

JOBS   ?= 2
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The build backend comes from constraints.txt too, so nothing is fetched for the build alone.
INSTALL = $(PIP) install --constraint constraints.txt --no-build-isolation --editable
BUILT_FROM = pyproject.toml setup.py gateway/_sends.c constraints.txt

.PHONY: run test lint bench bench-bulk chaos chaos-100k chaos-stored chaos-acked chaos-groups chaos-kafka chaos-events simulate fuzz-api conformance loadtest docs protobufs clean lock

run: $(VENV)/installed
	@$(BIN)/push-services fleet

# Most tests wait for processes: two at a time take half as long. A file's tests stay together, in order.
test: $(VENV)/installed-test
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: $(VENV)/installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file sdk/python/pyproject.toml

bench: $(VENV)/installed-test
	@$(BIN)/python -m benchmarks

bench-bulk: $(VENV)/installed-test
	@$(BIN)/python -m benchmarks.http_pushes --bulk 1000000

chaos: $(VENV)/installed-test
	@$(BIN)/python -m chaos $(SCENARIO) $(ARGUMENTS)

chaos-100k: $(VENV)/installed-test
	@$(BIN)/python -m chaos hundred-thousand $(ARGUMENTS)

chaos-stored: $(VENV)/installed-test
	@$(BIN)/python -m chaos.stored --storage sqlite $(ARGUMENTS)
	@$(BIN)/python -m chaos.stored --storage redis $(ARGUMENTS)

chaos-acked: $(VENV)/installed-test
	@$(BIN)/python -m chaos.acked --storage sqlite $(ARGUMENTS)
	@$(BIN)/python -m chaos.acked --storage redis $(ARGUMENTS)

chaos-groups: $(VENV)/installed-test
	@$(BIN)/python -m chaos.groups $(ARGUMENTS)

chaos-kafka: $(VENV)/installed-test
	@$(BIN)/python -m chaos.kafka $(ARGUMENTS)

chaos-events: $(VENV)/installed-test
	@$(BIN)/python -m chaos.events $(ARGUMENTS)

simulate: $(VENV)/installed-test
	@$(BIN)/python -m simulator --seeds $(or $(SEEDS),1..1000) --jobs 2 $(ARGUMENTS)

fuzz-api: $(VENV)/installed-test
	@SCHEMATHESIS_S=600 $(BIN)/python -m pytest tests/fleet/test_http_api.py -k schemathesis

conformance: $(VENV)/installed-test
	@CONFORMANCE_FULL=1 $(BIN)/python -m pytest tests/conformance

loadtest: $(VENV)/installed-load
	@$(BIN)/python -m loadtest

docs: $(VENV)/installed-test
	@$(BIN)/python -m tests.docs.settings_tables
	@$(BIN)/python -m tests.docs.metrics_tables

protobufs: $(VENV)/installed-test
	@$(BIN)/python -m grpc_tools.protoc -I shared/protobufs --include_imports \
		--descriptor_set_out=shared/protobufs/descriptors.binpb shared/protobufs/*.proto
	@$(BIN)/python -m grpc_tools.protoc -I examples/chat/protobufs --include_imports \
		--descriptor_set_out=examples/chat/protobufs/chat.binpb examples/chat/protobufs/*.proto

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f gateway/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Newest versions that pyproject.toml allows, tried in a virtualenv of their own.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[test,load]'
	build/lock/bin/python -m pip --disable-pip-version-check freeze --all --exclude pip --exclude push-gateway \
		> build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready-to-build: $(BIN)/python constraints.txt
	$(PIP) install --constraint constraints.txt setuptools
	@touch $@

$(VENV)/installed: $(BUILT_FROM) | $(VENV)/ready-to-build
	$(INSTALL) .
	@touch $@

$(VENV)/installed-test: $(BUILT_FROM) | $(VENV)/ready-to-build
	$(INSTALL) '.[test]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-load: $(BUILT_FROM) | $(VENV)/ready-to-build
	$(INSTALL) '.[load]'
	@touch $@ $(VENV)/installed
