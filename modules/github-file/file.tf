resource "github_repository_file" "this" {
  for_each = var.files

  repository     = var.repository
  file           = each.key
  content        = each.value
  commit_message = var.commit_message

  # A file that somebody else wrote is adopted by an import block, whose plan shows what would change.
  overwrite_on_create = false
}
