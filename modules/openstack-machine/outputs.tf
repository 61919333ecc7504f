output "machines" {
  description = "By grant key: id, name, IPv4 address (or else IPv6), power state and creation time of the server."
  value = {
    for key, server in openstack_compute_instance_v2.this : key => {
      id      = server.id
      name    = server.name
      ip      = try(coalesce(server.access_ip_v4, server.access_ip_v6), null)
      status  = server.power_state
      created = server.created
    }
  }
}
