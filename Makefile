# Two commands set everything up on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# uv builds the environment; where it is not installed it comes into .uv/.
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
# pyenv hides the interpreters it has unless they are selected: select all of them.
PYENVS := $(shell pyenv versions --bare 2>/dev/null | paste -sd:)
RUN := .venv/bin/
DEMO ?= demo
BENCH ?= bench
STUDY ?= study
DATA ?= ../shared/data
SHARPENING ?= sharpening
PAIRS ?= $(DATA)/modis_aster_pairs.nc
PATCHES ?= $(DATA)/modis_lst_patches.nc
SHARPENED = $(foreach n,slope_net slope_net_2 slope_net_3 sc_unet sif_sr1 sif_sr2,--model \
	$(SHARPENING)/models/$(n))
THREE = slope_net+slope_net_2+slope_net_3
SETTINGS = "local_slope[cubic,spread,0.8]"
PYTHON_VERSION ?= 3.12

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

.venv/.ready: requirements.lock pyproject.toml $(filter .uv/bin/uv,$(UV))
	$(if $(PYENVS),PYENV_VERSION=$(PYENVS)) $(UV) venv --quiet --clear --python $(PYTHON_VERSION) .venv
	$(UV) pip install --quiet --python .venv/bin/python --compile-bytecode -r requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps -e .
	touch $@

setup: .venv/.ready ## Make .venv with the locked environment.

demo: .venv/.ready ## Simulate, ingest, train, predict, report; everything lands in demo/.
	$(RUN)thermocube demo $(DEMO)

test: .venv/.ready ## Run the tests.
	$(RUN)python -m pytest --numprocesses auto --dist loadfile

test-slow: .venv/.ready ## Run the studies and long tests.
	$(RUN)python -m pytest -m slow

soak: .venv/.ready ## Kill jobs and workers and break servers for an hour; figures at the end.
	$(RUN)python -m pytest -m soak

bench: .venv/.ready ## Measure ingest, selections, streams, inference and sharpening; figures in bench/.
	$(RUN)python benchmarks/ingest.py --out $(BENCH)/ingest.json
	$(RUN)python benchmarks/selections.py
	$(RUN)python benchmarks/stream.py --out $(BENCH)
	$(RUN)python benchmarks/predict.py
	$(RUN)python benchmarks/sharpen.py

study: .venv/.ready ## The rock-and-soil study on real pixels; writes docs/results.md.
	$(RUN)thermocube study regions $(DATA) $(STUDY)
	for r in puertollano santa; do $(RUN)thermocube ingest $(STUDY)/$$r.toml && \
	  $(RUN)thermocube study classify $(STUDY)/$$r.toml $(STUDY)/classify-$$r.json && \
	  $(RUN)thermocube study signatures $(STUDY)/$$r.toml $(STUDY)/signatures-$$r.json && \
	  $(RUN)thermocube study baselines $(STUDY)/$$r.toml $(STUDY)/baselines-$$r.json || exit 1; done
	$(RUN)thermocube study classify $(STUDY)/puertollano.toml \
	  $(STUDY)/classify-puertollano-layers.json --layers $(DATA)/thesis_puertollano.nc
	$(RUN)thermocube study distance $(STUDY)/puertollano.toml $(STUDY)/distance-puertollano.json
	$(RUN)thermocube study distance $(STUDY)/puertollano.toml \
	  $(STUDY)/distance-puertollano-layers.json --layers $(DATA)/thesis_puertollano.nc
	$(RUN)thermocube study distance $(STUDY)/santa.toml $(STUDY)/distance-santa.json
	$(RUN)thermocube study transfer $(STUDY)/puertollano.toml $(STUDY)/santa.toml \
	  $(STUDY)/transfer-to-santa.json
	$(RUN)thermocube study transfer $(STUDY)/santa.toml $(STUDY)/puertollano.toml \
	  $(STUDY)/transfer-to-puertollano.json
	for n in puertollano puertollano-layers; do $(RUN)thermocube study confidence \
	  $(STUDY)/classify-$$n.npz $(STUDY)/confidence-$$n.json \
	  --layers $(DATA)/thesis_puertollano.nc || exit 1; done
	$(RUN)thermocube study confidence $(STUDY)/classify-santa.npz $(STUDY)/confidence-santa.json
	$(RUN)thermocube study grids $(DATA)/thesis_santa.nc $(STUDY)/grids-santa.json
	$(MAKE) protocol learn
	$(RUN)thermocube study page $(STUDY) docs/results.md
	mkdir -p docs/results && cp $(STUDY)/*.json docs/results/

protocol: .venv/.ready ## Networks under the study's own split, once `make study` has made the cubes.
	for f in $(filter-out %-first.toml,$(wildcard docs/results/protocol-*.toml)); do \
	  n=$$(basename $$f .toml) && n=$${n#protocol-} && r=$${n#*-} && m=$(STUDY)/models/$$n; \
	  start=; [ $$r = santa ] && stride=281 || stride=128; \
	  if [ -e $${f%.toml}-first.toml ]; then start="--start $$m-first"; \
	    $(RUN)thermocube train $(STUDY)/$$r.toml $$m-first --recipe $${f%.toml}-first.toml \
	      --overwrite || exit 1; fi; \
	  $(RUN)thermocube train $(STUDY)/$$r.toml $$m --recipe $$f $$start --overwrite && \
	  $(RUN)thermocube predict $(STUDY)/$$r.toml $$m --stride $$stride --overwrite && \
	  $(RUN)thermocube evaluate $(STUDY)/$$r.toml $$m --json > $(STUDY)/protocol-$$n.json && \
	  $(RUN)thermocube study shuffled $(STUDY)/$$r.toml $$m $(STUDY)/shuffled-$$n.json \
	    || exit 1; done

leaksafe: .venv/.ready ## Train the study's kind of networks where nothing leaks; needs the cubes of `study`.
	for f in $(wildcard docs/results/leaksafe-*.toml); do \
	  n=$$(basename $$f .toml) && r=$${n##*-} && $(RUN)thermocube train $(STUDY)/$$r.toml \
	    $(STUDY)/models/$$n --recipe $$f --folds 6 --json > $(STUDY)/$$n.json || exit 1; done

learn: .venv/.ready ## Train networks on simulated regions; do they learn what is there?
	$(RUN)thermocube study learn $(STUDY)/simulated $(STUDY)/learn-simulated.json

sharpening: .venv/.ready ## Train, choose and score sharpening on PAIRS and PATCHES; updates docs/superresolution.md.
	$(RUN)thermocube sharpen train slope_net $(PAIRS) --out $(SHARPENING)/models/slope_net \
	  --folds 5 --seed 1
	for s in 2 3; do $(RUN)thermocube sharpen train slope_net $(PAIRS) \
	  --out $(SHARPENING)/models/slope_net_$$s --folds 5 --seed $$s || exit 1; done
	$(RUN)thermocube sharpen train docs/sharpening/sc_unet.toml $(PAIRS) \
	  --out $(SHARPENING)/models/sc_unet --folds 3
	for n in sif_sr1 sif_sr2; do $(RUN)thermocube sharpen train docs/sharpening/$$n.toml $(PAIRS) \
	  --out $(SHARPENING)/models/$$n --folds 2 || exit 1; done
	$(RUN)thermocube sharpen train-patches docs/sharpening/mr_unet.toml $(PATCHES) \
	  --out $(SHARPENING)/models/mr_unet
	$(RUN)thermocube sharpen held-out $(PAIRS) --out $(SHARPENING)/held-out $(SHARPENED) \
	  --mean local_slope+slope_net --mean slope_net+sc_unet --mean local_slope+slope_net+sc_unet \
	  --mean $(THREE) --mean local_slope+$(THREE)
	$(RUN)thermocube sharpen held-out $(PAIRS) --out $(SHARPENING)/patches --patches $(PATCHES) \
	  --most 120 --method local_slope --method tsharp --method aatprk \
	  --method $(SETTINGS) --method "local_slope[line,interpolated,0.6]" \
	  --model $(SHARPENING)/models/slope_net
	$(RUN)thermocube sharpen evaluate $(PAIRS) --out $(SHARPENING)/evaluate --figures 1 \
	  $(SHARPENED) $(foreach n,$(SETTINGS) local_slope+slope_net $(THREE) \
	  local_slope+$(THREE),--also $(n) --also $(n)-aligned --also $(n)-registered) \
	  $(foreach n,local_slope slope_net sc_unet sif_sr1 sif_sr2,--also $(n)-aligned)
	$(RUN)python benchmarks/sharpen_page.py $(SHARPENING) docs/superresolution.md

lint: .venv/.ready ## Check style and formatting.
	$(RUN)ruff check .
	$(RUN)ruff format --check .

types: .venv/.ready ## Check types.
	$(RUN)mypy

lock: $(filter .uv/bin/uv,$(UV)) ## Resolve the environment anew.
	$(UV) pip compile --quiet --universal --python-version 3.12 --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" --upgrade \
	  --extra train --extra plot --extra modis --extra tune --extra stackstac --extra dev -o requirements.lock pyproject.toml

clean: ## Remove what was built; cubes and models of your own stay.
	rm -rf .venv .uv .hypothesis .mypy_cache .ruff_cache demo

.PHONY: help setup demo test test-slow soak bench study protocol leaksafe learn sharpening lint types lock clean
