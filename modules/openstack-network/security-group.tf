# Neutron puts its own egress rules into every new group; without them the rules below are all that there are.
resource "openstack_networking_secgroup_v2" "this" {
  name                 = var.name
  description          = var.description
  tags                 = var.tags
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "egress" {
  for_each = toset(["IPv4", "IPv6"])

  security_group_id = openstack_networking_secgroup_v2.this.id
  description       = var.description
  direction         = "egress"
  ethertype         = each.key
}

resource "openstack_networking_secgroup_rule_v2" "ssh" {
  for_each = var.ssh_from

  security_group_id = openstack_networking_secgroup_v2.this.id
  description       = var.description
  direction         = "ingress"
  ethertype         = strcontains(each.key, ":") ? "IPv6" : "IPv4"
  protocol          = "tcp"
  port_range_min    = 22
  port_range_max    = 22
  remote_ip_prefix  = each.key
}
