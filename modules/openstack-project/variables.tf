variable "name" {
  description = "Name of the project; unique in its domain."
  type        = string

  validation {
    condition     = length(var.name) >= 1 && length(var.name) <= 64
    error_message = "A project's name has 1 to 64 characters (Keystone's limit)."
  }
}

variable "description" {
  description = "Description of the project and of its user: says who manages them."
  type        = string
}

variable "tags" {
  description = "Tags of the project."
  type        = set(string)
  default     = []
}

variable "quota" {
  description = "What the project may use at once: servers, virtual cores, memory in MiB."
  type = object({
    instances = number
    cores     = number
    ram_mib   = number
  })

  validation {
    condition     = alltrue([for limit in values(var.quota) : limit >= 0 && floor(limit) == limit])
    error_message = "Quotas are whole numbers, 0 or more; -1 (no limit) is not offered here."
  }
}

variable "user_name" {
  description = "Name of the user that makes everything else in the project; unique in its domain."
  type        = string
}

variable "password" {
  description = "Password of that user."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.password) >= 16
    error_message = "The password must have at least 16 characters."
  }
}

variable "roles" {
  description = "Roles of that user on the project."
  type        = set(string)
  default     = ["member", "reader"]
}

variable "role_ids" {
  description = "Ids of roles by name, for a plan that asks no cloud; those that are not here are looked up."
  type        = map(string)
  default     = {}
}
