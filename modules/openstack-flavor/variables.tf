variable "rights" {
  description = "`admin`: the flavors are made. `member`: flavors of these names exist and are looked up."
  type        = string

  validation {
    condition     = contains(["admin", "member"], var.rights)
    error_message = "Rights are `admin` or `member`."
  }
}

variable "project_id" {
  description = "Id of the only project that may use the flavors; needed with rights `admin`."
  type        = string
  default     = null
}

variable "description" {
  description = "Description of the flavors: says who manages them (flavors take no tags)."
  type        = string
  default     = null
}

variable "flavors" {
  description = "Flavors by runner class: memory in MiB, disk in GiB, `gpus` devices of Nova's PCI alias `gpu_alias`. Only `name` counts with rights `member`."
  type = map(object({
    name      = string
    vcpus     = number
    ram_mib   = number
    disk_gib  = number
    gpu_alias = optional(string)
    gpus      = optional(number, 0)
  }))

  validation {
    condition     = alltrue([for flavor in values(var.flavors) : flavor.gpus == 0 || flavor.gpu_alias != null])
    error_message = "A flavor with GPUs needs `gpu_alias`, the name of an alias in Nova's [pci] configuration."
  }
}

variable "flavor_ids" {
  description = "Ids of existing flavors by runner class, for a plan that asks no cloud; those that are not here are looked up."
  type        = map(string)
  default     = {}
}
