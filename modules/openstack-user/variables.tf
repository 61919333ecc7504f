variable "users" {
  description = "Users by `name/generation`; names are unique in the domain."
  type = map(object({
    name        = string
    description = string
  }))
}

variable "passwords" {
  description = "Passwords by the keys of `users`; further keys are ignored."
  type        = map(string)
  sensitive   = true
}

variable "project_id" {
  description = "Id of the project that the users work in."
  type        = string
}

variable "domain_id" {
  description = "Id of the domain that holds the users; default: the provider's."
  type        = string
  default     = null
}

variable "roles" {
  description = "Roles of the users on the project."
  type        = set(string)
  default     = ["member", "reader"]
}

variable "role_ids" {
  description = "Ids of roles by name, for a plan that asks no cloud; those that are not here are looked up."
  type        = map(string)
  default     = {}
}
