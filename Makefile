# Every target makes its own environment in .venv first; that is a no-op once it is complete.
#   EXTRAS="cuda"   extras to install beside the target's own; default: of the accelerator found
#   PYTHON=...      the Python to make .venv with; default: python3, if it is 3.11 to 3.13
#   PROFILE=smoke   figures of tiny sweeps, in minutes; PROFILE=paper: of large ones, on an accelerator
#   BENCH="--quick" arguments of the benchmark; --help lists them
#   PROCESSES=1     test processes; each takes about 2 GB. Default: one per core, at most 4
.PHONY: help figures test test-faults check docs readme tutorial bench bench-metrics clean \
  environment environment-dev environment-docs environment-bench \
  profile-default profile-smoke profile-paper

PROFILE ?= default
FOLDER_default := figures
FOLDER_smoke := smoke
FOLDER_paper := paper
# What the sweeps of the paper profile train on; built-in data sets need no preparation.
IMAGES := mnist fashion_mnist cifar10 tiny_imagenet

PROCESSES ?= logical
PYTEST = .venv/bin/python -m pytest -n $(PROCESSES) --maxprocesses 4 --dist loadfile

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' Makefile

figures: profile-$(PROFILE) ## train the sweeps of all figures, draw them, write report.html
	.venv/bin/tfc run sweeps/$(FOLDER_$(PROFILE))/*.yaml
	.venv/bin/python -m analysis.build --profile $(PROFILE)

profile-default profile-smoke: environment

profile-paper:
	@echo "PROFILE=paper trains hundreds of runs per condition, up to width 1024: hours on one GPU."
	@echo "It downloads $(IMAGES) and, to prepare them, TensorFlow. 'tfc plan' says more."
	@scripts/environment data
	set -e; for name in $(IMAGES); do .venv/bin/tfc data prepare $$name; done

profile-%:
	@echo "PROFILE=$*: there are default, smoke and paper." >&2; exit 2

test: environment-dev ## run all tests
	$(PYTEST)

test-faults: environment-dev ## try crashes, power cuts, full disks and wild input as often as a release needs: hours
	$(PYTEST) --long-faults tests/faults tests/security

check: environment-dev ## ruff, format, types, tests
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	$(PYTEST)

docs: environment-docs ## write the pages of the Python API: build/docs/index.html
	rm -rf build/docs
	.venv/bin/python scripts/docs.py

readme: environment ## write the tables of figures and verdicts into README.md, after make figures
	.venv/bin/python scripts/readme.py

tutorial: environment-dev ## run docs/tutorial.ipynb again and store what it shows
	.venv/bin/python scripts/tutorial.py

bench: environment-bench ## compare speeds with PyTorch and plain JAX: bench/results, 8 minutes
	.venv/bin/python -m bench $(BENCH)

bench-metrics: environment-dev ## measure what recording each metric costs
	.venv/bin/python bench/metrics.py

environment:
	@scripts/environment

environment-dev:
	@scripts/environment dev

environment-docs:
	@scripts/environment docs

environment-bench:
	@scripts/environment bench

clean: ## remove .venv, caches and figures; results stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build figures *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
