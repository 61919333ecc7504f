# Every argument forces a new credential, so nothing here may differ from what Keystone reports back.
resource "openstack_identity_application_credential_v3" "this" {
  for_each = var.credentials

  name        = each.value.name
  description = each.value.description
  roles       = each.value.roles
  expires_at  = each.value.expires_at
}
