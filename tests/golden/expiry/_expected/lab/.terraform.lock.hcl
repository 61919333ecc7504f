# Written by `make lock`: the hashes of the providers that set-up builds from tools/, by the Go that built them.
# Every build/<stack>/ gets a copy, and plan runs with -lockfile=readonly.

provider "registry.opentofu.org/terraform-provider-openstack/openstack" {
  version     = "1.54.1"
  constraints = ">= 1.54.1, < 4.0.0"
  hashes = [
    "h1:tcuu+L8R/VQ3TPdKfYoXIq4W8ociXx1OQrLvlojzyDQ=",
  ]
}
