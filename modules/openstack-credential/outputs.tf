output "credentials" {
  description = "By `name/generation`: id, name and secret of the application credential."
  value = {
    for key, credential in openstack_identity_application_credential_v3.this : key => {
      id     = credential.id
      name   = credential.name
      secret = credential.secret
    }
  }
  sensitive = true
}

output "ids" {
  description = "Ids of the application credentials by `name/generation`."
  value       = { for key, credential in openstack_identity_application_credential_v3.this : key => credential.id }
}
