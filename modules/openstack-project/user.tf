# Makes everything else in the project, in the project's own name: application credentials belong to the user and the
# project of the provider that makes them.
resource "openstack_identity_user_v3" "provisioner" {
  name               = var.user_name
  description        = var.description
  domain_id          = openstack_identity_project_v3.this.domain_id
  default_project_id = openstack_identity_project_v3.this.id
  password           = var.password
}

data "openstack_identity_role_v3" "this" {
  for_each = { for name in var.roles : name => name if !contains(keys(var.role_ids), name) }

  # An id that is not known yet holds the look-up back until there is a project: a plan that asks no cloud says the same.
  name = openstack_identity_project_v3.this.id == "" ? "" : each.key
}

resource "openstack_identity_role_assignment_v3" "provisioner" {
  for_each = var.roles

  user_id    = openstack_identity_user_v3.provisioner.id
  project_id = openstack_identity_project_v3.this.id
  role_id    = try(var.role_ids[each.key], data.openstack_identity_role_v3.this[each.key].id)
}
