output "ids" {
  description = "Ids of the groups by name."
  value       = { for name, group in github_actions_runner_group.this : name => group.id }
}
