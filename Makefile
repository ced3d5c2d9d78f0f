# Every target makes its own environment in .venv first; that is a no-op once it is complete.
#   EXTRAS="cuda"   extras to install beside the target's own; default: of the accelerator found
#   PYTHON=...      the Python to make .venv with; default: python3, if it is 3.11 to 3.13
#   PROCESSES=1     test processes; each takes about 1 GB. Default: one per core, at most 4
.PHONY: help figures test check bench-metrics environment environment-dev clean

PROCESSES ?= logical
PYTEST = .venv/bin/python -m pytest -n $(PROCESSES) --maxprocesses 4 --dist loadfile

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' Makefile

figures: environment ## train the sweeps of all figures, draw them, write report.html
	.venv/bin/tfc run sweeps/figures/*.yaml
	.venv/bin/python -m analysis.build

test: environment-dev ## run all tests
	$(PYTEST)

check: environment-dev ## ruff, format, types, tests
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	$(PYTEST)

bench-metrics: environment-dev ## measure what recording each metric costs
	.venv/bin/python bench/metrics.py

environment:
	@scripts/environment

environment-dev:
	@scripts/environment dev

clean: ## remove .venv, caches and figures; results stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build figures *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
