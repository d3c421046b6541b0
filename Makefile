# Set-up and checks; `make` alone lists them. Needs make, git and a Python that PyTorch has wheels for: 3.11 to 3.14.

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)
NEWEST := 14
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $(NEWEST)))
CONSTRAINTS := constraints.txt
OLDEST := .venv-oldest

# A finished installation leaves one of these; they go when .venv goes.
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
# An unfinished one leaves this.
BEGUN := $(VENV)/.begun
# A .venv that lost its Python, to an upgrade for example, counts as not installed.
$(shell $(BIN)/python -c '' 2>/dev/null || rm -f $(CORE) $(DEV))

# Numbers are measured with this pair, so it is raised by hand; `make lock` raises all else.
PAIR := torch==2.14.1 torchvision==0.29.1

# TORCH=cpu takes the builds of PyTorch that need no CUDA, torch==...+cpu; they replace an installed other build.
ifdef TORCH
BUILDS := $(shell sed -n -e 's/^torch==.*/&+$(TORCH)/p' -e 's/^torchvision==.*/&+$(TORCH)/p' $(CONSTRAINTS))
$(shell ls -d $(VENV)/lib/python*/site-packages/torch-*+$(TORCH).dist-info >/dev/null 2>&1 || rm -f $(CORE) $(DEV))
endif
# How much each of the two installations downloads and fills.
CUDA := nearly all of it PyTorch with CUDA
SIZE := $(if $(TORCH),0.2 GB and PyTorch for $(TORCH),3.2 GB ($(CUDA)) and fills 6 GB)
SIZE_DEV := $(if $(TORCH),0.4 GB and PyTorch for $(TORCH),3.4 GB ($(CUDA)) and fills 7 GB)

PYTEST_OPTIONS := --numprocesses logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types docs site test-slow test-gpu test-oldest
.PHONY: bench-cost bench-train bench-latency bench-search bench-scale fuzz soak lock dist clean
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1#/p' Makefile | awk -F '#' '{ printf "%-20s %s\n", $$1, $$2 }'

install: $(CORE) ## the package and what it needs, in .venv

demo: $(CORE) ## a small search on the embedded data, from nothing to a front
	$(BIN)/stdc-search run specs/quickstart.yaml --out runs/quickstart

test: lint types ## lint, types and tests: what a change must pass
	$(BIN)/pytest $(PYTEST_OPTIONS)

lint: $(DEV) ## ruff, both as linter and as formatter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) ## pyright on the package
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

test-slow: $(DEV) ## the tests that take more than a few seconds each
	$(BIN)/pytest --slow -m slow

test-gpu: $(DEV) ## every path that needs a CUDA device, in under 8 minutes; see build/gpu.json
	$(BIN)/python -m benchmarks.gpu

test-oldest: ## the tests with the oldest versions that pyproject.toml allows, in .venv-oldest
	@$(MAKE) --no-print-directory VENV=$(OLDEST) CONSTRAINTS=constraints-oldest.txt NEWEST=12 \
	PYTHONS='$(or $(PYTHON),python3.11 python3.12 python3 python)' $(OLDEST)/.dev
	$(OLDEST)/bin/pytest $(PYTEST_OPTIONS)

docs: $(DEV) ## the references in docs/ that are made from the code
	$(BIN)/python -m docs.generate

site: $(DEV) ## the documentation as a site, in build/site/
	$(BIN)/python -m docs.site

bench-cost: $(DEV) ## counting networks: ours against fvcore, and a space of 512,000
	$(BIN)/python -m benchmarks.cost

bench-train: $(DEV) ## training: ours against the released way, a step, samples, two at once
	$(BIN)/python -m benchmarks.train

bench-latency: $(DEV) ## image to label map: our runtimes against the plain ways
	$(BIN)/python -m benchmarks.latency

bench-search: $(DEV) ## samplers against one another, reported fronts and halving, on kept trainings
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.reported
	$(BIN)/python -m benchmarks.halving

bench-scale: $(DEV) ## resuming, reporting and proposing with 1,000 to 10,000 candidates
	$(BIN)/python -m benchmarks.scale

fuzz: $(DEV) ## damaged and hostile specs, run folders, weights and pictures; takes an hour
	$(BIN)/python -m benchmarks.fuzz specs 100000 folders 5000 weights 2000 pictures 2000

soak: $(DEV) ## kills runs and workers and fills disks at random moments; takes hours, goes on where it was stopped
	$(BIN)/python -m benchmarks.soak

lock: ## constraints.txt anew: the newest versions that pyproject.toml allows (torch: see PAIR)
	@$(find_python); rm -rf build/lock && "$$python" -m venv build/lock
	PIP_USE_PEP517=1 PIP_DISABLE_PIP_VERSION_CHECK=1 build/lock/bin/python -m pip install --quiet '.[dev]' $(PAIR)
	@{ sed -n '/^#/p' constraints.txt; \
	build/lock/bin/python -m pip freeze --all --exclude pip --exclude wheel --exclude stdc-search; \
	} > build/constraints.txt
	@mv build/constraints.txt constraints.txt; rm -rf build/lock

dist: ## a wheel and an sdist in dist/, and a first search with the wheel in an environment of its own
	@$(find_python); rm -rf dist build/dist && "$$python" -m venv build/dist
	build/dist/bin/python -m pip install --quiet build
	build/dist/bin/python -m build .
	build/dist/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) dist/*.whl $(BUILDS)
	cd build/dist && bin/stdc-search demo --out demo

clean: ## removes .venv, .venv-oldest and caches; runs/ stays
	rm -rf $(VENV) $(OLDEST) build dist .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CORE): pyproject.toml $(CONSTRAINTS)
	@$(call install,.,$(SIZE))
	@touch $@

# The development tools come on top of the core, so `make demo` has nothing to do after `make test`.
$(DEV): pyproject.toml $(CONSTRAINTS)
	@$(call install,.[dev],$(if $(wildcard $(CORE)),0.2 GB,$(SIZE_DEV)))
	@touch $(CORE) $@

# Each candidate is run, not only looked up: a shim of a version manager may exist and fail when it is called.
define find_python
for python in $(PYTHONS); do \
	"$$python" -c '$(USABLE)' 2>/dev/null && break; \
	python=; \
done; \
if [ -z "$$python" ]; then \
	echo 'No Python 3.11 to 3.$(NEWEST) with venv and ensurepip among: $(PYTHONS)'; \
	echo 'Install one and run make again:'; \
	echo '  Debian, Ubuntu  sudo apt install python3 python3-venv'; \
	echo '  Fedora          sudo dnf install python3'; \
	echo '  macOS           brew install python@3.13'; \
	echo '  Windows         use WSL, as on Ubuntu'; \
	echo 'or name the one to take: make PYTHON=/path/to/python3.12 ...'; \
	exit 2; \
fi >&2
endef

# $(call install,what,how much is downloaded). A .venv that was cut off while it was made or filled, or that lost its
# Python, is made anew; pip's cache then spares the download. Where pip itself gives up, .venv is whole and is kept;
# where a signal ended pip (128 and more), it is not.
define install
if [ -e $(BEGUN) ] || ! { $(BIN)/python -c '$(USABLE)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1; then \
	$(find_python); \
	echo "==> Making $(VENV) with $$("$$python" --version)"; \
	rm -rf $(VENV) && mkdir $(VENV) && touch $(BEGUN) && "$$python" -m venv $(VENV) || exit; \
fi; \
touch $(BEGUN); \
echo '==> Installing into $(VENV); on Linux x86-64 this downloads about $(2)'; \
quiet=; { [ -t 1 ] && [ -z "$$CI" ]; } || quiet=--quiet; \
PIP_USE_PEP517=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(BIN)/python -m pip install $$quiet --editable '$(1)' $(BUILDS) --constraint $(CONSTRAINTS); \
status=$$?; \
[ $$status -eq 0 ] || [ -z '$(TORCH)' ] || echo '$(BUILDS): pip needs an index that has them; see CONTRIBUTING.md' >&2; \
[ $$status -ge 128 ] || rm $(BEGUN); exit $$status
endef
