variable "secrets" {
  description = "Repositories that may read an organisation's Actions secret, by the secret's name."
  type        = map(set(string))
}

variable "repository_ids" {
  description = "Ids of all repositories that `secrets` names; null for one that GitHub does not have."
  type        = map(number)
}
