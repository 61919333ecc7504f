# `make` alone shows what there is. Every target works from a bare clone: what it needs is set up first, and a set-up
# that is complete costs less than a second.

PYTHON ?= python3
STACK ?=
UV ?= .tools/uv/bin/uv

python := .venv/bin/python
cf-infra := .venv/bin/cf-infra
pytest := $(python) -m pytest

# $(call timed,NAME,COMMAND): run it and say how long it took
timed = start=$$(date +%s); $(2); code=$$?; echo "$(1): $$(($$(date +%s) - start)) s, $$([ $$code = 0 ] && echo ok || echo failed)" >&2; exit $$code

.PHONY: help setup check plan apply audit demo test check-fast lint format types bench sandbox-up sandbox-down lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Python packages, OpenTofu and its providers, the sandbox
	@$(PYTHON) tools/setup.py

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

# What decides has no cloud in its way: it is covered by the quick tests alone.
core := access admin_requests answer asked audit audit_cirun audit_credentials audit_github audit_lists audit_openstack \
        audit_report capacity catalog chain changes check codeowners codes compile credential_report credentials daily \
        declared diagnostics difference difference_report edit edit_people explain feedstock feedstock_yaml findings \
        github_files github_parts had holders intake intake_report issue_form journal lastmile making model names observed \
        orphans parse people plan reach renewals report resolve rule rules_capacity rules_credentials rules_github \
        rules_grants rules_people rules_settings rules_stacks selection side steps_grant steps_offer steps_people terminal \
        yaml12
comma := ,
empty :=
space := $(empty) $(empty)
files := $(subst $(space),$(comma),$(core:%=cf_infra/%.py))

test: setup ## Everything that has to pass: lint, types, all tests
	@$(MAKE) --no-print-directory lint types
	@$(python) tools/build.py drone >/dev/null || echo 'NOT TESTED: the real Drone server, which was not built' >&2
	@$(pytest) -n 2 -m "not sandbox" --cov --cov-report=
	@$(python) -m coverage report --include=$(files)
	@$(python) -m coverage json -q -o - --include=$(files) | $(python) tests/core_coverage.py 95
	@CF_INFRA_TEST_ALL=1 $(pytest) -m sandbox --cov --cov-append --cov-report=term-missing:skip-covered

check-fast: setup ## The same without clouds and providers: two and a half minutes
	@$(MAKE) --no-print-directory lint types
	@$(pytest) -n 2 -m "not sandbox"

lint: setup ## Lint and formatting
	@$(call timed,lint,$(python) -m ruff check --quiet . && $(python) -m ruff format --check --quiet .)

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
