output "names" {
  description = "Names of the variables."
  value       = [for variable in github_actions_organization_variable.this : variable.variable_name]
}
