# A server that is made before the subnet gets no address; one that starts before the rules cannot fetch anything.
output "network_id" {
  description = "Id of the network; known once a server on it gets an address and reaches out."
  value       = openstack_networking_network_v2.this.id
  depends_on  = [openstack_networking_subnet_v2.this, openstack_networking_router_interface_v2.this]
}

output "subnet_id" {
  description = "Id of the subnet."
  value       = openstack_networking_subnet_v2.this.id
}

output "router_id" {
  description = "Id of the router; null without an external network."
  value       = one(openstack_networking_router_v2.this[*].id)
}

output "security_group" {
  description = "Name of the security group, the form in which Nova takes and reports it; known once its rules stand."
  value       = openstack_networking_secgroup_v2.this.name
  depends_on  = [openstack_networking_secgroup_rule_v2.egress, openstack_networking_secgroup_rule_v2.ssh]
}

output "security_group_id" {
  description = "Id of the security group."
  value       = openstack_networking_secgroup_v2.this.id
  depends_on  = [openstack_networking_secgroup_rule_v2.egress, openstack_networking_secgroup_rule_v2.ssh]
}
