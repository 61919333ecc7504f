locals {
  assignments = { for pair in setproduct(keys(var.users), var.roles) : "${pair[0]}/${pair[1]}" => { user = pair[0], role = pair[1] } }
}

data "openstack_identity_role_v3" "this" {
  for_each = var.roles

  name = each.key
}

resource "openstack_identity_role_assignment_v3" "this" {
  for_each = local.assignments

  user_id    = openstack_identity_user_v3.this[each.value.user].id
  project_id = var.project_id
  role_id    = data.openstack_identity_role_v3.this[each.value.role].id
}
