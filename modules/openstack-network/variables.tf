variable "name" {
  description = "Name of the network, its subnet, router and security group; unique in the project, because servers name their group."
  type        = string
}

variable "description" {
  description = "Description of all of them and of the group's rules: says who manages them."
  type        = string
}

variable "tags" {
  description = "Tags of all of them; rules take none."
  type        = set(string)
  default     = []
}

variable "cidr" {
  description = "Addresses of the subnet, as 10.20.0.0/24."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 1))
    error_message = "Write the subnet's addresses in CIDR form, as 10.20.0.0/24."
  }
}

variable "dns_nameservers" {
  description = "Name servers for the subnet; default: those of the cloud."
  type        = list(string)
  default     = []
}

variable "external" {
  description = "Name of the external network to reach the internet through; without it there is no router."
  type        = string
  default     = null
}

variable "external_id" {
  description = "Id of that network, for a plan that asks no cloud; without it the network is looked up."
  type        = string
  default     = null
}

variable "ssh_from" {
  description = "Address ranges (CIDR) that may reach the servers by SSH; nothing else comes in."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for range in var.ssh_from : can(cidrhost(range, 0))])
    error_message = "Write address ranges in CIDR form, as 192.0.2.0/24."
  }
}
