output "ids" {
  description = "Flavor ids by runner class; with rights `admin` known once the project may use them."
  value = merge(
    { for class, flavor in openstack_compute_flavor_v2.this : class => flavor.id },
    { for class, flavor in data.openstack_compute_flavor_v2.existing : class => flavor.id },
    { for class, id in var.flavor_ids : class => id if contains(keys(var.flavors), class) },
  )
  depends_on = [openstack_compute_flavor_access_v2.this]
}
