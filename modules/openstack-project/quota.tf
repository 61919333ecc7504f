# GPUs taken through a PCI alias are not in Nova's quota: the flavors' access list is what bounds them.
resource "openstack_compute_quotaset_v2" "this" {
  project_id = openstack_identity_project_v3.this.id
  instances  = var.quota.instances
  cores      = var.quota.cores
  ram        = var.quota.ram_mib
}
