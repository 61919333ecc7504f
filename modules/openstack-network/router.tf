data "openstack_networking_network_v2" "external" {
  count = var.external == null || var.external_id != null ? 0 : 1

  # An id that is not known yet holds the look-up back until there is a project to look from.
  name     = openstack_networking_network_v2.this.id == "" ? "" : var.external
  external = true
}

resource "openstack_networking_router_v2" "this" {
  count = var.external == null ? 0 : 1

  name                = var.name
  description         = var.description
  tags                = var.tags
  external_network_id = coalesce(var.external_id, one(data.openstack_networking_network_v2.external[*].id))
}

resource "openstack_networking_router_interface_v2" "this" {
  count = var.external == null ? 0 : 1

  router_id = openstack_networking_router_v2.this[0].id
  subnet_id = openstack_networking_subnet_v2.this.id
}
