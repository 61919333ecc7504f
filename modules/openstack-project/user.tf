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
  for_each = var.roles

  name = each.key
}

resource "openstack_identity_role_assignment_v3" "provisioner" {
  for_each = data.openstack_identity_role_v3.this

  user_id    = openstack_identity_user_v3.provisioner.id
  project_id = openstack_identity_project_v3.this.id
  role_id    = each.value.id
}
