# Written by `make lock`: the hashes of the providers that set-up builds from tools/, by the Go that built them.
# Every build/<stack>/ gets a copy, and plan runs with -lockfile=readonly.

provider "registry.opentofu.org/integrations/github" {
  version     = "6.11.1"
  constraints = ">= 6.11.1, < 7.0.0"
  hashes = [
    "h1:xYA7RiCbfcc1Fc1Xn1qTUM7VSF8ftpEDAM1bB8yQJrk=",
  ]
}
