# `make` alone shows what there is. Every target works from a bare clone: what it needs is set up first, and a set-up
# that is complete costs less than a second.

PYTHON ?= python3
STACK ?=
UV ?= .tools/uv/bin/uv

python := .venv/bin/python
cf-infra := .venv/bin/cf-infra
pytest := $(python) -m pytest
# In a job at GitHub, words of strangers are no commands to its runner, and results stand in the job's summary.
job := $(python) tools/job.py
form := $(if $(GITHUB_ACTIONS),--format markdown)

# $(call timed,NAME,COMMAND): run it and say how long it took
timed = start=$$(date +%s); $(2); code=$$?; echo "$(1): $$(($$(date +%s) - start)) s, $$([ $$code = 0 ] && echo ok || echo failed)" >&2; exit $$code

.PHONY: help setup check plan apply audit demo check-pull comment comment-waiting apply-reviewed accept daily renewals intake job-files test check-fast lint format types bench sandbox-up sandbox-down lock clean
.PHONY: setup-python setup-tofu
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Python packages, OpenTofu and its providers, the sandbox
	@$(PYTHON) tools/setup.py

setup-python:
	@$(PYTHON) tools/setup.py environment

setup-tofu:
	@$(PYTHON) tools/setup.py environment tools

check: setup ## Check grants.yaml and stacks/: no network, changes nothing
	@$(cf-infra) check

plan: setup ## Show and save what would change (STACK=name: only that one)
	@$(cf-infra) plan $(STACK)

apply: setup ## Apply the saved plan (STACK=name: only that one)
	@$(cf-infra) apply $(STACK)

audit: setup ## Compare what is there with what the files say (STACK=name: only that one); ends with 2 if they differ
	@$(cf-infra) audit --detailed-exitcode $(STACK)

demo: setup ## Grant, apply and revoke real servers in the sandbox on this machine
	@$(python) demo/demo.py

# What the workflows of .github/ run, and what people can run without GitHub: docs/workflows.md. These take their words
# from the environment, where make puts those of its command line: the shell sees each as one word, whatever is in it.

check-pull: setup-python ## Check commit HEAD beside BASE, and show what it changes: no login; nothing of it is run
	@base="$${BASE:-origin/main}"; head="$${HEAD:-HEAD}"; $(python) tools/fetch.py "$$base" "$$head" && \
	    $(job) --summary $(cf-infra) diff "$$(git merge-base "$$base" "$$head" || echo "$$base")" "$$head" $(form)

comment: setup-tofu ## Comment on pull request PULL, or on those whose head is HEAD_SHA
	@$(job) $(python) tools/comment.py "$${PULL:---head}" "$$HEAD_SHA"

comment-waiting: setup-tofu ## Comment on every open pull request whose head has no comment yet
	@$(job) $(python) tools/comment.py --waiting

apply-reviewed: setup-tofu ## Plan again, and apply what merged reviews cover or time alone did (SINCE=COMMIT at first)
	@$(job) --kept --summary $(python) tools/apply_reviewed.py

accept: setup-tofu ## Apply what waits for a second person: exactly the review DIGEST of STACK
	@$(job) --kept --summary $(python) tools/apply_reviewed.py "$$STACK" "$$DIGEST"

daily: setup-tofu ## Rotation, canaries, audit, drift; an issue if a person must decide
	@$(job) --kept --summary $(cf-infra) daily $(form)

renewals: setup-python ## Ask feedstocks whose grants end soon whether they still need them
	@$(job) --summary $(cf-infra) renewals $(form)

intake: setup-python ## Turn issue ISSUE into a pull request, and answer it; without ISSUE, all that wait
	@$(job) $(cf-infra) intake "$${ISSUE:---waiting}"

job-files: ## In a job at GitHub: write the secrets of its environment into files
	@$(PYTHON) tools/job_files.py

# What decides has no cloud in its way: it is covered by the quick tests alone.
core := access admin_requests answer approvals asked audit audit_cirun audit_credentials audit_github audit_lists \
        audit_openstack audit_report capacity catalog chain changes check codeowners codes compact compile \
        credential_report credentials daily declared diagnostics difference difference_report drift edit edit_people \
        explain feedstock feedstock_yaml findings github_files github_parts had holders intake intake_report \
        issue_form journal lastmile making model names observed orphans parse people plan reach renewals report \
        resolve review review_record review_report reviewed rule rules_capacity rules_credentials rules_github \
        rules_grants rules_people rules_settings rules_stacks selection side steps_grant steps_offer steps_people \
        terminal touched yaml12
comma := ,
empty :=
space := $(empty) $(empty)
files := $(subst $(space),$(comma),$(core:%=cf_infra/%.py))

test: setup ## Everything that has to pass: lint, types, all tests
	@$(MAKE) --no-print-directory lint types
	@$(python) tools/build.py drone >/dev/null || echo 'NOT TESTED: the real Drone server, which was not built' >&2
	@$(python) tools/build.py act >/dev/null || echo 'NOT TESTED: the workflows as they run, since act was not built' >&2
	@$(pytest) -n 2 -m "not sandbox" --cov --cov-report=
	@$(python) -m coverage report --include=$(files)
	@$(python) -m coverage json -q -o - --include=$(files) | $(python) tests/core_coverage.py 95
	@CF_INFRA_TEST_ALL=1 $(pytest) -m sandbox --cov --cov-append --cov-report=term-missing:skip-covered

check-fast: setup ## Lint, types, and the tests that run no other program: for the daily loop
	@$(MAKE) --no-print-directory lint types
	@$(pytest) -n 2 -m "not sandbox and not programs"

lint: setup ## Lint and formatting; the workflows, too
	@$(call timed,lint,$(python) -m ruff check --quiet . && $(python) -m ruff format --check --quiet .)
	@$(call timed,workflows,$(python) tools/lint_workflows.py)

format: setup ## Format, and mend what lint can mend
	@$(python) -m ruff format --quiet . && $(python) -m ruff check --quiet --fix .

types: setup ## Types
	@$(call timed,types,$(python) -m mypy)

bench: setup ## Measure against the peers, side by side
	@$(python) benchmarks/run.py

sandbox-up: setup ## Start the sandbox's OpenStack on 127.0.0.1
	@$(cf-infra) sandbox up

sandbox-down: setup ## End it
	@$(cf-infra) sandbox down

lock: $(UV) ## Write requirements/*.lock again from pyproject.toml (UPGRADE=1: with the newest releases), and locks/
	@for name in run dev; do \
	    $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	        $(if $(UPGRADE),--upgrade) --custom-compile-command "make lock" \
	        $$([ $$name = dev ] && echo "--extra dev --constraint requirements/run.lock") \
	        pyproject.toml --output-file requirements/$$name.lock || exit; \
	done
	@$(MAKE) --no-print-directory setup
	@$(python) tools/locks.py

.tools/uv/bin/uv:
	@$(PYTHON) -m venv .tools/uv && .tools/uv/bin/python -m pip install --quiet uv

clean: ## Remove what was built in this clone, but neither .state/ nor the shared cache
	rm -rf .venv .tools build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@echo 'kept: .state/ (what is deployed) and the cache of all clones, $${XDG_CACHE_HOME:-~/.cache}/cf-infra/' >&2
