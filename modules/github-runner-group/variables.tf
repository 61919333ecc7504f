variable "groups" {
  description = "Runner groups by name, with the repositories that may use their runners. `public`: public repositories, too."
  type = map(object({
    public       = bool
    repositories = set(string)
  }))
}

variable "repository_ids" {
  description = "Ids of all repositories that `groups` names; null for one that GitHub does not have."
  type        = map(number)
}
