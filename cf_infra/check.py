"""What must hold beyond the form of single values: one list of rules, each one small "Ensure ..." function.

A rule yields diagnostics with a path; parse.place finds the lines. Rules look at readable entries only, and a
rule whose own ground is missing (an offer whose slice cannot be cut) leaves the fault to the rule of that ground.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from cf_infra import (
    rules_capacity,
    rules_credentials,
    rules_github,
    rules_grants,
    rules_people,
    rules_settings,
    rules_stacks,
)
from cf_infra.catalog import catalog
from cf_infra.diagnostics import Diagnostic
from cf_infra.model import Inventory
from cf_infra.people import Maintainers
from cf_infra.rule import Rule, View

CHECKS: list[Rule] = [
    rules_grants.repository_is_named,
    rules_grants.history_is_told,
    rules_grants.dates_are_in_order,
    rules_grants.another_approved,
    rules_grants.somebody_may_trigger,
    rules_grants.terms_are_there,
    rules_grants.end_is_known,
    rules_grants.imports_are_known,
    rules_grants.ids_are_unique,
    rules_grants.pairs_are_granted_once,
    rules_grants.names_are_written_alike,
    rules_grants.resources_are_offered,
    rules_grants.stack_is_there,
    rules_grants.donor_is_chosen,
    rules_grants.counts_have_machines,
    rules_grants.donor_lasts,
    rules_stacks.stacks_are_complete,
    rules_stacks.hosts_have_names,
    rules_stacks.donors_terms_are_there,
    rules_stacks.terms_have_one_address,
    rules_stacks.images_have_one_source,
    rules_stacks.images_stay_inside,
    rules_stacks.networks_are_exact,
    rules_stacks.credentials_can_be_made,
    rules_stacks.overlaps_outlast_jobs,
    rules_credentials.credentials_fit_the_stack,
    rules_credentials.credentials_are_complete,
    rules_credentials.credentials_go_where_settings_allow,
    rules_credentials.sources_are_of_one_credential,
    rules_credentials.sinks_are_there,
    rules_credentials.sinks_take_the_kind,
    rules_credentials.sinks_hold_one,
    rules_stacks.via_and_mode_go_together,
    rules_stacks.offers_are_complete,
    rules_stacks.offers_name_what_is_there,
    rules_stacks.flavors_are_made_once,
    rules_stacks.labels_are_of_one_class,
    rules_stacks.slices_come_out_whole,
    rules_github.parts_fit_the_kind,
    rules_github.access_has_one_stack,
    rules_github.access_stacks_offer_nothing,
    rules_github.apps_are_installed_once,
    rules_github.named_resources_are_offered,
    rules_github.variables_have_values,
    rules_github.names_are_not_githubs,
    rules_github.kept_repository_has_no_grant,
    rules_capacity.offers_fit_a_host,
    rules_capacity.hosts_hold_everything,
    rules_people.people_stand_once,
    rules_people.logins_have_one_id,
    rules_people.ids_have_one_login,
    rules_people.logins_are_current,
    rules_people.bots_have_owners,
    rules_people.grace_ends_after_the_version,
    rules_people.terms_have_one_version,
    rules_people.terms_are_accepted,
    rules_people.maintainers_still_are,
    rules_settings.states_have_their_place,
    rules_settings.keys_have_one_source,
    rules_settings.recovery_keys_differ,
    rules_settings.recovery_has_enough_keys,
    rules_settings.approvals_name_stacks,
    rules_settings.approvals_can_be_given,
    rules_settings.overrides_last,
    rules_settings.overrides_name_stacks,
]

PARTLY: dict[Rule, frozenset[str]] = {
    rules_stacks.stacks_are_complete: frozenset({"cloud", "hosts"}),
    rules_stacks.hosts_have_names: frozenset({"hosts"}),
    rules_stacks.donors_terms_are_there: frozenset(),
    rules_stacks.images_have_one_source: frozenset(),
    rules_stacks.images_stay_inside: frozenset(),
    rules_stacks.networks_are_exact: frozenset({"network"}),
    rules_stacks.credentials_can_be_made: frozenset(),
    rules_credentials.credentials_fit_the_stack: frozenset(),
    rules_credentials.credentials_are_complete: frozenset(),
    rules_credentials.credentials_go_where_settings_allow: frozenset(),
    rules_credentials.sinks_are_there: frozenset(),
    rules_credentials.sinks_take_the_kind: frozenset(),
    rules_stacks.via_and_mode_go_together: frozenset(),
    rules_stacks.offers_are_complete: frozenset(),
    rules_stacks.offers_name_what_is_there: frozenset({"hosts", "images"}),
    rules_stacks.flavors_are_made_once: frozenset(),
    rules_stacks.slices_come_out_whole: frozenset({"hosts"}),
    rules_people.grace_ends_after_the_version: frozenset(),
}
"""Rules that look at one stack alone, and so at what is left of a stack file with wrong values, too; and which keys of
it they need whole."""


def check(
    inventory: Inventory, today: date, line: Callable[[int], int], maintainers: Maintainers | None = None
) -> list[Diagnostic]:
    """Everything that is wrong with `inventory` on `today`, in no order. `line(index)`: where grants[index] begins."""
    view = View(inventory, catalog(inventory.stacks), today, line, maintainers)
    found = [fault for rule in CHECKS for fault in rule(view)]
    for name, left in inventory.partial_stacks.items():
        alone = replace(view, inventory=inventory.model_copy(update={"stacks": {name: left.stack}}))
        found += [f for rule, needs in PARTLY.items() if not needs & left.without for f in rule(alone)]
    return found
