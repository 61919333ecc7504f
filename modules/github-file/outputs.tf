output "blobs" {
  description = "Git's hashes of the files' contents, by path."
  value       = { for path, file in github_repository_file.this : path => file.sha }
}
