locals {
  extra_specs = {
    for class, flavor in var.flavors : class => flavor.gpus == 0 ? {} : { "pci_passthrough:alias" = "${flavor.gpu_alias}:${flavor.gpus}" }
  }
}

resource "openstack_compute_flavor_v2" "this" {
  for_each = var.rights == "admin" ? var.flavors : {}

  name        = each.value.name
  description = var.description
  vcpus       = each.value.vcpus
  ram         = each.value.ram_mib
  disk        = each.value.disk_gib
  is_public   = false
  extra_specs = local.extra_specs[each.key]

  # Made from the content, so that another number of GPUs is another flavor: changed in place, it would leave servers with the
  # devices that they have.
  flavor_id = uuidv5("url", jsonencode([each.value.name, each.value.vcpus, each.value.ram_mib, each.value.disk_gib, local.extra_specs[each.key]]))
}
