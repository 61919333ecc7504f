variable "machines" {
  description = "Machines by grant key: `name` of the server, `hostname` inside it, `flavor` and `image` as keys of `flavor_ids` and `image_ids`, `metadata` for Nova, `user_data` as a key of the variable of that name."
  type = map(object({
    name      = string
    hostname  = string
    flavor    = string
    image     = string
    metadata  = map(string)
    user_data = string
  }))

  validation {
    condition     = alltrue([for machine in values(var.machines) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", machine.hostname))])
    error_message = "A host name has 1 to 63 small letters, digits and hyphens, and neither begins nor ends with a hyphen."
  }

  validation {
    condition     = alltrue(flatten([for machine in values(var.machines) : [for key, value in machine.metadata : length(key) >= 1 && length(key) <= 255 && length(value) <= 255]]))
    error_message = "Nova takes metadata keys and values of at most 255 characters."
  }
}

variable "user_data" {
  description = "User data by name; `@HOSTNAME@` stands for the machine's host name. Nothing in it may change between plans: another text replaces the machine."
  type        = map(string)
}

variable "flavor_ids" {
  description = "Flavor ids by the name that machines use."
  type        = map(string)
}

variable "image_ids" {
  description = "Image ids by the name that machines use."
  type        = map(string)
}

variable "network_id" {
  description = "Id of the network that every machine is on."
  type        = string
}

variable "security_group" {
  description = "Name of the security group that every machine is in."
  type        = string
}
