resource "openstack_compute_flavor_access_v2" "this" {
  for_each = openstack_compute_flavor_v2.this

  flavor_id = each.value.id
  tenant_id = var.project_id
}
