variable "repository" {
  description = "Name of the repository, without its organisation; the files go to its default branch."
  type        = string
}

variable "files" {
  description = "Contents of the files by their paths. GitHub tells files of at most 1 MB."
  type        = map(string)

  validation {
    condition     = alltrue([for content in values(var.files) : length(content) <= 1000000])
    error_message = "A file is larger than 1 MB: GitHub's contents API would not tell it again."
  }
}

variable "commit_message" {
  description = "Message of every commit that is made here."
  type        = string
  default     = "Update what cf-infra keeps here"
}
