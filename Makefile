# `make demo` and `make test` also install everything on a fresh machine; `make help` lists all targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# For small matrices on few cores, intra-op threads cost more time than they save.
export OMP_NUM_THREADS ?= 1
# Keep bytecode in .venv even if the environment disables it: without bytecode, processes start half as fast.
unexport PYTHONDONTWRITEBYTECODE

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(READY)  ## Create .venv with the locked packages (TORCH=cpu: PyTorch's CPU-only wheels)

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "unmask needs Python 3.11 to 3.13; found $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.txt)"
ifeq ($(TORCH),cpu)
	@# The hashes of PyTorch's CPU wheels are not in the lock file; all other packages are verified by hash.
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu \
	  "torch==$$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements.txt)" "torchvision==$$(sed -n 's/^torchvision==\([0-9.]*\).*/\1/p' requirements.txt)"
	@awk '/^[a-z]/ {keep = $$0 !~ /^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==/} keep' requirements.txt > .venv/cpu.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r .venv/cpu.txt
else
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.txt
endif
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)  ## Render and forge demo videos, train two detectors and write the report (about 7 minutes on 2 cores)
	@$(BIN)/unmask demo

test: $(READY)  ## Run the quick tests (6 to 10 minutes on 2 cores)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(READY)  ## Run the slow tests: killed processes, multiprocessing, launchers, notebooks, documents
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-all: test test-slow  ## Run all tests

check: $(READY)  ## Check lint rules, formatting and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(READY)  ## Format the code and sort its imports
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lite: $(READY)  ## Write a page that scores pictures in the browser to outputs/lite (RUN=DIR; needs npm)
	@$(BIN)/python lite/make_lite.py $(RUN) $(ARGS)

bench: $(READY)  ## Run the benchmarks (ONLY=NAME runs one; ARGS='--repeats 5' passes arguments)
	@for file in benchmarks/$(or $(ONLY),[!_]*).py; do $(BIN)/python $$file $(ARGS) || exit 1; done

lock: $(READY)  ## Update requirements.txt to the newest versions, for all platforms
	@$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet --upgrade --output-file requirements.txt

.PHONY: help install demo test test-slow test-all check format lite bench lock
