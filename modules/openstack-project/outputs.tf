# A provider that is configured from these outputs works only while the user holds its roles. Naming the roles here makes them
# come before, and go after, everything that such a provider makes. The quota is not among them: Nova refuses one below what
# is in use, so servers that go must go before it shrinks, and they could not if their provider waited for it.
output "id" {
  description = "Id of the project."
  value       = openstack_identity_project_v3.this.id
  depends_on  = [openstack_identity_role_assignment_v3.provisioner]
}

output "domain_id" {
  description = "Id of the domain that holds the project and its user."
  value       = openstack_identity_project_v3.this.domain_id
}

output "user_id" {
  description = "Id of the user that makes everything else in the project."
  value       = openstack_identity_user_v3.provisioner.id
  depends_on  = [openstack_identity_role_assignment_v3.provisioner]
}

output "user_name" {
  description = "Name of that user."
  value       = openstack_identity_user_v3.provisioner.name
  depends_on  = [openstack_identity_role_assignment_v3.provisioner]
}
