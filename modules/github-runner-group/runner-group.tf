resource "github_actions_runner_group" "this" {
  for_each = var.groups

  name                       = each.key
  visibility                 = "selected"
  allows_public_repositories = each.value.public
  selected_repository_ids    = [for name in each.value.repositories : var.repository_ids[name] if var.repository_ids[name] != null]
}
