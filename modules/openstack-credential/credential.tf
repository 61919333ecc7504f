# Every argument forces a new credential, so nothing here may differ from what Keystone reports back.
resource "openstack_identity_application_credential_v3" "this" {
  for_each = var.credentials

  name        = each.value.name
  description = each.value.description
  roles       = each.value.roles
  expires_at  = each.value.expires_at

  dynamic "access_rules" {
    for_each = each.value.access_rules
    content {
      service = access_rules.value.service
      method  = access_rules.value.method
      path    = access_rules.value.path
    }
  }
}
