# make demo          folder of audio → VAD → ASR → report, on this machine (AUDIO=DIR for your own recordings)
# make test          core, environment `local`, real SLURM          make test-envs   the heavy environments (-j2: two at a time)
# make lint          ruff, mypy, shellcheck, #SBATCH lines          make bench       benchmarks/, each a table with peers
# make env ENV=asr   build one environment (TOOL=conda|mamba|micromamba|uv|venv; default: what is there)
SHELL := /bin/bash
AMELA_ENVS ?= $(CURDIR)/envs/.built
PYTHON := $(AMELA_ENVS)/dev/bin/python
TEST_ENVS := vad asr train units whisperx features oracles text codec dac

.PHONY: demo test test-envs test-env-sts lint bench env $(addprefix test-env-,$(TEST_ENVS))

demo:
	@envs/create.sh local $(TOOL)
	@./demo.sh $(AUDIO)

env:
	@test -n "$(ENV)" || { echo "ERROR: which? make env ENV=NAME; NAME is one of: $(basename $(notdir $(wildcard envs/*.yml)))" >&2; exit 2; }
	@envs/create.sh $(ENV) $(TOOL)

test:
	@tests/install_system.sh
	@envs/create.sh local $(TOOL)
	@envs/create.sh dev $(TOOL)
	$(PYTHON) -m pytest $(ARGS)

test-envs: $(addprefix test-env-,$(TEST_ENVS) sts)
	@[ -n "$$AMELA_TEXTLESSLIB" ] || echo "== NOT RUN: textlesslib's own programs; set AMELA_TEXTLESSLIB to a checkout of it"

$(addprefix test-env-,$(TEST_ENVS)): test-env-%:
	@envs/create.sh $* $(TOOL)
	@echo "== tests of the environment $*"
	@$(AMELA_ENVS)/$*/bin/python -m pytest $(ARGS) tests/envs/test_$*_*.py

test-env-sts:
	@if ! envs/create.sh --can sts $(TOOL); then \
	    echo "== NOT RUN: tests of the environment sts (fairseq 0.12.2), as it cannot be built here: see above"; \
	else \
	    envs/create.sh sts $(TOOL) && echo "== tests of the environment sts" && \
	    $(AMELA_ENVS)/sts/bin/python -m pytest $(ARGS) tests/envs/test_sts*.py $${AMELA_TEXTLESSLIB:+tests/envs/test_textlesslib.py}; \
	fi

lint:
	@envs/create.sh dev $(TOOL)
	$(PYTHON) -m ruff check
	$(PYTHON) -m mypy
	shellcheck -x slurm/*.slurm slurm/*.sh envs/*.sh tests/*.sh demo.sh .ci/run
	$(PYTHON) tests/sbatch_lint.py slurm/*.slurm

bench:
	@for env in local dev asr units train whisperx features oracles text dac bench; do envs/create.sh $$env $(TOOL) || exit; done
	$(AMELA_ENVS)/local/bin/python benchmarks/vad.py
	$(AMELA_ENVS)/local/bin/python benchmarks/manifest.py --peers $(AMELA_ENVS)/bench/bin/python
	$(AMELA_ENVS)/asr/bin/python benchmarks/padding.py
	$(AMELA_ENVS)/local/bin/python benchmarks/imbalance.py
	$(AMELA_ENVS)/local/bin/python benchmarks/sizing.py
	$(AMELA_ENVS)/units/bin/python benchmarks/units.py
	$(AMELA_ENVS)/train/bin/python benchmarks/lstm.py speed
	$(AMELA_ENVS)/train/bin/python benchmarks/unit_files.py reading
	$(AMELA_ENVS)/train/bin/python benchmarks/unit_files.py start
	$(AMELA_ENVS)/train/bin/python benchmarks/ser.py --local $(AMELA_ENVS)/local/bin/python
	$(AMELA_ENVS)/train/bin/python benchmarks/ser_speed.py --local $(AMELA_ENVS)/local/bin/python
	$(AMELA_ENVS)/train/bin/python benchmarks/ngram.py
	$(AMELA_ENVS)/train/bin/python benchmarks/lm_quality.py
	$(AMELA_ENVS)/features/bin/python benchmarks/features.py speed
	$(AMELA_ENVS)/features/bin/python benchmarks/features.py hour
	$(AMELA_ENVS)/features/bin/python benchmarks/emotion.py
	$(AMELA_ENVS)/oracles/bin/python benchmarks/pitch.py
	$(AMELA_ENVS)/oracles/bin/python benchmarks/functionals.py
	$(AMELA_ENVS)/oracles/bin/python benchmarks/similar.py
	$(AMELA_ENVS)/text/bin/python benchmarks/phonemize.py
	$(AMELA_ENVS)/whisperx/bin/python benchmarks/transcribe.py
	$(AMELA_ENVS)/dac/bin/python benchmarks/codec.py
	$(AMELA_ENVS)/train/bin/python benchmarks/tokenizer.py
	$(AMELA_ENVS)/dev/bin/python benchmarks/build_parquet.py
	$(AMELA_ENVS)/train/bin/python benchmarks/flight.py
	$(AMELA_ENVS)/dev/bin/python benchmarks/dashboard.py
	$(AMELA_ENVS)/train/bin/python benchmarks/audio_gpt2.py
	$(AMELA_ENVS)/train/bin/python benchmarks/multimodal.py
