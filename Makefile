# Commands for people and for CI; `make help` lists them. Everything runs inside .venv, made on first use.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
FLASHBULB := $(VENV)/bin/flashbulb
INSTALLED := $(VENV)/.installed

# Given as variables, handed on as options; an empty one is left to flashbulb's own default.
export MODEL PROMPTS REFERENCE TRAIN_IMAGES OUT BUDGET
OPTIONS = $${MODEL:+--model "$$MODEL"} $${PROMPTS:+--prompts "$$PROMPTS"} \
	$${REFERENCE:+--reference "$$REFERENCE"} $${TRAIN_IMAGES:+--train-images "$$TRAIN_IMAGES"} \
	$${OUT:+--out "$$OUT"} $(ARGS)
AUDIT = $(if $(MODEL)$(PROMPTS)$(REFERENCE),audit,demo)
EMBEDDED := audit/planted/embedded
DEMO_NOTE = [ $(AUDIT) = audit ] || echo "No MODEL given: audits the embedded model (flashbulb demo)." >&2

# GNU make answers 2 for every failed recipe but one: under -q ("question") a `+` recipe's status 1 stays 1.
# `make gate` on its own asks such a question: 0 pass, 1 gate failed, 2 anything else (its last line says what).
# Any other goal beside it, or a dry run, and it is an ordinary recipe.
ifeq ($(MAKECMDGOALS)$(findstring n,$(firstword -$(MAKEFLAGS))),gate)
MAKEFLAGS += -q
QUESTION := +
endif
SELF := $(MAKE)

.PHONY: help venv audit gate discover docs pictures test test-slow test-kernels check format bench bench-added bench-canaries \
	bench-closing bench-detect bench-device bench-recover bench-discover bench-faults bench-finetune bench-localize bench-memories bench-power \
	bench-pull bench-report bench-speed bench-sweep bench-truth bench-verdict bench-words planted clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED) ## create .venv and install everything into it

# torch goes first and alone, so that a machine that offers a CPU build gets that one.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into $(VENV); this takes a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0 setuptools
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[audit,dev]'
	@touch $@

audit: $(INSTALLED) ## audit MODEL= PROMPTS= [REFERENCE= TRAIN_IMAGES= OUT= ARGS=]; without both, the embedded model
	@$(DEMO_NOTE)
	@$(FLASHBULB) $(AUDIT) $(OPTIONS)

gate: ## the same audit, its finished stages kept, with the verdict as exit code
	@$(QUESTION)MAKEFLAGS= $(SELF) -s --no-print-directory venv PYTHON="$(PYTHON)" || exit 2; \
	$(DEMO_NOTE); code=0; $(FLASHBULB) $(AUDIT) --gate $(OPTIONS) || code=$$?; \
	echo "flashbulb: gate exit code $$code"; exit $$code

discover: $(INSTALLED) ## search MODEL= without captions, BUDGET= denoiser evaluations; without MODEL, the embedded model
	@if [ -z "$$MODEL" ]; then \
		echo "No MODEL given: searches the embedded model (flashbulb demo)." >&2; \
		MODEL=$(EMBEDDED)/model; : "$${TRAIN_IMAGES:=$(EMBEDDED)/pictures}" "$${OUT:=runs/embedded-discovery}"; \
	fi; \
	$(FLASHBULB) discover --budget $${BUDGET:-20000} $${TRAIN_IMAGES:+--train-images "$$TRAIN_IMAGES"} \
	$${OUT:+--out "$$OUT"} $(ARGS) "$$MODEL"

test: $(INSTALLED) ## run the tests
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

test-slow: $(INSTALLED) ## run the tests that take minutes, and all cases of those that have many
	@$(PY) -m pytest -m slow

test-kernels: $(INSTALLED) ## run the kernels of GPUs in Triton's interpreter, without a GPU (fetches Triton, 1 GB)
	@test -d $(VENV)/triton || $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --target $(VENV)/triton triton
	@TRITON_INTERPRET=1 PYTHONPATH=$(VENV)/triton $(PY) -m pytest tests/hooks/test_fused.py

check: $(INSTALLED) ## check format, lint and types
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

format: $(INSTALLED) ## format the code and repair what ruff can
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

docs: $(INSTALLED) ## build the documentation as a site, in site/index.html
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet -f docs/site/mkdocs.yml
	@echo "Read site/index.html"

pictures: $(INSTALLED) ## draw the images of README and docs again, from an audit of the embedded model and from its page
	@$(PY) -m tests.bench.pictures $(ARGS)

bench: $(INSTALLED) ## measure speed, memory and accuracy
	@$(PY) -m tests.bench $(ARGS)

bench-added: $(INSTALLED) ## measure what recovery brings back of the models of bench-finetune
	@$(PY) -m tests.bench.added $(ARGS)

bench-canaries: $(INSTALLED) ## fine-tune the embedded model with canaries, and audit it with them
	@$(PY) -m tests.bench.canaries $(ARGS)

bench-detect: $(INSTALLED) ## measure the detectors on four planted models, as one page
	@$(PY) -m tests.bench.detection $(ARGS)

bench-recover: $(INSTALLED) ## measure recovery against the truth, and captions known in part
	@$(PY) -m tests.bench.recover $(ARGS)

bench-closing: $(INSTALLED) ## run discoveries with closing looks, judge findings by the truth, and look at never-trained images
	@$(PY) -m tests.bench.closing $(ARGS)

bench-device: $(INSTALLED) ## measure recording, ascents and --offload on a GPU, at the shapes of SD 1.5 and SDXL
	@$(PY) -m tests.bench.device $(ARGS)

bench-discover: $(INSTALLED) ## measure blind search against other searches, curves as an image
	@$(PY) -m tests.bench.discover $(ARGS)

bench-faults: $(INSTALLED) ## try damaged inputs, kills, failing disks, edited runs and hostile models
	@OMP_NUM_THREADS=1 $(PY) -m tests.bench.faults $(ARGS)

bench-finetune: $(INSTALLED) ## fine-tune the embedded model: plain spike score against difference from the base
	@$(PY) -m tests.bench.finetune $(ARGS)

bench-localize: $(INSTALLED) ## measure localized neurons by attribution, z-score, NeMo and at random
	@$(PY) -m tests.bench.localize $(ARGS)

bench-memories: $(INSTALLED) ## measure distinct images, precision and false recovery, by rule and by seeds
	@$(PY) -m tests.bench.memories $(ARGS)

bench-power: $(INSTALLED) ## simulate how often the bounds of an audit's power hold
	@$(PY) -m tests.bench.power $(ARGS)

bench-pull: $(INSTALLED) ## pull at memorized and never-trained images of the planted models, without captions
	@$(PY) -m tests.bench.pull $(ARGS)

bench-report: $(INSTALLED) ## measure the page of 10,000 prompts: its size, and how fast it opens
	@$(PY) -m tests.bench.report_page $(ARGS)

bench-speed: $(INSTALLED) ## measure recording and screening beside the bare networks and the peers' way, and growth
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m tests.bench.speed $(ARGS)

bench-sweep: $(INSTALLED) ## train once, and find the step at which copying begins by truth and by a sweep
	@$(PY) -m tests.bench.sweep $(ARGS)

bench-truth: $(INSTALLED) ## measure the probability per seed that planted captions replicate, by 64 seeds
	@$(PY) -m tests.bench.truth $(ARGS)

bench-verdict: $(INSTALLED) ## fit the verdict and measure its precision on models left out
	@$(PY) -m tests.bench.verdict $(ARGS)

bench-words: $(INSTALLED) ## search prompts in words for what a discovery found, and for images never trained on
	@$(PY) -m tests.bench.words $(ARGS)

planted: $(INSTALLED) ## train the embedded model again, or ARGS="--preset NAME"; see flashbulb planted list
	@$(FLASHBULB) planted train $(ARGS)

clean: ## remove builds, caches and runs (.venv stays)
	rm -rf build dist site ./*.egg-info runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find audit hooks reports tests -name __pycache__ -type d -prune -exec rm -rf {} +
