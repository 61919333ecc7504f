locals {
  uploaded = { for name, image in var.images : name => image if image.file != null }
  existing = { for name, image in var.images : name => image if image.file == null && !contains(keys(var.image_ids), name) }
}

resource "terraform_data" "content" {
  for_each = local.uploaded

  input = coalesce(each.value.sha256, each.value.file)
}

resource "openstack_images_image_v2" "this" {
  for_each = local.uploaded

  name             = each.value.name
  local_file_path  = each.value.file
  disk_format      = each.value.disk_format
  container_format = "bare"
  visibility       = "private"
  tags             = var.tags

  lifecycle {
    # What counts is the content, not where this machine keeps it.
    ignore_changes       = [local_file_path]
    replace_triggered_by = [terraform_data.content[each.key]]
  }
}
