resource "github_actions_organization_secret_repositories" "this" {
  for_each = var.secrets

  secret_name             = each.key
  selected_repository_ids = [for name in each.value : var.repository_ids[name] if var.repository_ids[name] != null]
}
