resource "openstack_identity_user_v3" "this" {
  for_each = var.users

  name               = each.value.name
  description        = each.value.description
  domain_id          = var.domain_id
  default_project_id = var.project_id
  password           = var.passwords[each.key]
}
