# Every target makes what it needs in .venv: with uv if it is there, else with venv and pip.
PYTHON ?= python3
BIN := .venv/bin
TESTS := tests
COVERED := stream encode step transcript history rules schema
BENCH := ../shared/bench
BENCH_HOME ?= $(HOME)/.cache/agentkit-bench
QUESTION ?= How do I parse command line arguments in Python? And what is (17 + 3) * 2?

comma := ,
empty :=
space := $(empty) $(empty)
covered_files := $(subst $(space),$(comma),$(COVERED:%=agentkit/%.py) $(COVERED:%=agentkit/%/*))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYTHONUNBUFFERED := 1
unexport VIRTUAL_ENV
# What Python compiles is kept: else each process of the tests compiles agentkit anew.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help demo test ci long chaos fleet peers check simulate mutants instructions bench clean
.DEFAULT_GOAL := help

help: ## List the commands.
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

demo: .venv/.demo-stamp ## Ask an agent a question: offline, with the emulator; LIVE=1 uses your key.
	@echo "demo: agentkit run $(if $(LIVE),,--emulator )\"$(QUESTION)\""
	@$(BIN)/agentkit run $(if $(LIVE),,--emulator )"$(QUESTION)"

test: .venv/.test-stamp ## Run the tests that take seconds.
	@echo "test: pytest, without the slow tests"
	@$(BIN)/python -m pytest -n 2 -m "not slow" -rfEs $(TESTS)

ci: .venv/.mutants-stamp ## Run every test, and measure the coverage.
	@echo "ci: pytest, every test; 100 % branch coverage of $(COVERED)"
	@$(BIN)/python -m coverage erase
	@HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} $(BIN)/python -m coverage run -m pytest -n 2 -rfEs --durations=25 $(TESTS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --skip-covered
	@$(BIN)/python -m coverage report --include='$(covered_files)' --fail-under=100 --show-missing

long: ## As ci, with ten times the examples, drawn anew.
	@HYPOTHESIS_PROFILE=long $(MAKE) --no-print-directory ci

peers: .venv/.test-stamp ## Try the emulator with SDKs and frameworks of others, in environments of their own.
	@echo "peers: pytest, the tests that need packages of others"
	@$(BIN)/python -m pytest -rfEs -m peers $(TESTS)/peers

chaos: .venv/.test-stamp ## Kill, race, stop and cancel runs for real, N=5 times at each point, and print the table.
	@echo "chaos: SIGKILL at each boundary, $(or $(N),5) times; resumers at once; SIGSTOP; cancels (some minutes)"
	@$(BIN)/python $(TESTS)/chaos/chaos_table.py $(or $(N),5)

fleet: .venv/.test-stamp ## Kill and stop workers of a queue for real, with 50 runs under way, N=20 times, and print the table.
	@echo "fleet: two workers, SIGKILL, SIGSTOP, SIGTERM, PostgreSQL restarted; $(or $(N),20) times (half an hour for 20)"
	@$(BIN)/python $(TESTS)/fleet/fleet_table.py $(or $(N),20)

check: .venv/.test-stamp ## Check format, lint, types, import contracts, limits and the wheel.
	@echo "check: format, lint, types, import contracts, limits, the wheel"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest $(TESTS)/test_architecture.py

simulate: .venv/.test-stamp ## Run durable runs under drawn faults: N=200 schedules from SEED=0 on; BUGS=1: which planted bugs they find.
	@echo "simulate: $(or $(N),200) schedules from seed $(or $(SEED),0) on"
	@$(BIN)/python tests/simulation/simulate.py $(or $(SEED),0) $(or $(N),200) $(or $(BUGS),0)

mutants: .venv/.mutants-stamp ## Change the core in every small way, and see which change no test notices; MODULES="step jobs": those alone.
	@echo "mutants: of $(or $(MODULES),the core); some minutes a module"
	@$(BIN)/python $(TESTS)/mutants/mutants.py $(MODULES)

instructions: .venv/.test-stamp ## Count what an event and a turn cost above bare httpx, where valgrind is there.
	@echo "instructions: of an event and of a turn, agentkit against bare httpx (some minutes)"
	@$(BIN)/python benchmarks/instructions.py

bench: instructions ## As instructions, and measure against other runtimes, where ../shared/bench is there.
	@if [ ! -f $(BENCH)/bench.py ]; then echo "bench: skipped, $(BENCH) is not there"; exit 0; fi; \
	  echo "bench: $(BENCH) --repeat 3, environments in $(BENCH_HOME)"; \
	  BENCH_HOME="$(BENCH_HOME)" $(BENCH)/setup.sh && \
	  BENCH_HOME="$(BENCH_HOME)" "$(BENCH_HOME)/bench/bin/python" $(BENCH)/bench.py --repeat 3 \
	    --out "$(BENCH_HOME)/results.jsonl" $(BENCH_ARGS)

clean: ## Remove .venv, caches and what was built.
	@echo "clean: .venv, caches, build, dist"
	@rm -rf .venv build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.demo-stamp: pyproject.toml
	@$(call make_venv)
	@$(call install,cli$(comma)emulator$(comma)tools)
	@touch $@

.venv/.test-stamp: pyproject.toml
	@$(call make_venv)
	@$(call install,dev)
	@touch .venv/.demo-stamp $@

.venv/.mutants-stamp: .venv/.test-stamp
	@$(call install,mutants)
	@touch $@

# Debian's python3 comes without ensurepip: then the environment gets no pip, and the one beside python3 fills it.
define make_venv
	if $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 none; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ $$python = none ]; then \
	  echo "agentkit needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 2; \
	fi; \
	echo "set-up: .venv with $$($$python --version)"; \
	rm -rf .venv; \
	if command -v uv >/dev/null; then uv venv --quiet --no-project --python "$$(command -v $$python)" .venv; \
	else "$$python" -m venv .venv >/dev/null 2>&1 || { rm -rf .venv; "$$python" -m venv --without-pip .venv; }; fi
endef

define install
	echo "set-up: installing .[$(1)] (about a minute, once)"; \
	if command -v uv >/dev/null; then uv pip install --quiet --python $(BIN)/python -e '.[$(1)]'; \
	elif $(BIN)/python -m pip --version >/dev/null 2>&1; then $(BIN)/python -m pip install --quiet -e '.[$(1)]'; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then $(PYTHON) -m pip --python $(BIN)/python install --quiet -e '.[$(1)]'; \
	else rm -rf .venv; \
	  echo "there is neither uv nor pip. On Debian or Ubuntu: apt install python3-venv python3-pip; or install uv" >&2; exit 2; \
	fi
endef
