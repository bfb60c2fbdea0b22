terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The first with Valkey replication groups and parameter groups.
      version = ">= 5.73"
    }
  }
}
