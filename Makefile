# `make demo` and `make test` are all that a newcomer needs; both build their own virtual environment in .venv.

PYTHON ?= python3
VENV := .venv
RIVALS := .venv-bench
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test bench bench-ssh format clean

demo: $(VENV)/sandbox
	$(BIN)/ssm-deploy upload-script examples/deploy_with_files_example.sh --sandbox --yes -- one 'two words'

test: $(VENV)/dev
	tests/system-packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -m 'not slow' -n 2
	$(BIN)/pytest -m slow -n 2

# `make bench ONLY=bundle,start ROUNDS=9` runs a part of it, or more often; docs/performance.md explains the table.
bench: $(VENV)/dev
	-tests/system-packages pigz:pigz
	PYTHONPATH=tests ROUNDS=$(ROUNDS) ONLY=$(ONLY) $(BIN)/python -m benchmarks

# `make bench-ssh N=1,5 ROUNDS=1 ONLY=hand-gzip,ssm-deploy`: so many targets, so often, these contestants; BUDGET is how
# many seconds one table may take, WIDTH how many connections all have. What cannot be installed is told as missing.
bench-ssh: $(VENV)/dev
	-tests/system-packages parallel-ssh:pssh clush:clustershell
	-$(MAKE) $(RIVALS)/installed
	PYTHONPATH=tests N=$(N) ROUNDS=$(ROUNDS) ONLY=$(ONLY) WIDTH=$(WIDTH) BUDGET=$(BUDGET) $(BIN)/python -m benchmarks.ssh

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(RIVALS) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/sandbox: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[sandbox]'
	touch $@

$(VENV)/dev: $(VENV)/sandbox
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

# Other programs, to compare with: in an environment of their own, as none of them is to become a dependency.
$(RIVALS)/installed: benchmarks/ssh/peers/requirements.txt
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/pip install --quiet --requirement $<
	touch $@
