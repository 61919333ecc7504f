resource "openstack_networking_network_v2" "this" {
  name        = var.name
  description = var.description
  tags        = var.tags
}

resource "openstack_networking_subnet_v2" "this" {
  network_id      = openstack_networking_network_v2.this.id
  name            = var.name
  description     = var.description
  tags            = var.tags
  cidr            = var.cidr
  ip_version      = strcontains(var.cidr, ":") ? 6 : 4
  dns_nameservers = var.dns_nameservers
}
