output "ids" {
  description = "Image ids by the name that offers use."
  value = merge(
    { for name, image in openstack_images_image_v2.this : name => image.id },
    { for name, image in data.openstack_images_image_v2.existing : name => image.id },
    { for name, id in var.image_ids : name => id if contains(keys(var.images), name) },
  )
}
