output "ids" {
  description = "Ids of the users by `name/generation`; known once they hold their roles."
  value       = { for key, user in openstack_identity_user_v3.this : key => user.id }
  depends_on  = [openstack_identity_role_assignment_v3.this]
}
