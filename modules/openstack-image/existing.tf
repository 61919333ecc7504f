data "openstack_images_image_v2" "existing" {
  for_each = local.existing

  # An id that is not known yet holds the look-up back until there is a project to look from.
  name        = var.project_id == "" ? "" : each.value.name
  most_recent = true
}
