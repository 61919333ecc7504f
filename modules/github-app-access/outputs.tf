output "repository_ids" {
  description = "Ids of the repositories by name."
  value       = { for name, repository in github_app_installation_repository.this : name => repository.repo_id }
}
