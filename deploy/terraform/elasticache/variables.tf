variable "name" {
  description = "What everything is called: lowercase letters, digits and single hyphens, at most 40."
  type        = string

  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9])*$", var.name)) && length(var.name) <= 40
    error_message = "Begin with a letter; then lowercase letters, digits and single hyphens, 40 characters at most."
  }
}

variable "engine" {
  description = "valkey or redis."
  type        = string
  default     = "valkey"

  validation {
    condition     = contains(["valkey", "redis"], var.engine)
    error_message = "The engine is valkey or redis."
  }
}

variable "engine_version" {
  description = "Null takes 8.0 of Valkey, 7.1 of Redis."
  type        = string
  default     = null
}

variable "parameter_group_family" {
  description = "Goes with the version. Null takes valkey8 or redis7."
  type        = string
  default     = null
}

variable "node_type" {
  description = "The size of a node."
  type        = string
  default     = "cache.t4g.small"
}

variable "replicas" {
  description = "Replicas beside the primary, in other zones. One at least: it takes over when the primary fails."
  type        = number
  default     = 1

  validation {
    condition     = var.replicas >= 1 && var.replicas <= 5
    error_message = "From 1 to 5 replicas."
  }
}

variable "auth_token" {
  description = "The password, from a secret store: 16 to 128 printable characters without @, \" and /."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.auth_token) >= 16 && length(var.auth_token) <= 128 && !can(regex("[@\"/ ]", var.auth_token))
    error_message = "16 to 128 characters without @, \", / and spaces."
  }
}

# After ROTATE the old password works beside the new one, until it is changed again or SET.
variable "auth_token_update_strategy" {
  description = "What a new auth_token does: ROTATE adds it to the old one, SET ends the old one. Rotate, roll the services, then set."
  type        = string
  default     = "ROTATE"

  validation {
    condition     = contains(["ROTATE", "SET"], var.auth_token_update_strategy)
    error_message = "ROTATE or SET."
  }
}

variable "subnet_ids" {
  description = "Private subnets, in two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Two subnets at least, in different zones."
  }
}

variable "vpc_id" {
  description = "The network of the subnets."
  type        = string
}

variable "client_security_group_ids" {
  description = "The security groups of the services that may connect, by names of your own."
  type        = map(string)
}

variable "snapshot_retention_days" {
  description = "How long daily snapshots are kept. 0 takes none."
  type        = number
  default     = 7
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms go to."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "For everything that takes tags."
  type        = map(string)
  default     = {}
}
