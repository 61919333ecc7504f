resource "github_actions_organization_variable" "this" {
  for_each = var.variables

  variable_name           = each.key
  value                   = each.value.value
  visibility              = "selected"
  selected_repository_ids = [for name in each.value.repositories : var.repository_ids[name] if var.repository_ids[name] != null]
}
