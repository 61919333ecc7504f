# One for each repository: the provider's resource for the whole selection removes all but one repository when it is
# destroyed, and only writes a line to its log.
resource "github_app_installation_repository" "this" {
  for_each = var.repositories

  installation_id = var.installation
  repository      = each.key
}
