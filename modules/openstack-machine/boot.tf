# What a machine was made from. A change replaces the machine (see instance.tf), because the cloud does not tell the user data of
# an adopted machine, a new image would be written over its disk in place, and a flavor that is made anew is gone before a
# resize could start from it. Making these two, on the other hand, must leave an adopted machine alone; OpenTofu 1.12
# takes any value that appears as a reason to replace. So the value goes through text: while `recipe` is made or changed, its output
# and with it the type of `boot`'s input are unknown, and an attribute of that exists neither before nor after.
resource "terraform_data" "recipe" {
  for_each = var.machines

  input = jsonencode({
    flavor_id        = var.flavor_ids[each.value.flavor]
    image_id         = var.image_ids[each.value.image]
    user_data_sha256 = sha256(local.user_data[each.key])
  })
}

resource "terraform_data" "boot" {
  for_each = var.machines

  input = jsondecode(terraform_data.recipe[each.key].output)
}
