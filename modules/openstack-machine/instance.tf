resource "openstack_compute_instance_v2" "this" {
  for_each = var.machines

  name            = each.value.name
  flavor_id       = var.flavor_ids[each.value.flavor]
  image_id        = var.image_ids[each.value.image]
  security_groups = [var.security_group]
  user_data       = local.user_data[each.key]

  # A network without a router often has no metadata service, and then nothing but this drive brings the user data.
  config_drive = true

  # The digest makes two machines of equal user data recognisable: Nova tells user data to administrators only.
  metadata = merge(each.value.metadata, { user_data_sha256 = sha256(local.user_data[each.key]) })

  network {
    uuid = var.network_id
  }

  timeouts {
    create = "20m"
    update = "20m"
    delete = "10m"
  }

  lifecycle {
    # The provider reads neither of them back, so that a machine adopted by an import block would be replaced at once.
    ignore_changes = [user_data, config_drive]

    replace_triggered_by = [terraform_data.boot[each.key].input.user_data_sha256]
  }
}
