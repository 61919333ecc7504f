"""`python -m cf_infra` is `cf-infra`."""

from cf_infra.cli import main

main()
