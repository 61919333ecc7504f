variable "installation" {
  description = "Number of the app's installation, as a text; it is in the address of its settings page."
  type        = string
}

variable "repositories" {
  description = "Repositories that the app may use, without their organisation. Others of its selection stay as they are."
  type        = set(string)

  validation {
    condition     = length(var.repositories) > 0
    error_message = "GitHub never takes away the last repository of an installation: name one that stays."
  }
}
