variable "variables" {
  description = "Actions variables of an organisation by name, with the repositories that see them."
  type = map(object({
    value        = string
    repositories = set(string)
  }))
}

variable "repository_ids" {
  description = "Ids of all repositories that `variables` names; null for one that GitHub does not have."
  type        = map(number)
}
