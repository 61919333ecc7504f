resource "openstack_identity_project_v3" "this" {
  name        = var.name
  description = var.description
  tags        = var.tags
}
