locals {
  user_data = {
    for key, machine in var.machines : key => replace(var.user_data[machine.user_data], "@HOSTNAME@", machine.hostname)
  }
}
