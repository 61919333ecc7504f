variable "images" {
  description = "Images by the name that offers use. With `file` (a path) the image is uploaded, private to the project, and again when `sha256` changes (without it: when the path does); without `file`, the newest image called `name` that the project can see is used."
  type = map(object({
    name        = string
    file        = optional(string)
    sha256      = optional(string)
    disk_format = optional(string, "qcow2")
  }))

  validation {
    condition     = alltrue([for image in values(var.images) : image.sha256 == null || can(regex("^[0-9a-f]{64}$", image.sha256))])
    error_message = "`sha256` of an image has 64 hexadecimal digits."
  }
}

variable "tags" {
  description = "Tags of uploaded images."
  type        = set(string)
  default     = []
}

variable "project_id" {
  description = "Id of the project whose images these are, where the same run makes it."
  type        = string
  default     = null
}

variable "image_ids" {
  description = "Ids of existing images by the name that offers use, for a plan that asks no cloud; those that are not here are looked up."
  type        = map(string)
  default     = {}
}
