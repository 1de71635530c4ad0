# One word a job. Everything lands in .venv; a job that was set up once works offline.

PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/demo
DATA ?= data

.PHONY: demo test check slow prove-resume prove-fuzz prove-report prove-page bench bench-quick bench-quality docs clean

# The stamp holds what was installed, so that a second call needs no network.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,onnx,serve]'
	@touch $@

demo: .venv/ready ## sample model and reviews: train, evaluate, report, predict
	$(BIN)/lasttoken train movie-reviews --model smollm2 --output-dir $(RUN) \
		--limit 2400 --num-epochs 1 --learning-rate 1e-4
	@printf '%s\n' 'A moving story, beautifully told.' \
		'Two hours of my life that I will never get back.' \
		| $(BIN)/lasttoken predict $(RUN) -
	@echo "everything is in $(RUN): open $(RUN)/report.html"

test: .venv/ready ## the default test suite, under 5 minutes on 2 cores
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/ready ## format, lint, types, architecture, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_docs.py

.venv/cluster: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@touch $@

slow: .venv/cluster ## tests that take minutes or need the sample model
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal

prove-resume: .venv/ready ## every crash point, and 300 random kills; about half an hour
	$(BIN)/python -m pytest -m proof tests/training/test_prove_resume.py

prove-fuzz: .venv/ready ## 100,000 inputs to readers and predict; about ten minutes
	$(BIN)/python -m pytest -m proof tests/test_fuzz.py

.venv/browser: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	@touch $@

prove-report: .venv/browser ## the report in Chromium; needs chromium, chromium-driver and npm
	$(BIN)/python -m pytest -m proof tests/test_report_in_browser.py

prove-page: .venv/browser ## the page of `serve` in Chromium; needs what prove-report needs
	$(BIN)/python -m pytest -m proof tests/serving/test_page_in_browser.py

bench: .venv/ready ## every benchmark, at most 3 hours, goes on where it stopped
	$(BIN)/python -m benchmarks.run

bench-quick: .venv/ready ## the main ratios in under 10 minutes, once `make bench` has set up
	$(BIN)/python -m benchmarks.run --quick

bench-quality: .venv/ready ## accuracy beside every peer; six hours at a time; DATA=FOLDER holds the sets
	$(BIN)/python -m benchmarks.quality $(DATA) --limit-minutes 360
	$(BIN)/python -m benchmarks.quality_table

docs: .venv/ready ## write docs/reference.md anew from the code
	$(BIN)/python docs/generate.py

clean: ## remove what these jobs made, but for runs/
	rm -rf .venv build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
