variable "credentials" {
  description = "Application credentials by `name/generation`; `roles` names implied roles too, `expires_at` is UTC as 2026-01-31T00:00:00Z or null; `access_rules`: the only requests that it may make, all if empty."
  type = map(object({
    name         = string
    description  = string
    roles        = set(string)
    expires_at   = optional(string)
    access_rules = optional(list(object({ service = string, method = string, path = string })), [])
  }))

  validation {
    condition     = alltrue([for credential in values(var.credentials) : !contains(credential.roles, "member") || contains(credential.roles, "reader")])
    error_message = "The role `member` implies `reader`: Keystone adds it, and every later plan would replace the credential. Name both."
  }

  validation {
    condition     = alltrue([for credential in values(var.credentials) : credential.expires_at == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", credential.expires_at))])
    error_message = "Write the end of a credential in UTC, as 2026-01-31T00:00:00Z: Keystone reports it so, and any other form would replace the credential in every plan."
  }
}
