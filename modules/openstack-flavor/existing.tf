# Without admin rights flavors are the donor's: they are looked up, never made.
data "openstack_compute_flavor_v2" "existing" {
  for_each = { for class, flavor in var.flavors : class => flavor if var.rights == "member" && !contains(keys(var.flavor_ids), class) }

  name = each.value.name

  lifecycle {
    postcondition {
      condition     = self.vcpus <= each.value.vcpus && self.ram <= each.value.ram_mib && self.disk <= each.value.disk_gib
      error_message = "The donor's flavor ${self.name} takes ${self.vcpus} vCPUs, ${self.ram} MiB and ${self.disk} GiB of disk, more than its share of a host: ${each.value.vcpus}, ${each.value.ram_mib} and ${each.value.disk_gib}. Machines of this flavor would not all fit. Correct the slice of the offer ${each.key}, or name a smaller flavor."
    }
  }
}
