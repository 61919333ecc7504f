locals {
  assignments = { for pair in setproduct(keys(var.users), var.roles) : "${pair[0]}/${pair[1]}" => { user = pair[0], role = pair[1] } }
}

data "openstack_identity_role_v3" "this" {
  for_each = { for name in var.roles : name => name if !contains(keys(var.role_ids), name) }

  # An id that is not known yet holds the look-up back until there is a project: a plan that asks no cloud says the same.
  name = var.project_id == "" ? "" : each.key
}

resource "openstack_identity_role_assignment_v3" "this" {
  for_each = local.assignments

  user_id    = openstack_identity_user_v3.this[each.value.user].id
  project_id = var.project_id
  role_id    = try(var.role_ids[each.value.role], data.openstack_identity_role_v3.this[each.value.role].id)
}
