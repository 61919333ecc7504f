output "repository_ids" {
  description = "Ids of the repositories that may read a secret, by its name."
  value       = { for name, access in github_actions_organization_secret_repositories.this : name => access.selected_repository_ids }
}
